"""Conflict-averse gradient descent (CAGrad)."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import (
  GramianAggregator,
  SolverState,
  gramian_aggregator,
  init_solver_state,
  mean_weights,
)
from jaxmtl.aggregation.norm_on_simplex import minimize_norm_on_simplex
from jaxmtl.gradients.inner_products import of_order_one


def cagrad(
  num_tasks: int,
  c: float = 0.5,
  rescale: Literal[0, 1, 2] = 1,
  norm_eps: float = 0.0,
) -> GramianAggregator:
  r"""The update near the mean gradient that helps the worst-off task most.

  .. math:: \max_d \min_t \langle g_t, d \rangle \quad \text{s.t.} \; \|d - g_0\| \le c \|g_0\|

  with g_0 the mean. Through its dual, with g_w = sum of w_t g_t,

  .. math:: \min_{w \in \Delta} \langle g_w, g_0 \rangle + c \|g_0\| \|g_w\|, \qquad
            d = g_0 + \frac{c \|g_0\|}{\|g_w\|} g_w

  c = 0 is the mean; c >= 1 tends to MGDA's direction. (With c > 1 at a Pareto-stationary point, the
  solver may stop within about 1e-2 of the maximum and say so.) One task gives `(1 + c) g_1`, before
  rescaling. Tasks without labels count neither in the mean nor in the minimum.
  The update is about as long as the mean gradient; programs that descend the sum of the losses
  multiply it by T, `optax.chain(jaxmtl.cagrad(T, c=0.4), optax.scale(T), ...)`.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    c: radius relative to the mean gradient's norm, >= 0.
    rescale: 1, the authors' program's, divides d by 1 + c^2; 2 by 1 + c; 0 leaves it.
    norm_eps: mean gradients shorter than this give zero, as in some programs; 0 for none.

  Returns:
    A `GramianAggregator` whose state says whether the last solve converged.

  Raises:
    ValueError: if `c` is negative or `rescale` is none of 0, 1, 2, or `norm_eps` is negative.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.cagrad(2, c=0.5, rescale=0)
    >>> grads = jnp.array([[2.0, 0.0], [0.0, 2.0]])
    >>> grad, _ = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(float(g), 3) for g in grad]
    [1.5, 1.5]

  Reference:
    Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", 2021, section 3.
  """
  if not guards.is_traced(c) and not c >= 0:
    raise ValueError(f"c must be at least 0, got {c}; the paper uses 0.2 to 0.8.")
  if rescale not in (0, 1, 2):
    raise ValueError(f"rescale must be 0, 1 or 2, got {rescale!r}.")
  if not guards.is_traced(norm_eps) and not norm_eps >= 0:
    raise ValueError(f"norm_eps must be at least 0, got {norm_eps}; 0 takes every gradient.")
  divisor = (1.0, 1 + c**2, 1 + c)[rescale]

  def weigh(
    gramian: jax.Array,
    state: SolverState,
    *,
    losses: jax.Array | None,
    mask: jax.Array,
    scale: jax.Array,
  ) -> tuple[jax.Array, SolverState]:
    del state, losses
    mean = mean_weights(mask, gramian.dtype)
    length = scale * jnp.sqrt(jnp.maximum(mean @ gramian @ mean, 0))
    gramian = of_order_one(gramian)
    inner = gramian @ mean
    radius = c * jnp.sqrt(jnp.maximum(mean @ inner, 0))
    direction, solver = minimize_norm_on_simplex(gramian, inner, radius, mask)
    # Any weight would do for a gradient of zero, to round-off of the longest one.
    shown = jnp.diagonal(gramian) > jnp.finfo(gramian.dtype).eps ** 2
    direction = jnp.where(shown, direction, 0)
    return jnp.where(length < norm_eps, 0, (mean + radius * direction) / divisor), solver

  return gramian_aggregator(num_tasks, weigh, init_solver_state, needs_scale=True)
