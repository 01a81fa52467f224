"""Uncertainty weighting (UW)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl.weighting.base import Weighting, loss_weighting
from jaxmtl.weighting.learned import init_tasks, step_tasks

# A loss that stays zero would send s to minus infinity, and the weight with it.
_LARGEST = 40.0


class UncertaintyState(NamedTuple):
  """Learned log-variances `[T]` and their optimiser's state."""

  log_variances: jax.Array
  optimizer_state: Any


def uncertainty(
  num_tasks: int,
  init: float = -0.7,
  optimizer: optax.GradientTransformation | None = None,
) -> Weighting:
  r"""Weights tasks by a learned homoscedastic uncertainty.

  .. math:: \min_{\theta, s} \sum_t \frac{L_t(\theta)}{2 e^{s_t}} + \frac{s_t}{2},
            \quad w_t = \frac{1}{2 e^{s_t}}

  The log-variances s live in the state and take one step of their own optimiser at each update;
  a task without labels in the batch leaves its s and that optimiser's entry as they are.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    init: first value of every s.
    optimizer: moves s, each entry by itself; SGD with learning rate .1 and momentum .9 by default,
      as the thesis's networks are trained.

  Returns:
    A `Weighting` with an `UncertaintyState`.

  Raises:
    ValueError: if `num_tasks` is not a positive integer.

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
  step = optax.sgd(0.1, momentum=0.9) if optimizer is None else optimizer

  def init_fn(params: Any) -> UncertaintyState:
    del params
    log_variances = jnp.full(num_tasks, init, jnp.float32)
    return UncertaintyState(log_variances, init_tasks(step, log_variances))

  def weigh(
    losses: jax.Array, state: UncertaintyState, mask: jax.Array
  ) -> tuple[jax.Array, UncertaintyState]:
    weights = 0.5 * jnp.exp(-state.log_variances)
    log_variances, optimizer_state = step_tasks(
      step, 0.5 - weights * losses, state.optimizer_state, state.log_variances, mask
    )
    return weights, UncertaintyState(jnp.clip(log_variances, -_LARGEST, _LARGEST), optimizer_state)

  return loss_weighting(num_tasks, weigh, init_fn)
