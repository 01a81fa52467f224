"""Eigenvalues of a Gramian, without those that are round-off: its inverse square root and the like.

Shared by the methods that solve linear systems with the Gramian, which is often singular: for
tasks without labels, for more tasks than parameters, for duplicate and opposite gradients.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.aggregation.jacobi import jacobi_eigh
from jaxmtl.gradients.inner_products import of_order_one

_LARGEST_BY_ROTATIONS = 48


class Spectrum(NamedTuple):
  """Eigenvalues and eigenvectors of a Gramian divided by its largest diagonal entry.

  Attributes:
    values: `[T]`, ascending.
    vectors: `[T, T]`, one a column.
    kept: bool `[T]`, False for the eigenvalues that count as zero; the others come last.
  """

  values: jax.Array
  vectors: jax.Array
  kept: jax.Array

  @property
  def rank(self) -> jax.Array:
    """The number of eigenvalues that do not count as zero, an int32 scalar."""
    return self.kept.sum()

  def times(self, vector: jax.Array, power: float) -> jax.Array:
    """The matrix to a power, a pseudo-inverse where that is negative, times a vector `[T]`."""
    factors = jnp.where(self.kept, jnp.where(self.kept, self.values, 1) ** power, 0)
    inner = jnp.matmul(vector, self.vectors, precision="highest")
    return jnp.matmul(self.vectors, factors * inner, precision="highest")


def spectrum(gramian: jax.Array, slack: float = 1.0) -> Spectrum:
  """Decomposes a Gramian `[T, T]`; eigenvalues up to T eps times the largest count as zero.

  Each inner product carries the round-off of a sum over all parameters: where what is not zero is
  far above it, as the eigenvalues of cosines are, `slack` times that bound counts as zero.

  Zero rows, those of tasks without labels, do not count in that T. NaN gives NaN.
  """
  squares = jnp.diagonal(gramian)
  # float64 has digits to spare.
  # So large a one is LAPACK's: a thousand rotations at a time would take a hundred times as long.
  exact = gramian.dtype == jnp.float64 or len(gramian) > _LARGEST_BY_ROTATIONS
  decompose = jnp.linalg.eigh if exact else jacobi_eigh
  values, vectors = decompose(of_order_one(gramian))
  tolerance = slack * jnp.sum(squares > 0) * jnp.finfo(gramian.dtype).eps * values[-1]
  return Spectrum(values, vectors, ~(values <= tolerance))  # NaN is kept, so that it shows
