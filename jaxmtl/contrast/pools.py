"""What ReCo draws queries and keys from, and the draws."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.contrast.bank import FeatureBank
from jaxmtl.contrast.classes import Pixels, means_of, unit
from jaxmtl.contrast.sampling import categories, grouped, ranks

Keys = Literal["related", "random"]


class Pools(NamedTuple):
  """What queries and keys are drawn from.

  Attributes:
    queries: indices of pixels, class after class, those that may be queries first, int32 `[P]`.
    starts: where each class begins among them, int32 `[C]`.
    in_doubt: how many of each may be queries, int32 `[C]`.
    keys: unit vectors, float `[M, D]`: of the pixels or of the bank.
    of_class: indices of keys, class after class, int32 `[M]`.
    key_starts: where each class begins among these, int32 `[C]`.
    key_counts: how many keys each has, int32 `[C]`.
    shares: how often a class (column) is a negative of each (row), up to a factor, float `[C, C]`.
    positives: each class's mean, of length 1, float `[C, D]`.
    present: which classes the batch has, bool `[C]`.
  """

  queries: jax.Array
  starts: jax.Array
  in_doubt: jax.Array
  keys: jax.Array
  of_class: jax.Array
  key_starts: jax.Array
  key_counts: jax.Array
  shares: jax.Array
  positives: jax.Array
  present: jax.Array


def pools_of(
  pixels: Pixels,
  chosen: jax.Array,
  keys: Keys,
  graph_temperature: float,
  bank: FeatureBank | None = None,
) -> Pools:
  """The pools of a batch; `chosen`, bool `[P]`, are those that may be queries."""
  fixed = pixels._replace(features=jax.lax.stop_gradient(pixels.features))
  means, counts = means_of(fixed)
  order, starts = grouped(2 * pixels.classes + ~chosen, counts)
  in_doubt = (pixels.one_hot & chosen[:, None]).sum(0, dtype=jnp.int32)
  if bank is None:
    table, of_class, key_starts, key_counts, others = fixed.features, order, starts, counts, means
  else:
    table, of_class, key_starts, key_counts, others = _of_bank(bank, pixels)
  shares = _shares(means, others, key_counts, keys, graph_temperature)
  return Pools(
    *(order, starts, in_doubt, unit(table), of_class, key_starts, key_counts),
    *(shares, unit(means), counts > 0),
  )


def draw(
  pools: Pools, key: jax.Array, c: jax.Array, num_queries: int, num_negatives: int
) -> tuple[jax.Array, jax.Array]:
  """Queries of a class, pixels `[Q]`, and their negative keys `[Q, N]`."""
  of_queries, of_classes, of_keys = jax.random.split(jax.random.fold_in(key, c), 3)
  drawn = ranks(of_queries, (num_queries,), pools.in_doubt[c])
  shape = (num_queries, num_negatives)
  other = categories(of_classes, shape, pools.shares[c])
  place = pools.key_starts[other] + ranks(of_keys, shape, pools.key_counts[other])
  return pools.queries[pools.starts[c] + drawn], pools.of_class[place]


def _shares(
  means: jax.Array, others: jax.Array, counts: jax.Array, keys: Keys, graph_temperature: float
) -> jax.Array:
  """How often each class is a negative of each; 0 for itself and for those without keys."""
  some = (counts > 0) & ~jnp.eye(len(means), dtype=bool)
  if keys == "random":
    return jnp.where(some, counts.astype(means.dtype), 0)
  near = unit(means) @ unit(others).T / graph_temperature
  highest = jnp.max(near, axis=1, keepdims=True, where=some, initial=-1 / graph_temperature)
  return jnp.where(some, jnp.exp(near - highest), 0)


def _of_bank(bank: FeatureBank, pixels: Pixels) -> tuple[jax.Array, ...]:
  """Keys, their order by class, starts, counts, and means by class."""
  num_classes, size, dimension = bank.features.shape
  wanted = pixels.num_classes, pixels.features.shape[1]
  if (num_classes, dimension) != wanted:
    raise ValueError(
      f"bank must be of {wanted[0]} classes and {wanted[1]} features, got {num_classes} and "
      f"{dimension}."
    )
  features = jax.lax.stop_gradient(bank.features).astype(pixels.features.dtype)
  counts = jnp.minimum(bank.filled, size)
  # What is not filled is 0 and adds nothing.
  means = features.sum(1) / jnp.maximum(counts, 1)[:, None]
  places = jnp.arange(num_classes * size, dtype=jnp.int32)
  return features.reshape(-1, dimension), places, places[::size], counts, means
