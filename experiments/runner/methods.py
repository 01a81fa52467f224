"""Methods by name, and the train step that a method makes of a problem."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from experiments.runner.job import Problem, Recipe
from jaxmtl import training
from jaxmtl.aggregation import METHODS as AGGREGATORS
from jaxmtl.aggregation import Aggregator
from jaxmtl.meta import METHODS as BILEVEL
from jaxmtl.weighting import METHODS, Weighting

# Without those that need more than the number of tasks, such as fixed weights.
LOSS_BASED = {
  name: make
  for name, make in METHODS.items()
  if all(p.default is not p.empty for p in list(inspect.signature(make).parameters.values())[1:])
}
WEIGHTINGS = {**LOSS_BASED, **BILEVEL}


@dataclasses.dataclass(frozen=True)
class Method:
  """What stands between losses and update: a weighting, an aggregator, or one after the other."""

  weighting: str | None = None
  aggregator: str | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  """Of the weighting, or of the aggregator where there is no weighting."""
  swap: bool = True
  """Whether a method that takes two batches gets two independent ones, or the same one twice."""

  @classmethod
  def parse(cls, name: str) -> Method:
    """Reads `dwa`, `pcgrad` or `dwa+pcgrad`.

    Raises:
      ValueError: for an unknown name; it lists the known ones, or says what is meant.
    """
    first, plus, second = name.partition("+")
    if plus and first in WEIGHTINGS and second in AGGREGATORS:
      return cls(first, second)
    if not plus and first in WEIGHTINGS:
      return cls(weighting=first)
    if not plus and first in AGGREGATORS:
      return cls(aggregator=first)
    kinds = dict.fromkeys(WEIGHTINGS, "a weighting") | dict.fromkeys(AGGREGATORS, "an aggregator")
    if first in kinds and second in kinds:
      turned = f": {second}+{first}" if kinds[first] != kinds[second] else ""
      raise ValueError(
        f"method {name!r} must be weighting+aggregator{turned}; {first} is {kinds[first]}, "
        f"{second} {kinds[second]}."
      )
    if first in kinds and second in ("dgr", "sam", "pta"):
      raise ValueError(
        f"method {name!r}: {second} is no method but a regularisation, which python -m "
        "experiments.dgr puts on each of its methods."
      )
    raise ValueError(
      f"method {name!r} is not known. Known weightings: "
      f"{', '.join(sorted(WEIGHTINGS))}; known aggregators: {', '.join(sorted(AGGREGATORS))}; "
      "weighting+aggregator combines two."
    )

  def build(
    self, num_tasks: int, steps_per_epoch: int
  ) -> tuple[Weighting | None, Aggregator | None]:
    """Both transforms; epochs are told to those that count them."""
    weighting = aggregator = None
    if self.weighting:
      make = WEIGHTINGS[self.weighting]
      counts = "steps_per_epoch" in inspect.signature(make).parameters
      epochs = {"steps_per_epoch": steps_per_epoch} if counts else {}
      weighting = make(num_tasks, **epochs, **self.options)
    if self.aggregator:
      options = {} if self.weighting else self.options
      aggregator = AGGREGATORS[self.aggregator](num_tasks, **options)
    return weighting, aggregator

  @property
  def identity(self) -> dict[str, Any]:
    """What a job with this method depends on."""
    return {"method": dataclasses.asdict(self)}


def update_of(
  method: Method, problem: Problem, recipe: Recipe, steps_per_epoch: int
) -> training.TrainStep:
  """The train step of a method, of one run."""
  num_tasks = len(problem.tasks)
  weighting, aggregator = method.build(num_tasks, steps_per_epoch)
  step = training.train_step(
    problem.losses_fn,
    recipe.optimizer(recipe.epochs * steps_per_epoch),
    num_tasks,
    weighting=weighting,
    aggregator=aggregator,
    shared=problem.shared,
    own_batches=problem.own_batches,
  )
  if method.swap or not step.pairs:
    return step
  return training.TrainStep(step.init, lambda state, batch: step.update(state, (batch, batch)))
