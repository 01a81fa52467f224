"""What a train step is made of: its state, what a `losses_fn` returns, its two functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

PyTree = Any

# Two streams of one key: what a step draws (dropout) and what an epoch draws (order, augmentation).
STEP_STREAM, EPOCH_STREAM = 0, 1
# Folded into a stream's key for the second of two batches.
SECOND_BATCH = 1


class Aux(NamedTuple):
  """What a `losses_fn` returns beside the losses.

  Attributes:
    model_state: the network's new state, for example `{"batch_stats": ...}`.
    metrics: scalars or arrays by name, passed through to the step's metrics.
    mask: bool `[T]`, or by name, False for a task without labels in this batch. None: those have
      labels whose loss is not exactly 0, as that of `jaxmtl.losses` is without any, or whose
      gradient is not zero where it is known.
    counts: float `[T]`, labels of each task in this batch, by which micro-batches count where a
      batch is split (`train_step(accumulate=)`); None counts each micro-batch with labels once.
  """

  model_state: Any = ()
  metrics: dict[str, Any] = {}  # noqa: RUF012 (a NamedTuple default, never written to)
  mask: Any = None
  counts: Any = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that changes in training; a pytree, so that it is saved, sharded and vmapped as one.

  Attributes:
    step: int32 scalar, steps taken.
    params: the network's parameters.
    model_state: the network's other variables (batch statistics).
    weighting: state of the weighting.
    aggregator: state of the aggregator.
    optimizer: state of the optimiser.
    key: random key of the run; constant, the step is folded in.
  """

  step: jax.Array
  params: PyTree
  model_state: PyTree
  weighting: PyTree
  aggregator: PyTree
  optimizer: PyTree
  key: jax.Array

  def replace(self, **changes: Any) -> TrainState:
    """The same with other values of some fields."""
    return dataclasses.replace(self, **changes)


class TrainStep(NamedTuple):
  """A pair of pure functions.

  Attributes:
    init: `(params, key, model_state=()) -> TrainState`.
    update: `(state, batch) -> (state, metrics)`.
    pairs: whether `batch` must be a pair of independent batches.
  """

  init: Callable[..., TrainState]
  update: Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]
  pairs: bool = False


def variables_of(state: Any) -> dict[str, Any]:
  """What the network needs of a `TrainState`: parameters and its other variables.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> from jaxmtl.training import train_step, variables_of
    >>> step = train_step(lambda *_: None, optax.sgd(0.1), 1)
    >>> variables_of(step.init({"w": jnp.ones(2)}, None, {"batch_stats": {}}))
    {'params': {'w': Array([1., 1.], dtype=float32)}, 'batch_stats': {}}
  """
  return {"params": state.params, **(state.model_state or {})}
