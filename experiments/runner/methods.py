"""Methods by name, and the train step that a method makes of a problem."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.runner.job import Problem, Recipe
from jaxmtl import training
from jaxmtl.aggregation import METHODS as AGGREGATORS
from jaxmtl.aggregation import Aggregator
from jaxmtl.meta import METHODS as BILEVEL
from jaxmtl.weighting import METHODS, Weighting

WEIGHTINGS = {**METHODS, **BILEVEL}
# Without those that need more than the number of tasks, such as fixed weights.
LOSS_BASED = {
  name: make
  for name, make in METHODS.items()
  if all(p.default is not p.empty for p in list(inspect.signature(make).parameters.values())[1:])
}
WITHOUT_OPTIONS = {**LOSS_BASED, **BILEVEL}
# An option of all aggregators here: their update times a number, or times T.
TIMES = "times"


@dataclasses.dataclass(frozen=True)
class Method:
  """What stands between losses and update: a weighting, an aggregator, or one after the other."""

  weighting: str | None = None
  aggregator: str | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  """Of the weighting."""
  swap: bool = True
  """Whether a method that takes two batches gets two independent ones, or the same one twice."""
  aggregator_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  """Of the aggregator; `times` multiplies the update of the shared parameters, "T" by the number of
  tasks. Here and above, "4 epochs" stands for so many steps."""

  @classmethod
  def parse(cls, name: str) -> Method:
    """Reads `dwa`, `pcgrad` or `dwa+pcgrad`, each with options, as in `cagrad:c=.4,times=T`.

    Example:
      >>> from experiments.runner.methods import Method
      >>> Method.parse("dwa:temperature=1+cagrad:c=.4,rescale=1").aggregator_options
      {'c': 0.4, 'rescale': 1}

    Raises:
      ValueError: for an unknown name or option; it lists the known ones, or says what is meant.
    """
    first, plus, second = _split(name)
    (one, options), (other, more) = options_of(first), options_of(second)
    if plus and one in WEIGHTINGS and other in AGGREGATORS:
      return cls(one, other, options, aggregator_options=more)._checked(name)
    if not plus and one in WEIGHTINGS:
      return cls(weighting=one, options=options)._checked(name)
    if not plus and one in AGGREGATORS:
      return cls(aggregator=one, aggregator_options=options)._checked(name)
    kinds = dict.fromkeys(WEIGHTINGS, "a weighting") | dict.fromkeys(AGGREGATORS, "an aggregator")
    if one in kinds and other in kinds:
      turned = f": {second}+{first}" if kinds[one] != kinds[other] else ""
      raise ValueError(
        f"method {name!r} must be weighting+aggregator{turned}; {one} is {kinds[one]}, "
        f"{other} {kinds[other]}."
      )
    if one in kinds and other in ("dgr", "sam", "pta"):
      raise ValueError(
        f"method {name!r}: {other} is no method but a regularisation, which python -m "
        "experiments.dgr puts on each of its methods."
      )
    raise ValueError(
      f"method {name!r} is not known. Known weightings: "
      f"{', '.join(sorted(WEIGHTINGS))}; known aggregators: {', '.join(sorted(AGGREGATORS))}; "
      "weighting+aggregator combines two, and cagrad:c=.4,rescale=1 sets options."
    )

  def _checked(self, name: str) -> Method:
    """Itself, or an error that names the options a method has."""
    for kind, make, options in self._parts():
      allowed = [p for p in inspect.signature(make).parameters if p != "num_tasks"]
      allowed += [TIMES] * (kind == "aggregator")
      if unknown := [option for option in options if option not in allowed]:
        raise ValueError(
          f"method {name!r}: {make.__name__} has no option {unknown[0]!r}; it has "
          f"{', '.join(allowed) or 'none'}."
        )
      needed = [p.name for p in _needed(make) if p.name not in options]
      if needed:
        raise ValueError(
          f"method {name!r}: {make.__name__} needs {needed[0]}, as in "
          f"{make.__name__}:{needed[0]}=..."
        )
    return self

  def _parts(self) -> list[tuple[str, Callable[..., Any], Mapping[str, Any]]]:
    found: list[tuple[str, Callable[..., Any], Mapping[str, Any]]] = []
    if self.weighting:
      found.append(("weighting", WEIGHTINGS[self.weighting], self.options))
    if self.aggregator:
      found.append(("aggregator", AGGREGATORS[self.aggregator], self.aggregator_options))
    return found

  def told(self, **options: Any) -> Method:
    """With options of the method that looks at them, where the name gives no other value."""
    if self.weighting:
      return dataclasses.replace(self, options={**options, **self.options})
    return dataclasses.replace(self, aggregator_options={**options, **self.aggregator_options})

  def build(
    self, num_tasks: int, steps_per_epoch: int | None
  ) -> tuple[Weighting | None, Aggregator | None]:
    """Both transforms; epochs are told to those that count them, where there are any."""
    made: dict[str, Any] = {"weighting": None, "aggregator": None}
    for kind, make, options in self._parts():
      given = {name: _in_steps(value, steps_per_epoch) for name, value in options.items()}
      times = _times_of(given.pop(TIMES, 1), num_tasks)
      if steps_per_epoch is not None and "steps_per_epoch" in inspect.signature(make).parameters:
        given.setdefault("steps_per_epoch", steps_per_epoch)
      try:
        made[kind] = make(num_tasks, **given)
        # Some options are looked at when the state is made.
        jax.eval_shape(made[kind].init, jnp.zeros(1))
      except (TypeError, AttributeError) as error:
        told = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise ValueError(f"{make.__name__} does not take {told}: {error}") from None
      if kind == "aggregator" and times != 1:
        made[kind] = _times(made[kind], times)
    return made["weighting"], made["aggregator"]

  @property
  def identity(self) -> dict[str, Any]:
    """What a job with this method depends on: options and defaults, which may change one day."""
    found: dict[str, Any] = {"swap": self.swap}
    for kind, make, options in self._parts():
      parameters = list(inspect.signature(make).parameters.values())[1:]
      defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
      found[kind] = {"name": make.__name__, **defaults, **options}
    return {"method": found}


def combining(name: str, num_tasks: int = 2) -> Method:
  """The method that stands between the losses of an experiment that compares something else.

  Args:
    name: as in `Method.parse`; equal weights are those of a train step without any method.
    num_tasks: the losses; a single one needs none.

  Raises:
    ValueError: for an unknown name or option, or a method of several batches.
  """
  method = Method() if name == "equal" else Method.parse(name)
  weighting, aggregator = method.build(max(num_tasks, 2), 1)
  if (weighting and weighting.bilevel) or (aggregator and aggregator.two_batches):
    raise ValueError(f"combine must be a method of one batch, got {name!r}, which takes several.")
  return method if num_tasks > 1 else Method()


def changes_of(combine: Method) -> dict[str, Any]:
  """What a job depends on more, where its losses are not just summed."""
  return {} if combine == Method() else {"combine": combine.identity["method"]}


def _needed(make: Callable[..., Any]) -> list[inspect.Parameter]:
  parameters = list(inspect.signature(make).parameters.values())[1:]
  # Experiments know the primary task.
  return [p for p in parameters if p.default is p.empty and p.name != "primary"]


def _split(name: str) -> tuple[str, str, str]:
  """Around the plus between two methods; one within a value, as in loss+ or 1e+3, is none."""
  found = re.search(r"\+(?=[a-z_]+(?::|\+|$))", name)
  if found:
    return name[: found.start()], "+", name[found.end() :]
  return name.partition("+") if ":" not in name else (name, "", "")


def options_of(text: str) -> tuple[str, dict[str, Any]]:
  """`cagrad:c=.4,rescale=1` as a name and its options."""
  name, _, given = text.partition(":")
  options = {}
  # Commas within brackets are a list's.
  for one in re.split(r",(?![^\[]*\])", given) if given else ():
    option, equals, value = one.partition("=")
    if not equals or not option.strip():
      raise ValueError(f"method {text!r}: options are name=value, got {one!r}.")
    found = _value(value.strip())
    try:
      finite = math.isfinite(float(found))
    except (TypeError, ValueError):
      finite = True  # no number
    if not finite:
      raise ValueError(f"method {text!r}: {option.strip()} must be finite, got {value.strip()}.")
    options[option.strip()] = found
  return name.strip(), options


def _value(text: str) -> Any:
  """A number, a list, True, False, None, or a word."""
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _times_of(value: Any, num_tasks: int) -> float:
  if value == "T":
    return num_tasks
  if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
    raise ValueError(f"times must be a number above 0 or T, the number of tasks, got {value!r}.")
  return value


def _in_steps(value: Any, steps_per_epoch: int | None) -> Any:
  found = re.fullmatch(r"(\d+) epochs?", value) if isinstance(value, str) else None
  if found and steps_per_epoch is None:
    raise ValueError(f"there are no epochs here, give steps instead of {value!r}")
  return int(found[1]) * steps_per_epoch if found and steps_per_epoch else value


def _times(aggregator: Aggregator, factor: float) -> Aggregator:
  """With the update of the shared parameters times a factor; heads get what they got."""

  def update(*args: Any, **options: Any) -> tuple[Any, Any]:
    gradient, state = aggregator.update(*args, **options)
    return jax.tree.map(lambda leaf: factor * leaf, gradient), state

  def weigh(*args: Any, **options: Any) -> tuple[jax.Array, Any]:
    weights, state = aggregator.weigh(*args, **options)  # type: ignore[misc]
    return factor * weights, state

  def head_weights(state: Any, *, weights: Any, **seen: Any) -> jax.Array:
    plain = None if weights is None else weights / factor
    return aggregator.head_weights(state, weights=plain, **seen)  # type: ignore[misc]

  return aggregator.changed(
    update=update,
    weigh=weigh if aggregator.weigh else None,
    head_weights=head_weights if aggregator.head_weights else None,
  )


def update_of(
  method: Method,
  problem: Problem,
  recipe: Recipe,
  steps_per_epoch: int,
  chunk_size: int | None = None,
) -> training.TrainStep:
  """The train step of a method, of one run; `chunk_size` as in `train_step`."""
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
    chunk_size=chunk_size,
  )
  if method.swap or not step.pairs:
    return step
  return training.TrainStep(step.init, lambda state, batch: step.update(state, (batch, batch)))
