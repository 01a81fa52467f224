"""Eigen-decomposition of a Gramian whose small eigenvalues are as accurate as its large ones.

Gradients that differ a thousandfold in length have eigenvalues that differ a millionfold. The usual
algorithms are accurate to round-off of the largest one, in float32 to a tenth of the smallest;
Jacobi's rotations keep the digits that the entries have.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

_MAX_SWEEPS = 12


def jacobi_eigh(gramian: jax.Array) -> tuple[jax.Array, jax.Array]:
  r"""Eigenvalues and eigenvectors of a positive semi-definite matrix, to relative accuracy.

  A rotation of rows and columns i and j makes the entry (i, j) zero; a sweep does so for every
  pair, disjoint pairs at once, and the others shrink quadratically. It ends when every entry is
  round-off of the geometric mean of its two diagonal entries.

  Args:
    gramian: `[T, T]`; NaN gives NaN.

  Returns:
    Eigenvalues `[T]`, ascending, and eigenvectors `[T, T]`, one a column.

  Reference:
    Demmel and Veselić, "Jacobi's Method is More Accurate than QR", 1992.
  """
  size, dtype = len(gramian), gramian.dtype
  identity = jnp.eye(size, dtype=dtype)
  rounds = jnp.asarray(_tournament(size))
  tolerance = jnp.finfo(dtype).eps

  def rotate(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    matrix, vectors = carry
    partner = rounds[i]  # of every row; its own number where it rests
    places = jnp.arange(size)
    own, other = jnp.diagonal(matrix), jnp.diagonal(matrix)[partner]
    entry = jnp.where(partner == places, 0, matrix[places, partner])
    theta = (other - own) / (2 * jnp.where(entry == 0, 1, entry))
    # The smaller of the two angles; both rows of a pair must take the very same one.
    sign = jnp.where(theta < 0, -1, 1)
    tangent = jnp.where(entry == 0, 0, sign / (jnp.abs(theta) + jnp.sqrt(1 + theta**2)))
    tangent = jnp.where(places < partner, tangent, -tangent[partner])
    cosine = 1 / jnp.sqrt(1 + tangent**2)
    turned = jnp.where(identity > 0, cosine, 0)
    rotation = turned.at[partner, places].add(-tangent * cosine)
    product = functools.partial(jnp.matmul, precision="highest")
    return product(product(rotation.T, matrix), rotation), product(vectors, rotation)

  def sweep(carry: tuple) -> tuple:
    matrix, vectors, sweeps = carry
    matrix, vectors = jax.lax.fori_loop(0, len(rounds), rotate, (matrix, vectors))
    return matrix, vectors, sweeps + 1

  def unfinished(carry: tuple) -> jax.Array:
    matrix, _, sweeps = carry
    roots = jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 0))
    off = jnp.abs(matrix) > tolerance * roots[:, None] * roots[None, :]
    return jnp.any(off & (identity == 0)) & (sweeps < _MAX_SWEEPS)

  start = (gramian, identity + 0 * gramian, jnp.zeros((), jnp.int32))
  matrix, vectors, _ = jax.lax.while_loop(unfinished, sweep, start)
  values = jnp.diagonal(matrix)
  order = jnp.argsort(values)
  return values[order], vectors[:, order]


@functools.cache
def _tournament(size: int) -> np.ndarray:
  """Every row's partner in each round, `[rounds, size]`; each pair meets once (circle method)."""
  even = size + size % 2
  rounds = []
  others = list(range(1, even))
  for _ in range(even - 1):
    line = [0, *others]
    partner = np.arange(even)
    for a, b in zip(line[: even // 2], reversed(line[even // 2 :]), strict=True):
      partner[a], partner[b] = b, a
    rounds.append(np.where(partner[:size] < size, partner[:size], np.arange(size)))
    others = [others[-1], *others[:-1]]
  return np.array(rounds, np.int32).reshape(-1, size)
