"""Gradient normalisation (GradNorm)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.weighting.base import Weighting, loss_weighting
from jaxmtl.weighting.learned import init_tasks, step_tasks


class GradNormState(NamedTuple):
  """Learned weights and what they compare the losses with.

  Attributes:
    logits: `[T]`, s.
    first: `[T]`, mean loss of the task's first epoch.
    seen: int32 `[T]`, over how many of its steps that mean is so far.
    optimizer_state: of the T Adams that move the logits.
    step: int32 scalar, updates so far.
  """

  logits: jax.Array
  first: jax.Array
  seen: jax.Array
  optimizer_state: Any
  step: jax.Array


def gradnorm(
  num_tasks: int,
  alpha: float = 1.5,
  learning_rate: float | None = 0.025,
  steps_per_epoch: int = 1,
  equal_steps: int = 0,
) -> Weighting:
  r"""Learns weights that let all tasks train at the same rate, by the norms of their gradients.

  .. math:: w = T \, \mathrm{softmax}(s), \quad
            \min_s \sum_t \Big| w_t n_t - \overline{w n} \, r_t^\alpha \Big|, \quad
            r_t = \frac{L_t / L_t(0)}{\overline{L / L(0)}}

  with n the norms of the unweighted task gradients, bars for means over tasks, and the target (the
  second term) held constant. The weights of a step are used first; then Adam moves s. A task
  without labels in the batch takes no part in means and softmax and keeps its entries.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  The norms are those of the gradients that the weighting sees: of the shared parameters in a train
  step with `shared=`, of all parameters in a plain chain. The paper takes the last shared layer.

  Args:
    num_tasks: T, a static integer.
    alpha: how strongly tasks that train slowly are favoured, >= 0; the paper uses 1.5 on NYUv2.
    learning_rate: of s, which Adam moves, by norms divided by their mean, so that its epsilon sees
      no scale; None lets the train step's optimiser move it by the norms as they are, as programs
      do that hold s among the network's parameters (in a chain of one's own, Adam at 1e-3).
    steps_per_epoch: over how many of the task's first steps with labels L(0) is the mean (so far,
      while they last); 1 is the first loss.
    equal_steps: the first steps, in which all weights are 1 and s does not move: those of the first
      epoch in LibMTL.

  Returns:
    A `Weighting` with `needs_gramian` and a `GradNormState`. Losses must be positive: a task whose
    L(0) is not counts as training at the pace of its start.

  Raises:
    ValueError: if `alpha` or `equal_steps` is negative, `learning_rate` not positive or
      `steps_per_epoch` below 1.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.gradnorm(2)
    >>> state, weigh = weighting.init(None), jax.jit(weighting.weigh)
    >>> gramian = jnp.diag(jnp.array([9.0, 1.0]))
    >>> for _ in range(60):  # norms 3 and 1, no progress: weights go towards 1/2 and 3/2
    ...   weights, state = weigh(jnp.ones(2), state, gramian=gramian)
    >>> [round(float(w), 1) for w in weights]
    [0.5, 1.5]

  Reference:
    Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
    Networks", 2018, algorithm 1 and section 3.
  """
  if not guards.is_traced(alpha) and not alpha >= 0:
    raise ValueError(f"alpha must be >= 0, got {alpha}; the paper uses 1.5.")
  given = learning_rate is not None
  if given and not guards.is_traced(learning_rate) and not learning_rate > 0:  # type: ignore[operator]
    raise ValueError(f"learning_rate must be positive, got {learning_rate}; 0.025 is usual.")
  if not guards.is_traced(equal_steps) and equal_steps < 0:
    raise ValueError(f"equal_steps must be at least 0, got {equal_steps}.")
  if not guards.is_traced(steps_per_epoch) and steps_per_epoch < 1:
    raise ValueError(f"steps_per_epoch must be at least 1, got {steps_per_epoch}.")
  options = (num_tasks, alpha, steps_per_epoch, equal_steps, given)
  if not given:
    return _gradnorm(*options, optax.adam(1e-3), lambda chosen: _gradnorm(*options, chosen))
  return _gradnorm(*options, optax.adam(learning_rate))


def _gradnorm(
  num_tasks: int,
  alpha: float,
  steps_per_epoch: int,
  equal_steps: int,
  relative: bool,
  adam: optax.GradientTransformation,
  learns_by: Callable[[optax.GradientTransformation], Weighting] | None = None,
) -> Weighting:
  """With what moves s, and whether norms are divided by their mean."""

  def init_fn(params: Any) -> GradNormState:
    del params
    zeros = jnp.zeros(num_tasks, jnp.float32)
    none = jnp.zeros(num_tasks, jnp.int32)
    step = jnp.zeros((), jnp.int32)
    return GradNormState(zeros, jnp.zeros_like(zeros), none, init_tasks(adam, zeros), step)

  def weigh(
    losses: jax.Array, state: GradNormState, mask: jax.Array, gramian: jax.Array
  ) -> tuple[jax.Array, GradNormState]:
    count = jnp.maximum(mask.sum(), 1)
    first, seen = _first_losses(losses, state, mask & (state.seen < steps_per_epoch))

    def per_mean(values: jax.Array) -> jax.Array:
      """Values of present tasks divided by their mean."""
      values = jnp.where(mask, values, 0)
      mean = values.sum() / count
      return values / jnp.where(mean > 0, mean, 1)

    progress = jnp.where(first > 0, jnp.maximum(losses, 0) / jnp.where(first > 0, first, 1), 1)
    rates = per_mean(progress) ** alpha
    norms = jnp.sqrt(jnp.diagonal(gramian))
    norms = per_mean(norms) if relative else norms

    def weights_of(logits: jax.Array) -> jax.Array:
      return count * jax.nn.softmax(jnp.where(mask, logits, -jnp.inf))

    def objective(logits: jax.Array) -> jax.Array:
      sizes = jnp.where(mask, weights_of(logits) * norms, 0)
      return jnp.abs(sizes - jax.lax.stop_gradient(sizes.sum() / count * rates)).sum()

    logits, optimizer_state = step_tasks(
      adam,
      jax.grad(objective)(state.logits),
      state.optimizer_state,
      state.logits,
      mask & (state.step >= equal_steps),
    )
    new = GradNormState(logits, first, seen, optimizer_state, state.step + 1)
    return weights_of(state.logits), new

  weighting = loss_weighting(num_tasks, weigh, init_fn, needs_gramian=True, learns_by=learns_by)
  weighting.name = "gradnorm"
  return weighting


def _first_losses(
  losses: jax.Array, state: GradNormState, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The running means of the first losses, where `mask` is True one loss further."""
  seen = state.seen + mask
  mean = state.first + (losses - state.first) / jnp.maximum(seen, 1)
  return jnp.where(mask, mean, state.first).astype(state.first.dtype), seen
