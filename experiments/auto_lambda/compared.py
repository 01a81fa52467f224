"""What the plan of methods, tables and figures ask of a configuration, whatever the tasks are."""

from __future__ import annotations

from typing import Protocol

from experiments.auto_lambda.weights import WeightOptions
from experiments.runner.config import RunOptions


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
