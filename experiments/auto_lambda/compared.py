"""What the plan of methods, tables and figures ask of a configuration, whatever the tasks are."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from experiments.auto_lambda.weights import WeightOptions
from experiments.runner.config import RunOptions, check_different


class Data(Protocol):
  """Options of the data."""

  @property
  def dataset(self) -> str:
    """Its name."""


class Compared(Protocol):
  """Methods of multi-task and auxiliary learning on some tasks; attributes as of the options."""

  @property
  def tasks(self) -> tuple[str, ...]:
    """All that networks learn."""

  @property
  def judged(self) -> tuple[str, ...]:
    """Those of Delta_MTL in multi-task learning."""

  @property
  def primaries(self) -> tuple[str, ...]:
    """Primary tasks of auxiliary learning; all that are judged where none is named."""

  @property
  def methods(self) -> tuple[str, ...]:
    """Of multi-task learning."""

  @property
  def auxiliary_methods(self) -> tuple[str, ...]:
    """Of auxiliary learning."""

  @property
  def compare(self) -> str:
    """The approximate gradient of the weights, or none."""

  @property
  def ablations(self) -> tuple[str, ...]:
    """Of table 3.4."""

  @property
  def weights(self) -> WeightOptions:
    """How weights are learned."""

  @property
  def data(self) -> Data:
    """Which data."""

  @property
  def run(self) -> RunOptions:
    """Seeds."""

  def describe(self, measured: str) -> str:
    """For the title of a table."""


def with_tasks(config: Any, known: tuple[str, ...]) -> Any:
  """A configuration with the tasks' names, those of the data where none was named.

  Raises:
    ValueError: if one is not among the data's, or named twice, none is judged, or a primary one is
      not learned.
  """
  tasks = config.tasks or known
  if unknown := [task for task in tasks if task not in known]:
    raise ValueError(f"tasks {unknown} are not among the data's: {', '.join(known)}.")
  check_different(config, "tasks", "primaries")
  config = dataclasses.replace(config, tasks=tasks)
  if not config.judged:
    raise ValueError(f"multi-task learning needs a task that is not noise, got {tasks}.")
  if unknown := [task for task in config.primaries if task not in tasks]:
    raise ValueError(f"primaries {unknown} are not among the tasks {list(tasks)}.")
  return config
