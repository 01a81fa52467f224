"""Random pixels of classes, with shapes that do not depend on how many there are."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def grouped(group: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Indices of members, group after group, and where each group starts among them.

  Args:
    group: int32 `[P]`, the group of each member; those of no group have the highest number.
    counts: int32 `[G]`, how many members each has.
  """
  return jnp.argsort(group), jnp.cumsum(counts) - counts


def ranks(key: jax.Array, shape: tuple[int, ...], counts: jax.Array) -> jax.Array:
  """Uniform numbers from 0 to `counts - 1`, 0 where that is 0."""
  # The remainder of 32 bits is uniform up to counts / 2^32.
  bits = jax.random.bits(key, shape, jnp.uint32)
  return (bits % jnp.maximum(counts, 1).astype(jnp.uint32)).astype(jnp.int32)


def categories(key: jax.Array, shape: tuple[int, ...], shares: jax.Array) -> jax.Array:
  """Indices drawn by their shares `[C]`, which need not add up to 1; never one of share 0.

  By the cumulative distribution: C comparisons and one random number a draw, not C random numbers.
  """
  upto = jnp.cumsum(shares)
  drawn = jax.random.uniform(key, shape, upto.dtype) * upto[-1]
  found = (drawn[..., None] >= upto).sum(-1)
  # Where a product is rounded up to the sum: the last one that has a share.
  last = jnp.max(jnp.where(shares > 0, jnp.arange(len(shares)), 0))
  return jnp.minimum(found, last)
