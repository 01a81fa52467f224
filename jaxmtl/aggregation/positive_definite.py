"""Solves with the small positive definite matrices of the solvers, in the platform's fast form."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxmtl._platform import on_cpu

# Up to so many rows an accelerator eliminates them one after another.
_FEW_ROWS = 32


def positive_definite_solver(matrix: jax.Array) -> Callable[[jax.Array], jax.Array]:
  """Solves `matrix @ x = right` for any `right` `[T]` or `[T, K]`; NaN where it is not definite.

  By Cholesky's factors on CPU and for many tasks. On accelerators those of a few rows wait for
  a library's call each, and each triangular solve for another: with the inverse, by eliminations
  that compile into one kernel each, MGDA at T = 8 takes .44 ms instead of .77 on an H200, CAGrad
  .57 instead of 1.82.

  Args:
    matrix: `[T, T]`, symmetric.
  """
  if on_cpu(matrix) or len(matrix) > _FEW_ROWS:
    factor = jax.scipy.linalg.cho_factor(matrix)
    return lambda right: jax.scipy.linalg.cho_solve(factor, right)
  inverse = _inverse(matrix)

  def solve(right: jax.Array) -> jax.Array:
    x = inverse @ right
    return x + inverse @ (right - matrix @ x)  # or the residual would be many times round-off

  return solve


def _inverse(matrix: jax.Array) -> jax.Array:
  """By Gauss-Jordan elimination, which needs no exchange of rows where the matrix is definite."""
  size = len(matrix)
  identity = jnp.eye(size, dtype=matrix.dtype)
  rows = jnp.concatenate([matrix, identity], axis=1)
  for i in range(size):
    pivot = jnp.where(rows[i, i] > 0, rows[i, i], jnp.nan)
    row = rows[i] / pivot
    rows = jnp.where(identity[i][:, None] > 0, row, rows - rows[:, i, None] * row)
  return rows[:, size:]
