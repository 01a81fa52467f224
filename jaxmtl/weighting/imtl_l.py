"""Impartial multi-task learning, loss branch (IMTL-L)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl.weighting.base import Weighting, loss_weighting, reject
from jaxmtl.weighting.learned import init_tasks, step_tasks

# A loss that stays zero would send s to infinity, and the weight with it.
_LARGEST = 40.0


class IMTLLState(NamedTuple):
  """What is learned.

  Attributes:
    log_weights: s `[T]`.
    optimizer_state: of what moves them.
    rejected: int32 `[T]`, steps so far in which the task's loss was not positive.
  """

  log_weights: jax.Array
  optimizer_state: Any
  rejected: jax.Array


def imtl_l(num_tasks: int, optimizer: optax.GradientTransformation | None = None) -> Weighting:
  r"""Brings all losses to the same scale by learned factors.

  .. math:: \min_{\theta, s} \sum_t e^{s_t} L_t(\theta) - s_t, \quad w_t = e^{s_t}

  whose minimum over s has all w_t L_t = 1. The s start at 0, live in the state and take one step of
  an optimiser at each update, in a train step the network's, within -40 and 40; a task without
  labels in the batch leaves its s and that optimiser's entry as they are. Losses must be positive:
  s would grow without end for a negative one. What is not is treated as by `uncertainty`.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    optimizer: as of `uncertainty`.

  Returns:
    A `Weighting` with an `IMTLLState`.

  Raises:
    ValueError: if `num_tasks` is not a positive integer; outside of `jax.jit`, if a loss is not
      positive.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> weighting = jaxmtl.imtl_l(2, optax.sgd(0.1))
    >>> state, weigh = weighting.init(None), jax.jit(weighting.weigh)
    >>> for _ in range(200):
    ...   weights, state = weigh(jnp.array([4.0, 0.5]), state)
    >>> [round(float(w), 2) for w in weights]
    [0.25, 2.0]

  Reference:
    Liu et al., "Towards Impartial Multi-task Learning", 2021, section 3.2.
  """
  moves = optax.adam(1e-3) if optimizer is None else optimizer

  def init_fn(params: Any) -> IMTLLState:
    del params
    log_weights = jnp.zeros(num_tasks, jnp.float32)
    rejected = jnp.zeros(num_tasks, jnp.int32)
    return IMTLLState(log_weights, init_tasks(moves, log_weights), rejected)

  def weigh(losses: jax.Array, state: IMTLLState, mask: jax.Array) -> tuple[jax.Array, IMTLLState]:
    weights = jnp.exp(state.log_weights)
    rejected = reject("imtl_l", losses, mask, "the weight of a negative loss grows without end")
    log_weights, optimizer_state = step_tasks(
      moves,
      weights * losses - 1,
      state.optimizer_state,
      state.log_weights,
      mask & ~rejected,
    )
    log_weights = jnp.clip(log_weights, -_LARGEST, _LARGEST)
    return weights, IMTLLState(log_weights, optimizer_state, state.rejected + rejected)

  def learns_by(chosen: optax.GradientTransformation) -> Weighting:
    return imtl_l(num_tasks, chosen)

  return loss_weighting(
    num_tasks, weigh, init_fn, learns_by=learns_by if optimizer is None else None
  )
