"""Convex minimisation over the probability simplex, on device: an interior-point method.

Few tasks, a smooth convex function, and high accuracy wanted: primal-dual Newton steps reach it in
10 to 20 solves of a T x T system, also where the Hessian is singular.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxmtl.aggregation.base import SolverState
from jaxmtl.aggregation.positive_definite import positive_definite_solver

_MAX_ITERATIONS = 60
# The gap, in units of round-off, at which a solve stops (relative to the gradient there) and that
# at which it has converged (to the first gradient): the last digits are worth a few steps, but at
# a stationary point, where the gradient vanishes, they are out of reach.
_STOP, _CONVERGED = 4, 100
# A step may go this share of the way to the boundary, so that iterates stay inside.
_TO_BOUNDARY = 0.99
_SMALLEST_SCALE = 1e-6


def minimize_on_simplex(
  derivatives: Callable[[jax.Array], tuple[jax.Array, jax.Array]], mask: jax.Array, dtype: jnp.dtype
) -> tuple[jax.Array, SolverState]:
  r"""Minimises a smooth convex function of `w >= 0`, `sum(w) = 1`, `w = 0` where not `mask`.

  With z the multipliers of `w >= 0` and y that of the sum, each iteration is a Newton step on

  .. math:: \nabla F(w) - z - y 1 = 0, \quad w_i z_i = \mu, \quad \sum_i w_i = 1

  with mu a tenth of the mean of `w_i z_i`. The Frank-Wolfe gap `<F'(w), w> - min_i F'(w)_i`, an
  upper bound of `F(w) - min F`, says how good an iterate is; the best one is returned.

  Args:
    derivatives: `w [T] -> (gradient [T], Hessian [T, T])`; scale the function so that these are
      of order 1.
    mask: bool `[T]`.
    dtype: float32 or wider.

  Returns:
    `w` `[T]` and a `SolverState`; `converged` is False where 60 iterations, or a failed solve,
    leave a gap above round-off. All zeros where `mask` is.
  """
  eps = jnp.finfo(dtype).eps
  count = jnp.maximum(mask.sum(), 1).astype(dtype)
  ones = mask.astype(dtype)

  def gap_and_size(w: jax.Array) -> tuple[jax.Array, jax.Array]:
    gradient = derivatives(w)[0]
    gap = gradient @ w - jnp.min(jnp.where(mask, gradient, jnp.inf))
    return gap, jnp.max(jnp.abs(ones * gradient))

  def newton(carry: tuple) -> tuple:
    w, z, iteration, best, best_gap, _ = carry
    gradient, hessian = derivatives(w)
    mu = 0.1 * (w @ z) / count
    dw, dz = barrier_step(hessian, gradient, w, z, mu, mask)
    room = jnp.minimum(longest_step(w, dw), longest_step(z, dz))
    step = jnp.minimum(1, _TO_BOUNDARY * room)
    w, z = w + step * dw, z + step * dz
    w /= w.sum()  # round-off of the sum does not add up
    gap, size = gap_and_size(w)
    better = gap < best_gap  # False for NaN
    # Below this the barrier is lost in round-off, and so would be the next step.
    useful = jnp.all(jnp.isfinite(w)) & jnp.all(jnp.isfinite(z)) & (mu > eps**2)
    best, best_gap = jnp.where(better, w, best), jnp.where(better, gap, best_gap)
    more = useful & (gap > _STOP * eps * size)
    return w, z, iteration + 1, best, best_gap, more

  def unfinished(carry: tuple) -> jax.Array:
    return carry[-1] & (carry[2] < _MAX_ITERATIONS)

  w = ones / count
  gap, size = gap_and_size(w)
  # Multipliers start at the order of the gradient's spread.
  z = ones * jnp.maximum(gap, eps)
  start = (w, z, jnp.array(0, jnp.int32), w, gap, gap > _STOP * eps * size)
  _, _, iterations, best, gap, _ = jax.lax.while_loop(unfinished, newton, start)
  return best, SolverState(gap <= _CONVERGED * eps * jnp.maximum(size, eps), iterations)


def barrier_step(
  hessian: jax.Array,
  gradient: jax.Array,
  w: jax.Array,
  z: jax.Array,
  mu: jax.Array,
  mask: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """The Newton step of w and z, both `[T]`, on the conditions that `minimize_on_simplex` names."""
  ones = mask.astype(w.dtype)
  # Masked tasks keep w = 0: their rows are those of the identity, with right-hand side 0.
  inside = jnp.where(mask, w, 1)
  diagonal = jnp.where(mask, z / inside, 1)
  system = jnp.where(mask[:, None] & mask[None, :], hessian, 0) + jnp.diag(diagonal)
  # With a diagonal of ones, whatever the multipliers; a multiple of round-off keeps it positive
  # where the Hessian is singular.
  # Subnormal entries would slow the factorisation tenfold.
  scale = jnp.maximum(jax.lax.rsqrt(jnp.diagonal(system)), _SMALLEST_SCALE)
  ridge = len(w) * jnp.finfo(w.dtype).eps * jnp.eye(len(w), dtype=w.dtype)
  # Steps keep the sum: what is added along it changes none of them, but keeps the digits of one
  # that goes far along it where the Hessian hardly bends.
  along = scale * ones
  along /= jnp.linalg.norm(along)
  scaled = system * scale[:, None] * scale[None, :] + jnp.outer(along, along)
  solve = positive_definite_solver(scaled + ridge)
  right = scale * jnp.where(mask, mu / inside - gradient, 0)
  both = jnp.stack([right, along], axis=1)
  solved = solve(both)
  # What the ridge took is given back, or the last digits would not be reached.
  solved += solve(both - scaled @ solved)
  step, multiplier = solved.T
  dw = scale * (step - (along @ step) / (along @ multiplier) * multiplier)
  return dw, ones * (mu / inside - z - z / inside * dw)


def longest_step(values: jax.Array, change: jax.Array) -> jax.Array:
  """The largest multiple of a change that leaves no value below zero."""
  shrinking = change < 0
  return jnp.min(jnp.where(shrinking, -values / jnp.where(shrinking, change, -1), jnp.inf))
