"""A loss scale that adapts itself, for float16."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl.transforms.skip import SkipState, skip_nonfinite

PyTree = Any

# Beyond it float32 losses of some size are infinite themselves.
_LARGEST = 2.0**24


class LossScaleState(NamedTuple):
  """The scale, and how long it has been right.

  Attributes:
    inner: state of the chain, with the count of steps left out.
    loss_scale: float32 scalar, what losses of the next step are multiplied by.
    finite_steps: int32 scalar, steps with finite gradients since the scale last changed.
  """

  inner: SkipState
  loss_scale: jax.Array
  finite_steps: jax.Array


def dynamic_loss_scale(
  inner: optax.GradientTransformation,
  *,
  initial: float = 2.0**15,
  every: int = 2000,
  factor: float = 2.0,
) -> optax.GradientTransformationExtraArgs:
  r"""Holds the largest loss scale that leaves float16 gradients finite.

  .. math:: s \leftarrow \begin{cases} s / f & \text{a gradient is infinite or NaN} \\
            s f & \text{the last } n \text{ steps were finite} \\ s & \text{otherwise} \end{cases}

  A step with an infinite gradient is left out: nothing of `inner` changes, and updates are zero.
  Losses are multiplied by `state.loss_scale` before they are differentiated, and gradients divided
  by it before they come in here; with `jaxmtl.training.train_step(loss_scale="dynamic")` the step
  does both. The scale stays between 1 and 2^24.

  Args:
    inner: the optimiser, or a whole chain with an aggregator in it.
    initial: the first scale; where it is too large, each halving costs one step.
    every: n, finite steps after which a larger scale is tried.
    factor: f, above 1.

  Returns:
    A transform with a `LossScaleState`.

  Raises:
    ValueError: for an initial scale outside [1, 2^24], `every` below 1 or a factor of at most 1.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx = jaxmtl.dynamic_loss_scale(optax.sgd(0.1), initial=1024.0)
    >>> params = jnp.zeros(2)
    >>> updates, state = tx.update(jnp.array([jnp.inf, 1.0]), tx.init(params), params)
    >>> updates.tolist(), float(state.loss_scale), int(state.inner.skipped)
    ([0.0, 0.0], 512.0, 1)

  Reference: Micikevicius et al., "Mixed Precision Training", 2018, section 3.2.
  """
  if not 1 <= initial <= _LARGEST:
    raise ValueError(f"initial must be a scale from 1 to 2^24, got {initial}.")
  if isinstance(every, bool) or not isinstance(every, int) or every < 1:
    raise ValueError(f"every must be a positive integer, got {every!r}: steps.")
  if not 1 < factor < math.inf:
    raise ValueError(f"factor must be above 1 and finite, got {factor}.")
  skipping = skip_nonfinite(inner)

  def init(params: PyTree) -> LossScaleState:
    scale = jnp.asarray(initial, jnp.float32)
    return LossScaleState(skipping.init(params), scale, jnp.zeros((), jnp.int32))

  def update(
    updates: PyTree, state: LossScaleState, params: PyTree | None = None, **extra: Any
  ) -> tuple[PyTree, LossScaleState]:
    new, skipped = skipping.update(updates, state.inner, params, **extra)
    finite = skipped.in_a_row == 0
    count = jnp.where(finite, state.finite_steps + 1, 0)
    grow = count >= every
    scale = jnp.where(grow, state.loss_scale * factor, state.loss_scale)
    scale = jnp.where(finite, scale, state.loss_scale / factor)
    return new, LossScaleState(skipped, jnp.clip(scale, 1, _LARGEST), jnp.where(grow, 0, count))

  return optax.GradientTransformationExtraArgs(init, update)
