"""Impartial multi-task learning, loss branch (IMTL-L)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl.weighting.base import Weighting, loss_weighting
from jaxmtl.weighting.learned import init_tasks, step_tasks

# A loss that stays zero would send s to infinity, and the weight with it.
_LARGEST = 40.0


class IMTLLState(NamedTuple):
  """Learned logarithms `[T]` of the weights and their optimiser's state."""

  log_weights: jax.Array
  optimizer_state: Any


def imtl_l(num_tasks: int, optimizer: optax.GradientTransformation | None = None) -> Weighting:
  r"""Brings all losses to the same scale by learned factors.

  .. math:: \min_{\theta, s} \sum_t e^{s_t} L_t(\theta) - s_t, \quad w_t = e^{s_t}

  whose minimum over s has all w_t L_t = 1. The s start at 0, live in the state and take one step of
  their own optimiser at each update, within -40 and 40; a task without labels in the batch leaves
  its s and that optimiser's entry as they are.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    optimizer: moves s, each entry by itself; SGD with learning rate .1 and momentum .9 by default,
      as for `uncertainty`.

  Returns:
    A `Weighting` with an `IMTLLState`.

  Raises:
    ValueError: if `num_tasks` is not a positive integer.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.imtl_l(2)
    >>> state, weigh = weighting.init(None), jax.jit(weighting.weigh)
    >>> for _ in range(200):
    ...   weights, state = weigh(jnp.array([4.0, 0.5]), state)
    >>> [round(float(w), 2) for w in weights]
    [0.25, 2.0]

  Reference:
    Liu et al., "Towards Impartial Multi-task Learning", 2021, section 3.2.
  """
  moves = optax.sgd(0.1, momentum=0.9) if optimizer is None else optimizer

  def init_fn(params: Any) -> IMTLLState:
    del params
    log_weights = jnp.zeros(num_tasks, jnp.float32)
    return IMTLLState(log_weights, init_tasks(moves, log_weights))

  def weigh(losses: jax.Array, state: IMTLLState, mask: jax.Array) -> tuple[jax.Array, IMTLLState]:
    weights = jnp.exp(state.log_weights)
    log_weights, optimizer_state = step_tasks(
      moves, weights * losses - 1, state.optimizer_state, state.log_weights, mask
    )
    return weights, IMTLLState(jnp.clip(log_weights, -_LARGEST, _LARGEST), optimizer_state)

  return loss_weighting(num_tasks, weigh, init_fn)
