"""Uncertainty weighting (UW)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl.weighting.base import Weighting, loss_weighting, reject
from jaxmtl.weighting.learned import init_tasks, step_tasks

# A loss that stays zero would send s to minus infinity, and the weight with it.
_LARGEST = 40.0


class UncertaintyState(NamedTuple):
  """What is learned.

  Attributes:
    log_variances: s `[T]`.
    optimizer_state: of what moves them.
    rejected: int32 `[T]`, steps so far in which the task's loss was not positive.
  """

  log_variances: jax.Array
  optimizer_state: Any
  rejected: jax.Array


def uncertainty(
  num_tasks: int,
  init: float = -0.7,
  optimizer: optax.GradientTransformation | None = None,
) -> Weighting:
  r"""Weights tasks by a learned homoscedastic uncertainty.

  .. math:: \min_{\theta, s} \sum_t \frac{L_t(\theta)}{2 e^{s_t}} + \frac{s_t}{2},
            \quad w_t = \frac{1}{2 e^{s_t}}

  The log-variances s live in the state and take one step of an optimiser at each update, in a train
  step the network's, as where they are parameters of the network; a task without labels in the
  batch leaves its s and that optimiser's entry as they are. Losses must be positive: s would fall
  without end for a negative one. Outside of `jax.jit` one that is not raises; inside, where values
  are not known, it leaves s as it is, and is counted in the state and in the step's
  `rejected_losses`.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    init: first value of every s: -.7 in the thesis, 0 and -.5 elsewhere.
    optimizer: moves s, each entry by itself. None: in a train step its optimiser and schedule; in
      a chain of one's own, which does not show them, Adam at 1e-3.

  Returns:
    A `Weighting` with an `UncertaintyState`.

  Raises:
    ValueError: if `num_tasks` is not a positive integer; outside of `jax.jit`, if a loss is not
      positive.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.uncertainty(2, init=0.0)
    >>> weights, state = weighting.weigh(jnp.array([3.0, 1.0]), weighting.init(None))
    >>> weights.tolist()
    [0.5, 0.5]
    >>> weights, _ = weighting.weigh(jnp.array([3.0, 1.0]), state)  # the larger loss weighs less
    >>> bool(weights[0] < weights[1])
    True

  Reference:
    Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", 2018,
    section 3.2; initial value as in "Auto-Lambda", 2022, section 4.
  """
  step = optax.adam(1e-3) if optimizer is None else optimizer

  def init_fn(params: Any) -> UncertaintyState:
    del params
    log_variances = jnp.full(num_tasks, init, jnp.float32)
    rejected = jnp.zeros(num_tasks, jnp.int32)
    return UncertaintyState(log_variances, init_tasks(step, log_variances), rejected)

  def weigh(
    losses: jax.Array, state: UncertaintyState, mask: jax.Array
  ) -> tuple[jax.Array, UncertaintyState]:
    weights = 0.5 * jnp.exp(-state.log_variances)
    rejected = reject("uncertainty", losses, mask, "the variance of a negative loss shrinks to 0")
    log_variances, optimizer_state = step_tasks(
      step,
      0.5 - weights * losses,
      state.optimizer_state,
      state.log_variances,
      mask & ~rejected,
    )
    log_variances = jnp.clip(log_variances, -_LARGEST, _LARGEST)
    return weights, UncertaintyState(log_variances, optimizer_state, state.rejected + rejected)

  def learns_by(chosen: optax.GradientTransformation) -> Weighting:
    return uncertainty(num_tasks, init, chosen)

  return loss_weighting(
    num_tasks, weigh, init_fn, learns_by=learns_by if optimizer is None else None
  )
