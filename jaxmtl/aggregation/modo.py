"""Multi-objective gradient with double sampling (MoDo)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import GramianAggregator, gramian_aggregator
from jaxmtl.aggregation.projection import among_present, project_on_simplex
from jaxmtl.gradients.inner_products import accumulator_dtype, of_order_one


class MoDoState(NamedTuple):
  """lambda `[T]`, summing to 1; float32 or wider."""

  weights: jax.Array


def modo(
  num_tasks: int,
  gamma: float = 1e-3,
  rho: float = 0.1,
  scale_by: Literal["none", "max"] = "none",
) -> GramianAggregator:
  r"""Slowly moving weights towards the shortest combination, without a mini-batch's bias.

  .. math:: \lambda \leftarrow \Pi_\Delta \big( \lambda - \gamma (H \lambda + \rho \lambda) \big),
            \quad H_{ij} = \langle g_i, h_j \rangle, \qquad g = \sum_t \lambda_t d_t

  from equal weights, with the gradients g and h of two independent batches, and d of a third:
  `update` takes h as `second_gradients=` and d as `third_gradients=`, a train step a tuple of three
  batches. The inner products of two are unbiased, which those of one batch with itself are not;
  where h is missing, g stands for it. The authors take the direction from the third batch; where
  that is missing, d is the mean of g and h, less noisy, at two thirds of the cost. One task is the
  identity.

  A task without labels keeps its lambda; the others share what weight they had together, and their
  update is that of weights that sum to 1. Gradients that are not finite leave lambda as it was.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    gamma: step of the weights, at least 0, in units of one over the gradients' squared length.
    rho: regularisation towards equal weights, at least 0.
    scale_by: `"max"` divides H by the largest size on its diagonal, so that gamma and rho mean the
      same whatever the gradients' scale; .1 is usual for gamma then.

  Returns:
    A `GramianAggregator` with a `MoDoState`; its `weigh` takes the matrix of
    `<g_i, h_j>`.

  Raises:
    ValueError: if `gamma` or `rho` is negative, or `scale_by` unknown.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.modo(2, gamma=0.1, scale_by="max")
    >>> grads, second = jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([[2.0, 0.0], [0.0, 0.0]])
    >>> state = aggregator.init(jnp.zeros(2))
    >>> grad, state = aggregator.update(grads, state, second_gradients=second)
    >>> [round(float(w), 3) for w in state.weights], [round(float(g), 3) for g in grad]
    ([0.475, 0.525], [0.95, 0.262])

  Reference:
    Chen et al., "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization and
    Conflict-Avoidance", 2023, algorithm 1.
  """
  if not guards.is_traced(gamma) and not gamma >= 0:
    raise ValueError(f"gamma must be at least 0, got {gamma}; 0 keeps equal weights.")
  if not guards.is_traced(rho) and not rho >= 0:
    raise ValueError(f"rho must be at least 0, got {rho}; 0 does not regularise.")

  if scale_by not in ("none", "max"):
    raise ValueError(f"scale_by must be 'none' or 'max', got {scale_by!r}.")

  def init(params: Any) -> MoDoState:
    return MoDoState(jnp.full(num_tasks, 1 / num_tasks, accumulator_dtype(params)))

  def weigh(
    gramian: jax.Array,
    state: MoDoState,
    *,
    losses: jax.Array | None,
    mask: jax.Array,
    scale: jax.Array,
  ) -> tuple[jax.Array, MoDoState]:
    del losses
    gramian = of_order_one(gramian) if scale_by == "max" else gramian * scale * scale
    start, share = among_present(state.weights, mask)
    moved = start - gamma * (gramian @ start + rho * start)
    weights = jnp.where(jnp.all(jnp.isfinite(moved)), project_on_simplex(moved, mask), start)
    kept = jnp.where(mask, share * weights, state.weights).astype(state.weights.dtype)
    return weights, MoDoState(kept)

  return gramian_aggregator(num_tasks, weigh, init, needs_scale=True, two_batches=True)
