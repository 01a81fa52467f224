"""Dynamic weight average (DWA)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.weighting.base import Weighting, loss_weighting


class DWAState(NamedTuple):
  """Loss history.

  Attributes:
    step: int32 scalar, updates so far.
    total: `[T]`, sum of the losses of the running epoch.
    seen: `[T]`, how many steps of the running epoch had labels of the task.
    last: `[T]`, mean loss of the last epoch, 0 before the task's first labels.
    before_last: `[T]`, mean loss of the epoch before that.
  """

  step: jax.Array
  total: jax.Array
  seen: jax.Array
  last: jax.Array
  before_last: jax.Array


def dwa(num_tasks: int, temperature: float = 2.0, steps_per_epoch: int = 25) -> Weighting:
  r"""Weighs a task by how slowly its loss fell lately.

  .. math:: r_t = \frac{\bar L_t(e - 1)}{\bar L_t(e - 2)},
            \quad w_t = T \, \mathrm{softmax}(r / \tau)_t

  with epoch means of the losses; all weights are 1 in the first two epochs. A task without labels
  in the batch takes no part in the softmax, nor in its own epoch's mean.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    temperature: tau > 0; larger is closer to equal weights.
    steps_per_epoch: updates an epoch, over which losses are averaged. Where epochs are not known,
      windows of 25 steps are usual; 1 compares single steps, whose noise then moves the weights
      more (tenfold, on losses that stay) than what the tasks learn.

  Returns:
    A `Weighting` with a `DWAState`.

  Raises:
    ValueError: if `temperature` or `steps_per_epoch` is not positive.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.dwa(2, steps_per_epoch=1)
    >>> state = weighting.init(None)
    >>> for losses in ([4.0, 4.0], [4.0, 2.0], [4.0, 2.0]):  # the second task falls faster
    ...   weights, state = weighting.weigh(jnp.array(losses), state)
    >>> [round(float(w), 3) for w in weights]
    [1.124, 0.876]

  Reference:
    Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", 2019, section 3.3.
  """
  if not guards.is_traced(temperature) and not temperature > 0:
    raise ValueError(f"temperature must be positive, got {temperature}; the paper uses 2.")
  if not guards.is_traced(steps_per_epoch) and steps_per_epoch < 1:
    raise ValueError(f"steps_per_epoch must be at least 1, got {steps_per_epoch}.")

  def init_fn(params: Any) -> DWAState:
    del params
    # Arrays of their own: a state whose memory is donated must not hold one twice.
    zeros = (jnp.zeros(num_tasks, jnp.float32) for _ in range(4))
    return DWAState(jnp.array(0, jnp.int32), *zeros)

  def weigh(losses: jax.Array, state: DWAState, mask: jax.Array) -> tuple[jax.Array, DWAState]:
    ratio = jnp.where(state.before_last > 0, state.last / state.before_last, 1.0)
    ratio = jnp.where(state.step >= 2 * steps_per_epoch, ratio, 1.0)
    softmax = jax.nn.softmax(jnp.where(mask, ratio / temperature, -jnp.inf))
    weights = jnp.where(mask, mask.sum() * softmax, 0)

    total, seen = state.total + losses.astype(state.total.dtype), state.seen + mask
    ends = (state.step + 1) % steps_per_epoch == 0
    mean = jnp.where(seen > 0, total / jnp.maximum(seen, 1), state.last)
    return weights, DWAState(
      step=state.step + 1,
      total=jnp.where(ends, 0, total),
      seen=jnp.where(ends, 0, seen),
      last=jnp.where(ends, mean, state.last),
      before_last=jnp.where(ends, state.last, state.before_last),
    )

  return loss_weighting(num_tasks, weigh, init_fn)
