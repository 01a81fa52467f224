"""Derivatives of a second batch's losses with respect to the task weights, for the train step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmtl.gradients.losses import stack_losses
from jaxmtl.meta import hypergradient
from jaxmtl.weighting.base import Bilevel

PyTree = Any


def look_ahead_derivatives(
  bilevel: Bilevel,
  losses_fn: Callable[..., tuple[Any, Any]],
  optimizer: optax.GradientTransformation,
  state: Any,
  batches: tuple[Any, ...],
  keys: tuple[jax.Array, ...],
  gradient: PyTree | None = None,
) -> jax.Array:
  """Derivatives of the outer losses after one look-ahead step with respect to the weights.

  What both passes do to the model state (batch statistics) is dropped.

  Args:
    bilevel: the weighting's description of them.
    losses_fn: as `train_step`'s.
    optimizer: of the look-ahead step.
    state: a `TrainState`.
    batches: what the look-ahead step descends, and what it is judged on.
    keys: of `losses_fn` on both.
    gradient: of what the look-ahead step descends, where it is known already.

  Returns:
    `[S, T]`, with a row more where the weighting looks at the gap; 0 for tasks that were not
    sampled.
  """
  weights, outer = bilevel.weights(state.weighting), bilevel.outer
  num_tasks = outer.shape[1]
  tasks = judged = None
  if bilevel.sample is not None:
    tasks, judged, outer = bilevel.sample(state.weighting)
    weights = weights[tasks]

  def losses(params: PyTree, which: int, only: jax.Array | None) -> jax.Array:
    options = {} if only is None else {"tasks": only}
    found, _ = losses_fn(params, state.model_state, batches[which], keys[which], **options)
    return stack_losses(found)

  def derivatives(judge: Callable[[PyTree, jax.Array], jax.Array]) -> jax.Array:
    return hypergradient(
      lambda params, weights: losses(params, 0, tasks) @ weights,
      judge,
      state.params,
      weights,
      optimizer,
      state.optimizer,
      estimator=bilevel.estimator,
      inner_gradient=gradient,
      # The step's own gradient keeps it anyway: the compiler makes one of both. Measured for Split
      # of ResNet-50 at 128x160: 468 GFLOP and 1,264 MB, recomputed 516 and 1,362; with `reuse` 374
      # and 1,097, recomputed 422 and 1,001.
      recompute=False,
    )[1]

  def of_row(row: jax.Array) -> jax.Array:
    return derivatives(lambda params, _: losses(params, 1, judged) @ row)

  found = of_row(outer[0])[None] if len(outer) == 1 else jax.vmap(of_row)(outer)
  if bilevel.gap:
    before = losses(state.params, 0, tasks)
    gap = derivatives(lambda params, weights: (before - losses(params, 0, tasks)) @ weights)
    found = jnp.concatenate([found, gap[None]])
  if tasks is None:
    return found
  return jnp.zeros((len(found), num_tasks), found.dtype).at[:, tasks].set(found)


def check_batches(batch: Any, at_most: int = 2) -> tuple[Any, ...]:
  """The two batches of a step, or more, or a clear error where they do not go together."""
  mend = (
    "this method learns from two batches a step: pass (batch, second_batch), as "
    "jaxmtl.training.scan_epoch(..., pairs=True) does."
  )
  if not isinstance(batch, tuple) or not 2 <= len(batch) <= at_most:
    size = f" of {len(batch)}" if isinstance(batch, tuple) else ""
    raise ValueError(f"batch must be a pair, got {type(batch).__name__}{size}; {mend}")
  first, *others = (
    jax.tree.map(lambda x: (jnp.shape(x)[1:], jnp.result_type(x).name), b) for b in batch
  )
  for other in others:
    if other != first:
      raise ValueError(
        "the second batch must be like the first but for the number of examples, got (shape "
        f"without the first axis, dtype) {other}, the first has {first}; {mend}"
      )
  return batch
