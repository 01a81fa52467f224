"""Tasks by name: which of the T losses, weights and options belongs to which task.

Losses in a dict are stacked in the order of their sorted names, so a name says a place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np


class Tasks(int):
  """The number of tasks T, an int, that also knows their names.

  Every method takes it as `num_tasks`. Options, losses and masks may then be dicts by name, and the
  names of primary tasks stand for their places.

  Attributes:
    names: in the order of the losses, which is the sorted one.

  Example:
    >>> import jaxmtl
    >>> tasks = jaxmtl.Tasks("segmentation", "depth")
    >>> int(tasks), tasks.names, tasks.index("segmentation")
    (2, ('depth', 'segmentation'), 1)
    >>> weighting = jaxmtl.constant(tasks, {"segmentation": 1.0, "depth": 0.5})
    >>> weighting.weigh({"segmentation": 3.0, "depth": 2.0}, ())[0].tolist()
    [0.5, 1.0]
  """

  names: tuple[str, ...]

  def __new__(cls, *names: str) -> Tasks:
    """Takes the names in any order."""
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong or not names or len(set(names)) < len(names):
      raise ValueError(f"tasks must be different names, got {names!r}.")
    self = super().__new__(cls, len(names))
    self.names = tuple(sorted(names))
    return self

  def __getnewargs__(self) -> tuple[str, ...]:  # type: ignore[override]
    return self.names

  def __repr__(self) -> str:
    return f"Tasks{self.names!r}"

  def __str__(self) -> str:
    return int.__repr__(self)

  def index(self, name: str) -> int:
    """The place of a task, or an error that lists the names."""
    if name not in self.names:
      raise ValueError(f"there is no task {name!r}; the tasks are {', '.join(self.names)}.")
    return self.names.index(name)


def check_num_tasks(num_tasks: Any) -> int:
  """`num_tasks` as given, or a clear error where it is not a positive integer."""
  whole = isinstance(num_tasks, (int, np.integer)) and not isinstance(num_tasks, bool)
  if not whole or num_tasks < 1:
    raise ValueError(
      f"num_tasks must be a positive integer, or jaxmtl.Tasks of names, got {num_tasks!r}; under "
      "optax.inject_hyperparams list it in static_args."
    )
  return num_tasks


def task_index(argument: str, task: Any, num_tasks: int) -> int:
  """A task by its place or name as a place, or an error that names the argument."""
  names = getattr(num_tasks, "names", None)
  if isinstance(task, str):
    if names is None:
      raise ValueError(
        f"{argument}={task!r} is a name: give all names, as num_tasks=jaxmtl.Tasks("
        f"{task!r}, ...), or an index from 0 to {num_tasks - 1} in the order of sorted names."
      )
    if task not in names:
      raise ValueError(f"{argument}={task!r} is no task; the tasks are {', '.join(names)}.")
    return names.index(task)
  if isinstance(task, bool) or not isinstance(task, int) or not 0 <= task < num_tasks:
    raise ValueError(
      f"{argument} must be a task index below num_tasks={num_tasks}, or a task's name, got "
      f"{task!r}; under optax.inject_hyperparams list it in static_args."
    )
  return task


def task_indices(argument: str, tasks: Any, num_tasks: int) -> list[int]:
  """Different tasks by place or name as places; all where None."""
  if tasks is None:
    return list(range(num_tasks))
  several = [tasks] if isinstance(tasks, (str, int, float)) else list(tasks)
  if not several:
    raise ValueError(f"{argument} names no task; None stands for all tasks.")
  found = [task_index(argument, task, num_tasks) for task in several]
  if len(set(found)) < len(found):
    raise ValueError(f"{argument} must name different tasks, got {tasks!r}.")
  return found


def by_task(argument: str, values: Any, num_tasks: int) -> Any:
  """Values by name as a list in the order of the tasks; anything else as it is."""
  if not isinstance(values, Mapping):
    return values
  names = getattr(num_tasks, "names", None)
  wrong = [name for name in values if not isinstance(name, str)]
  if wrong:
    raise ValueError(f"{argument} is keyed by {wrong[0]!r}; name tasks by strings.")
  if names is None and len(values) == num_tasks:
    names = sorted(values)
  if names is None or set(names) != set(values):
    known = f"the tasks are {', '.join(names)}" if names else f"num_tasks={num_tasks}"
    raise ValueError(f"{argument} has the names {', '.join(sorted(values))}, but {known}.")
  nested = [name for name in names if isinstance(values[name], (Mapping, Sequence))]
  if nested:
    raise ValueError(f"{argument}[{nested[0]!r}] must be one number, got {values[nested[0]]!r}.")
  return [jnp.asarray(values[name]) for name in names]


def check_names(argument: str, values: Any, num_tasks: int) -> None:
  """Raises where values come by other names than those of the tasks, or without."""
  names = getattr(num_tasks, "names", None)
  if names is None:
    return
  if not isinstance(values, Mapping):
    raise ValueError(f"{argument} must be a dict by name: the tasks are {', '.join(names)}.")
  if set(values) != set(names):
    found = ", ".join(map(str, values))
    raise ValueError(f"{argument} has the names {found}, but the tasks are {', '.join(names)}.")


def by_name(metrics: Mapping[str, Any], num_tasks: int) -> dict[str, Any]:
  """Metrics with one number a task as dicts by name, where names are known."""
  names = getattr(num_tasks, "names", None)

  def named(value: Any) -> Any:
    if names is None or jnp.shape(value) != (num_tasks,):
      return value
    return {name: value[i] for i, name in enumerate(names)}

  return {key: named(value) for key, value in metrics.items()}


def methods_of(names: Mapping[str, Any]) -> dict[str, Any]:
  """The methods among a package's names: functions whose first argument is the number of tasks."""

  def is_method(name: str, value: Any) -> bool:
    if not inspect.isfunction(value) or name.endswith(("_aggregator", "_weighting")):
      return False
    return next(iter(inspect.signature(value).parameters), None) == "num_tasks"

  return {name: value for name, value in sorted(names.items()) if is_method(name, value)}


def method_name(function: Callable[..., Any]) -> str:
  """The name of the method that a function was defined in, empty where there is none."""
  outer, _, inner = getattr(function, "__qualname__", "").partition(".")
  return outer if inner else ""
