"""Smoothed weights of another aggregator (CR-MOGM)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator, GramianAggregator, gramian_aggregator
from jaxmtl.aggregation.mgda import mgda
from jaxmtl.gradients.inner_products import accumulator_dtype


class CRMOGMState(NamedTuple):
  """Moving means of weights.

  Attributes:
    weights: `[T]`; 0 before a task's first labels.
    seen: bool `[T]`, whether a task had labels yet.
    inner: the smoothed aggregator's state.
  """

  weights: jax.Array
  seen: jax.Array
  inner: Any


def cr_mogm(
  num_tasks: int, aggregator: Aggregator | None = None, alpha: float = 0.9
) -> GramianAggregator:
  r"""The task gradients weighted by moving means of another method's weights.

  .. math:: \lambda_k = \alpha \lambda_{k-1} + (1 - \alpha) \hat\lambda_k, \qquad
            \lambda_1 = \hat\lambda_1, \qquad g = \sum_t \lambda_{k,t} g_t

  with :math:`\hat\lambda_k` the weights that `aggregator` gives to the task gradients of step k.
  Weights of one batch are correlated with its gradients, so that their product is biased even where
  the gradients are not; slow weights lessen that. One task is what it is to `aggregator`.

  A task without labels gets weight 0 in that step and keeps its mean. Weights that are not finite
  show in the update, and stay in no mean. Task-specific parameters receive their own task's
  gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    aggregator: a Gramian-based one for T tasks; `jaxmtl.mgda(num_tasks)` where None.
    alpha: share of the old weights, in [0, 1); 0 is `aggregator` itself.

  Returns:
    A `GramianAggregator` with a `CRMOGMState`.

  Raises:
    ValueError: if `aggregator` has no `weigh`, or `alpha` is outside its range.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.cr_mogm(2, jaxmtl.mgda(2), alpha=0.5)
    >>> state = aggregator.init(jnp.zeros(2))
    >>> _, state = aggregator.update(jnp.array([[1.0, 0.0], [0.0, 1.0]]), state)
    >>> grad, state = aggregator.update(jnp.array([[1.0, 0.0], [0.0, 7.0]]), state)
    >>> [round(float(w), 2) for w in state.weights]  # MGDA's are (.5, .5), then (.98, .02)
    [0.74, 0.26]

  Reference:
    Zhou, Zhang, Jiang, Zhong, Gu and Zhu, "On the Convergence of Stochastic Multi-Objective
    Gradient Manipulation and Beyond", 2022.
  """
  smoothed = mgda(num_tasks) if aggregator is None else aggregator
  inner_weigh = getattr(smoothed, "weigh", None)
  if inner_weigh is None:
    raise ValueError(
      f"aggregator must be Gramian-based, with weights to smooth, got {aggregator!r}; for example "
      "jaxmtl.mgda(num_tasks)."
    )
  if not guards.is_traced(alpha) and not 0 <= alpha < 1:
    raise ValueError(f"alpha must be in [0, 1), got {alpha}; 0.9 is usual.")

  def init(params: Any) -> CRMOGMState:
    weights = jnp.zeros(num_tasks, accumulator_dtype(params))
    return CRMOGMState(weights, jnp.zeros(num_tasks, bool), smoothed.init(params))

  def weigh(
    gramian: jax.Array,
    state: CRMOGMState,
    *,
    losses: jax.Array | None,
    mask: jax.Array,
    scale: jax.Array,
  ) -> tuple[jax.Array, CRMOGMState]:
    fresh, inner = inner_weigh(gramian, state.inner, losses=losses, mask=mask, scale=scale)
    old = state.weights.astype(fresh.dtype)
    mean = jnp.where(state.seen, alpha * old + (1 - alpha) * fresh, fresh)
    due = mask & jnp.isfinite(mean)
    weights = jnp.where(due, mean, old).astype(state.weights.dtype)
    return mean, CRMOGMState(weights, state.seen | due, inner)

  return gramian_aggregator(
    num_tasks, weigh, init, needs_scale=True, two_batches=smoothed.two_batches
  )
