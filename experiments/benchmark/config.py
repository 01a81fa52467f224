"""Options of the benchmark."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from experiments.problems.multi_digits import TASKS, DigitsOptions
from experiments.problems.own_data import OwnDataOptions, is_own
from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_different,
  check_patience,
  override,
)
from experiments.runner.methods import WITHOUT_OPTIONS, Method
from jaxmtl import models
from jaxmtl.aggregation import METHODS as AGGREGATORS


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "full"] = "quick"
  """quick: a small network, minutes; full: every method, wider and longer."""
  methods: tuple[str, ...] = (
    *("equal", "uncertainty", "dwa", "rlw", "gls", "gradnorm", "imtl_l", "famo"),
    *("pcgrad", "cagrad", "mgda", "imtl_g", "aligned_mtl", "conflict_free", "nash_mtl"),
    *("upgrad", "gradvac", "db_mtl", "dwa+pcgrad"),
  )
  """Weightings, aggregators, or weighting+aggregator."""
  tasks: tuple[str, ...] = ()
  """Tasks of multi-digits: left, right, sum, parity and noise; or columns of a table of one's own.
  All where none is named."""
  not_counted: tuple[str, ...] = ("noise",)
  """Tasks left out of Delta_MTL: near chance, a relative change says nothing."""
  architecture: str = "hps"
  """Any name of jaxmtl.models.multi_task; single-task baselines have one backbone and one head."""
  patience: int | None = None
  """Epochs without a better validation score after which a training ends; the best epoch's weights
  are then tested. None: all epochs, and the last one's weights."""
  digits: DigitsOptions = DigitsOptions()
  own_data: OwnDataOptions = OwnDataOptions()
  network: NetworkOptions = NetworkOptions()
  training: TrainingOptions = TrainingOptions()
  run: RunOptions = RunOptions(workdir="runs/benchmark")

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit, whatever the data hold."""
    for part in (self.digits, self.network, self.training, self.run):
      part.check()
    self.own_data.check(self.digits.dataset)
    if self.architecture not in models.ARCHITECTURES:
      known = ", ".join(models.ARCHITECTURES)
      raise ValueError(f"architecture {self.architecture!r} is not known; known: {known}.")
    check_patience(self.patience, self.run.evaluate_every)
    check_different(self, "tasks")
    for name in self.methods:
      Method.parse(name)
    if not self.own:
      self.of(TASKS)

  def of(self, known: Sequence[str]) -> Config:
    """The same with the tasks that are learned; raises ValueError where the data do not have them.

    Args:
      known: tasks of the data.
    """
    if unknown := [task for task in self.tasks if task not in known]:
      raise ValueError(f"tasks {unknown} are not known; the data have {', '.join(known)}.")
    config = dataclasses.replace(self, tasks=self.tasks or tuple(known))
    if not config.counted:
      raise ValueError(f"Delta_MTL needs a task that counts; of tasks {config.tasks} none does.")
    for name in self.methods:
      # Raises where a method does not take so many tasks.
      Method.parse(name).build(len(config.tasks), 1)
    return config

  @property
  def own(self) -> bool:
    """Whether the images are a folder or a table of one's own."""
    return is_own(self.digits.dataset)

  @property
  def counted(self) -> list[str]:
    """The tasks of Delta_MTL."""
    return [task for task in self.tasks if task not in self.not_counted]


PRESETS = {
  "quick": Config(),
  "full": override(
    Config(),
    preset="full",
    methods=(*WITHOUT_OPTIONS, *AGGREGATORS, "dwa+pcgrad", "dwa+cagrad"),
    train_images=20000,
    width=64,
    epochs=40,
    batch_size=100,
    learning_rate=0.003,
    seeds=5,
    workdir="runs/benchmark_full",
  ),
}
