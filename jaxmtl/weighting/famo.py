"""Fast adaptive multitask optimisation (FAMO)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.weighting.base import Weighting, loss_weighting
from jaxmtl.weighting.learned import init_tasks, step_tasks

# Keeps the logarithm of a loss at its minimum finite.
_SMALLEST = 1e-8


class FAMOState(NamedTuple):
  """What the task weights are made of, and what they still have to learn from.

  Attributes:
    logits: `[T]`, xi.
    losses: `[T]`, of the task's last step with labels.
    pending: bool `[T]`, whether the change of that loss has not been learned from.
    optimizer_state: of the T Adams that move the logits.
  """

  logits: jax.Array
  losses: jax.Array
  pending: jax.Array
  optimizer_state: Any


def famo(
  num_tasks: int, learning_rate: float = 0.025, weight_decay: float = 1e-3, minimum: float = 0.0
) -> Weighting:
  r"""Weighs tasks so that their logarithmic losses fall at the same rate.

  .. math:: w_t = c \frac{z_t}{L_t - b + \epsilon}, \quad z = \mathrm{softmax}(\xi), \quad
            1 / c = \sum_t \frac{z_t}{L_t - b + \epsilon}

  so that the weights sum to 1. After the parameters' step Adam moves xi against

  .. math:: \nabla_\xi \sum_t z_t(\xi) \log \frac{L_t - b + \epsilon}{L'_t - b + \epsilon}
            + \lambda \xi

  where L' are the losses after the step: `revise(losses, state)` takes them, as the train step
  calls it. In a plain `optax.chain` nobody does. The next update's losses stand for L' then, before
  they are weighed: exact on the same batch, noisy on another one. A task without labels in the
  batch keeps its entries; its next loss is then compared with that of its last labels.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    learning_rate: of xi.
    weight_decay: lambda >= 0, added to the gradient before Adam.
    minimum: b, a lower bound of all losses; a loss below it counts as equal to it.

  Returns:
    A `Weighting` with `revise` and a `FAMOState`.

  Raises:
    ValueError: if `learning_rate` is not positive or `weight_decay` is negative.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.famo(2)
    >>> weights, state = weighting.weigh(jnp.array([3.0, 1.0]), weighting.init(None))
    >>> [round(float(w), 3) for w in weights]
    [0.25, 0.75]
    >>> state = weighting.revise(jnp.array([3.0, 0.5]), state)  # the second fell: it weighs less
    >>> [round(float(xi), 3) for xi in state.logits]
    [0.025, -0.025]

  Reference:
    Liu, Feng, Stone and Liu, "FAMO: Fast Adaptive Multitask Optimization", 2023, algorithm 1.
  """
  if not guards.is_traced(learning_rate) and not learning_rate > 0:
    raise ValueError(f"learning_rate must be positive, got {learning_rate}; the paper uses 0.025.")
  if not guards.is_traced(weight_decay) and not weight_decay >= 0:
    raise ValueError(f"weight_decay must be >= 0, got {weight_decay}; the paper uses 0.001.")
  adam = optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))

  def init_fn(params: Any) -> FAMOState:
    del params
    zeros = jnp.zeros(num_tasks, jnp.float32)
    none = jnp.zeros(num_tasks, bool)
    return FAMOState(zeros, jnp.zeros_like(zeros), none, init_tasks(adam, zeros))

  def logarithm(losses: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(losses - minimum, 0) + _SMALLEST)

  def revise(losses: jax.Array, state: FAMOState, mask: jax.Array) -> FAMOState:
    due = mask & state.pending
    fell = jnp.where(due, logarithm(state.losses) - logarithm(losses), 0)
    shares = jax.nn.softmax(jnp.where(due, state.logits, -jnp.inf))
    gradient = shares * (fell - shares @ fell)
    logits, optimizer_state = step_tasks(adam, gradient, state.optimizer_state, state.logits, due)
    return FAMOState(logits, state.losses, state.pending & ~due, optimizer_state)

  def weigh(losses: jax.Array, state: FAMOState, mask: jax.Array) -> tuple[jax.Array, FAMOState]:
    state = revise(losses, state, mask)
    weights = jax.nn.softmax(jnp.where(mask, state.logits - logarithm(losses), -jnp.inf))
    last = jnp.where(mask, losses, state.losses).astype(state.losses.dtype)
    return weights, state._replace(losses=last, pending=state.pending | mask)

  return loss_weighting(num_tasks, weigh, init_fn, revise=revise)
