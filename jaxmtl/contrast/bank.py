"""Representations of past batches, by class."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.contrast.classes import pixels_of, unit
from jaxmtl.contrast.sampling import grouped, ranks


class FeatureBank(NamedTuple):
  """The last unit representations of each class.

  Attributes:
    features: float32 `[C, K, D]`.
    filled: how many of each class were ever put in, int32 `[C]`.
  """

  features: jax.Array
  filled: jax.Array


def feature_bank(num_classes: int, size: int, dimension: int) -> FeatureBank:
  """An empty bank.

  Args:
    num_classes: C.
    size: how many representations K of a class it keeps, the latest ones.
    dimension: D, of a representation.

  Returns:
    The bank, of `num_classes * size * dimension` float32.

  Raises:
    ValueError: if a number is below 1.

  Example:
    >>> from jaxmtl.contrast import feature_bank
    >>> feature_bank(3, 100, 8).features.shape
    (3, 100, 8)

  Reference: Liu, "Converging Pathways: Structured Visual Representations with Multi-Task Learning",
  2024, section 4.5.
  """
  for name, number in (("num_classes", num_classes), ("size", size), ("dimension", dimension)):
    if number < 1:
      raise ValueError(f"{name} must be at least 1, got {number}.")
  features = jnp.zeros((num_classes, size, dimension), jnp.float32)
  return FeatureBank(features, jnp.zeros(num_classes, jnp.int32))


def update_bank(
  bank: FeatureBank,
  representations: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  valid: Any = None,
  *,
  key: jax.Array,
  per_class: int = 64,
) -> FeatureBank:
  """Put some representations of each class of a batch in, in place of the oldest.

  Args:
    bank: as it was.
    representations: float `[..., D]`; no gradient reaches them.
    labels: integer classes `[...]`; negative ones have none.
    valid: bool or 0/1 `[...]`; None: all pixels with a class are.
    key: for the draws.
    per_class: how many of each class that is present, at most the bank's size, drawn with
      replacement.

  Returns:
    The bank.

  Raises:
    ValueError: if shapes do not fit, or a valid label is no class and values are known.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.contrast import feature_bank, update_bank
    >>> bank = update_bank(
    ...   feature_bank(2, 4, 1), jnp.ones((5, 1)), jnp.zeros(5, int), key=jax.random.key(0),
    ...   per_class=3)
    >>> bank.filled.tolist(), bank.features[0, :, 0].tolist()
    ([3, 0], [1.0, 1.0, 1.0, 0.0])

  Reference: as of `feature_bank`.
  """
  num_classes, size, _ = bank.features.shape
  if not 1 <= per_class <= size:
    raise ValueError(f"per_class must be from 1 to the bank's size, {size}, got {per_class}.")
  pixels = pixels_of(
    jax.lax.stop_gradient(jnp.asarray(representations)), labels, num_classes, valid
  )
  if pixels.features.shape[1] != bank.features.shape[2]:
    raise ValueError(
      f"representations must have the bank's {bank.features.shape[2]} features, got "
      f"{pixels.features.shape[1]}."
    )
  order, starts = grouped(pixels.classes, pixels.counts)
  counts = pixels.counts
  drawn = order[starts[:, None] + ranks(key, (num_classes, per_class), counts[:, None])]
  places = (bank.filled[:, None] + jnp.arange(per_class)) % size
  rows = jnp.arange(num_classes)[:, None]
  new = unit(pixels.features)[drawn].astype(bank.features.dtype)
  present = (counts > 0)[:, None]
  new = jnp.where(present[..., None], new, bank.features[rows, places])
  filled = bank.filled + jnp.where(counts > 0, per_class, 0)
  return FeatureBank(bank.features.at[rows, places].set(new), filled)
