"""Regularisations of a shared encoder, each a function from a problem to another one.

They come before weighting and aggregator, and so work under every method.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.runner.job import Problem
from jaxmtl import regularization, training

# Where DGR's constants lie in the model state, and PTA's decoders in the parameters.
_CONSTANTS, _DECODERS = "dgr", "decoders"
# Folded into a run's key for what no task's own head is made of.
FURTHER = 7


class Penalty(NamedTuple):
  """A setting of DGR, with a leading axis of runs in a job.

  Attributes:
    weight: lambda.
    num_used: how many of the dummies count, the first ones.
  """

  weight: Any
  num_used: Any


class Heads(NamedTuple):
  """What an image problem's tasks read the encoder's features with.

  Attributes:
    modules: one a task.
    features: `variables -> features` of some images; only shape and dtype matter.
    missing: whether some labels are, which are then below 0.
  """

  modules: Mapping[str, nn.Module]
  features: Callable[[Any], Any]
  missing: bool = False

  def draw(self, key: jax.Array, variables: Any, count: int) -> dict[str, Any]:
    """So many further ones a task."""
    key = jax.random.fold_in(key, FURTHER)
    return regularization.dummy_heads(key, self.modules, self.features(variables), count)

  def masks(self, batch: Any) -> dict[str, jax.Array] | None:
    """Which examples of a batch have a label, by task; None where all have."""
    return {task: batch[task] >= 0 for task in self.modules} if self.missing else None

  def norms(self, dummies: Any, features: Any, batch: Any, **options: Any) -> dict[str, jax.Array]:
    """DGR's penalty of weight 1, by task; `options` as those of `regularization.dgr`."""
    masks = self.masks(batch)
    return regularization.dgr(
      self.modules, dummies, features, batch, weight=1.0, masks=masks, **options
    )


class HasDummies(Protocol):
  """What DGR needs of a problem's heads: `Heads`, or others with these two."""

  def draw(self, key: jax.Array, variables: Any, count: int) -> dict[str, Any]:
    """So many further ones a task."""

  def norms(self, dummies: Any, features: Any, batch: Any, **options: Any) -> dict[str, jax.Array]:
    """The penalty of weight 1, by task."""


def dgr(problem: Problem, heads: HasDummies, num_drawn: int, estimator: Any = "exact") -> Problem:
  """A problem whose losses have DGR's penalty; a setting is a `Penalty`.

  Args:
    problem: whose `losses_fn` takes `on_features`.
    heads: of its network.
    num_drawn: dummies a task, of which a setting says how many count.
    estimator: of the penalty's gradient.
  """

  def init(key: jax.Array, setting: Penalty) -> dict[str, Any]:
    variables = dict(problem.init(key, None))
    dummies = heads.draw(key, variables, num_drawn)
    return variables | {_CONSTANTS: {"dummies": dummies, **setting._asdict()}}

  def on_features(variables: Any, features: Any, batch: Any, found: jax.Array) -> Any:
    constants = variables[_CONSTANTS]
    norms = heads.norms(
      constants["dummies"],
      features,
      batch,
      estimator=estimator,
      num_used=constants["num_used"],
    )
    stacked = jnp.stack([norms[t] for t in problem.tasks])
    return found + constants["weight"] * stacked, {"dummy_gradient_norm": stacked}

  return problem._replace(
    init=init, losses_fn=functools.partial(problem.losses_fn, on_features=on_features)
  )


def pta(problem: Problem, heads: Heads, num_decoders: int) -> Problem:
  """An image problem with further decoders of each task, trained with it.

  Args:
    problem: of `image_problem`: classes, some labels perhaps missing.
    heads: of its network.
    num_decoders: a task, beside its own head.
  """

  def init(key: jax.Array, setting: Any) -> dict[str, Any]:
    variables = dict(problem.init(key, setting))
    decoders = heads.draw(key, variables, num_decoders)
    return variables | {"params": {**variables["params"], _DECODERS: decoders}}

  def on_features(variables: Any, features: Any, batch: Any, found: jax.Array) -> Any:
    decoders = variables["params"][_DECODERS]
    further = regularization.pta(heads.modules, decoders, features, batch, masks=heads.masks(batch))
    sums = jnp.stack([further[t].sum() for t in problem.tasks])
    return (found + sums) / (1 + num_decoders), {}

  return problem._replace(
    init=init, losses_fn=functools.partial(problem.losses_fn, on_features=on_features)
  )


def sam(problem: Problem, radius: float) -> Problem:
  """Any problem, its losses at the worst point nearby."""
  return problem._replace(losses_fn=regularization.sam(problem.losses_fn, radius))


def network_of(state: Any) -> dict[str, Any]:
  """What the network needs of a state, without DGR's constants and PTA's decoders."""
  variables = training.variables_of(state)
  params = {name: tree for name, tree in variables["params"].items() if name != _DECODERS}
  return {name: tree for name, tree in variables.items() if name != _CONSTANTS} | {"params": params}
