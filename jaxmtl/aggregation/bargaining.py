"""Solves G x = x^(-p), x > 0, on device: the fixed point of Nash-MTL (p = 1) and of FairGrad.

It is the minimum of a convex function, which damped Newton steps reach from any start.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxmtl.aggregation.base import SolverState
from jaxmtl.aggregation.positive_definite import positive_definite_solver
from jaxmtl.gradients.conflict import cosine_matrix

_MAX_ITERATIONS = 60


def solve_bargaining(gramian: jax.Array, power: jax.Array | float) -> tuple[jax.Array, SolverState]:
  r"""The positive weights that are a power of their updates' inner products with the gradients.

  .. math:: G x = x^{-p}, \quad x > 0
            \iff \min_{x > 0} \tfrac12 x^\top G x - \sum_i \phi(x_i), \quad \phi' = x^{-p}

  In :math:`y_i = x_i / s_i` with :math:`s_i = G_{ii}^{-1/(1 + p)}`, the solution without conflict
  or accord is y = 1 and G becomes the matrix of cosines, so that gradients of any scale are treated
  alike. A Newton step that shrinks some y_i by the share r at most is taken to
  :math:`(1 - (1 + p r)^{-1/p}) / r` of its length: there the bound
  :math:`|\phi'''| = (p + 1) \phi'' / y` guarantees descent and y > 0, without a search, and near
  the solution it is a full step.

  Where zero is in the convex hull of the gradients, no x solves the equation: it would grow for
  ever. A multiple of round-off on the diagonal of the cosines bounds y, and so keeps the update
  near the zero that it tends to; `converged` is False there.

  Args:
    gramian: `[T, T]` in float32 or wider.
    power: p > 0.

  Returns:
    x `[T]`, 0 where the diagonal is (to round-off of the largest), and a `SolverState`; `converged`
    says that the equation holds to the square root of round-off, relative.
  """
  dtype = gramian.dtype
  eps = jnp.finfo(dtype).eps
  squares = jnp.diagonal(gramian)
  # A gradient below round-off of the longest one would get a weight as large as it is short.
  active = squares > jnp.maximum(jnp.finfo(dtype).tiny, eps**2 * jnp.max(squares))
  squares = jnp.where(active, squares, 1)
  # Rows of zero gradients are those of the identity: y = 1 there, until it is left out at the end.
  cosines = jnp.where(active[:, None] & active[None, :], cosine_matrix(gramian), 0)
  cosines = jnp.fill_diagonal(cosines, 1, inplace=False)
  regular = cosines + 4 * len(gramian) * eps * jnp.eye(len(gramian), dtype=dtype)
  # With z = t y the equation is cosines @ z = t y^(-p).
  t = squares ** ((power - 1) / (2 * (power + 1)))

  def newton(carry: tuple) -> tuple:
    y, iteration, last, _ = carry
    right = t * y**-power - regular @ (t * y)
    solve = positive_definite_solver(regular + jnp.diag(power * y ** (-power - 1)))
    change = solve(right) / (t * y)
    shrink = jnp.max(-change, initial=0)
    damped = (1 - (1 + power * shrink) ** (-1 / power)) / jnp.where(shrink > eps, shrink, 1)
    step = jnp.where(shrink > eps, damped, 1)
    new = y * (1 + step * change)
    fine = jnp.all(jnp.isfinite(new) & (new > 0))
    size = jnp.max(jnp.abs(change))
    # Convergence is quadratic at the end: a step of this size was the last that matters, and one
    # that does not even halve is round-off.
    more = fine & (size > 0.01 * jnp.sqrt(eps)) & ((size > 0.1) | (size < last / 2))
    return jnp.where(fine, new, y), iteration + 1, size, more

  def unfinished(carry: tuple) -> jax.Array:
    return carry[-1] & (carry[1] < _MAX_ITERATIONS)

  start = (jnp.ones_like(t), jnp.zeros((), jnp.int32), jnp.array(jnp.inf, dtype), jnp.array(True))
  y, iterations, _, _ = jax.lax.while_loop(unfinished, newton, start)
  residual = jnp.abs(y**power * (cosines @ (t * y)) / t - 1)
  x = jnp.where(active, y * squares ** (-1 / (power + 1)), 0)
  converged = (jnp.max(residual) < jnp.sqrt(eps)) & jnp.all(jnp.isfinite(gramian))
  return x, SolverState(converged, iterations)
