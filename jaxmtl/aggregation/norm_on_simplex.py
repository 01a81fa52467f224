"""A norm plus a linear function, minimised over the simplex on device: an interior-point method.

The norm has a kink at zero, which Newton steps on the weights alone jump over for ever. With its
dual vector as an unknown of its own, the optimality conditions are smooth there too.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxmtl.aggregation.base import SolverState
from jaxmtl.aggregation.simplex import barrier_step, longest_step

_MAX_ITERATIONS = 60
# The gap, in units of round-off, at which a solve stops, and that at which it has converged.
_STOP, _CONVERGED = 4, 100
# A step may go this share of the way to the boundary, so that iterates stay inside.
_TO_BOUNDARY = 0.9
# Smoothing of the squared norm in units of round-off.
_ROUND_OFF = 4
# Smoothing of the norm in units of mu: the more, the sooner the kink's neighbourhood is resolved.
_SMOOTHING = 30


def minimize_norm_on_simplex(
  gramian: jax.Array, slopes: jax.Array, radius: jax.Array, mask: jax.Array
) -> tuple[jax.Array, SolverState]:
  r"""The dual vector of the norm in a minimum over the simplex.

  .. math:: \min_{w \in \Delta} \langle b, w \rangle + r \|g_w\|
            = \max_{\|g_v\| \le 1} \min_i \; (b + r G v)_i, \qquad g_w = \sum_t w_t g_t

  Each iteration is a Newton step on

  .. math:: b + r G v - z - y 1 = 0, \quad N v = w, \quad w_i z_i = \mu, \quad \sum_i w_i = 1

  in w, v and the multipliers z of `w >= 0` and y of the sum, where N is the norm of g_w smoothed by
  a multiple of mu, a tenth of the mean of `w_i z_i`, and by more than the round-off of its square.
  The difference between the two sides above, at w and v, bounds the error of both; the v where it
  is smallest is returned. (v as an unknown: Chan, Golub and Mulet, 1999, for total variation.)

  Args:
    gramian: G `[T, T]` of order 1, in float32 or wider.
    slopes: b `[T]`, of order 1; with the Gramian zero where `mask` is False.
    radius: r >= 0, a scalar.
    mask: bool `[T]`.

  Returns:
    v `[T]`, in the direction of w, 0 where not `mask`; and a `SolverState`. `converged` is False
    where 60 iterations, or a failed solve, leave a gap above what round-off explains: that of the
    squared norm, by its square root, where g_w is zero.
  """
  dtype = gramian.dtype
  eps = jnp.finfo(dtype).eps
  count = jnp.maximum(mask.sum(), 1).astype(dtype)
  ones = mask.astype(dtype)
  norms = jnp.sqrt(jnp.diagonal(gramian))

  def round_off(w: jax.Array) -> jax.Array:
    """More than the error of the square of g_w, which is small where w avoids long gradients."""
    return _ROUND_OFF * eps * (w @ norms) ** 2

  def certify(w: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gap, the size of what it is the difference of, and whether round-off explains it."""
    inner = slopes + radius * gramian @ v
    primal = slopes @ w + radius * jnp.sqrt(jnp.maximum(w @ gramian @ w, 0))
    gap = primal - jnp.min(jnp.where(mask, inner, jnp.inf))
    size = w @ jnp.abs(slopes) + radius * (w @ norms)
    bound = _CONVERGED * eps * jnp.maximum(size, eps) + radius * jnp.sqrt(round_off(w))
    return gap, size, gap <= bound

  def longest_in_ball(v: jax.Array, change: jax.Array) -> jax.Array:
    """The largest step for which g_v stays within the unit ball."""
    square, cross = change @ gramian @ change, v @ gramian @ change
    root = jnp.sqrt(jnp.maximum(cross**2 + square * jnp.maximum(1 - v @ gramian @ v, 0), 0))
    return jnp.where(square > 0, jnp.maximum(root - cross, 0) / square, jnp.inf)

  def newton(carry: tuple) -> tuple:
    w, z, v, iteration, best, best_gap, converged, _ = carry
    mu = 0.1 * (w @ z) / count
    product, dual = gramian @ w, gramian @ v
    squared = radius**2 * (jnp.maximum(w @ product, 0) + round_off(w))
    inverse = radius / jnp.sqrt(squared + (_SMOOTHING * mu) ** 2)  # 1 / N
    outer = jnp.outer(dual, product)
    hessian = radius * inverse * (gramian - inverse * (outer + outer.T) / 2)
    gradient = slopes + radius * inverse * product
    dw, dz = barrier_step(hessian, gradient, w, z, mu, mask)
    dv = inverse * (w + dw - inverse * (product @ dw) * v) - v

    w += jnp.minimum(1, _TO_BOUNDARY * longest_step(w, dw)) * dw
    w /= w.sum()  # round-off of the sum does not add up
    step = jnp.minimum(1, _TO_BOUNDARY * jnp.minimum(longest_step(z, dz), longest_in_ball(v, dv)))
    z, v = z + step * dz, v + step * dv
    gap, size, explained = certify(w, v)
    better = gap < best_gap  # False for NaN
    best, best_gap = jnp.where(better, v, best), jnp.where(better, gap, best_gap)
    converged = jnp.where(better, explained, converged)
    # Below a hundredth of round-off the barrier is lost in it, and so would be the next step.
    more = jnp.isfinite(gap) & (gap > _STOP * eps * size) & (mu > 0.01 * eps * size)
    return w, z, v, iteration + 1, best, best_gap, converged, more

  def unfinished(carry: tuple) -> jax.Array:
    return carry[-1] & (carry[3] < _MAX_ITERATIONS)

  w, v = ones / count, jnp.zeros_like(slopes)
  gap, size, converged = certify(w, v)
  z = ones * jnp.maximum(gap, eps)  # multipliers start at the order of the error
  start = (w, z, v, jnp.zeros((), jnp.int32), v, gap, converged, gap > _STOP * eps * size)
  _, _, _, iterations, best, _, converged, _ = jax.lax.while_loop(unfinished, newton, start)
  return best, SolverState(converged, iterations)
