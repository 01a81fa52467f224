"""Options of the DGR experiment."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from experiments.dgr.images import FACES, NOISE, DataOptions
from experiments.problems.images import ImageTasks
from experiments.problems.own_data import OwnDataOptions, need_classes
from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_different,
  check_positive,
  override,
)
from experiments.runner.methods import Method
from jaxmtl.regularization.dgr import ESTIMATORS


@dataclasses.dataclass(frozen=True)
class PenaltyOptions:
  """DGR's penalty, and what it is compared with."""

  num_dummies: int = 3
  """Dummy heads a task in DGR, further decoders a task in PTA."""
  weight: float | None = None
  """Of DGR's penalty; None: the sweep's best."""
  weights: tuple[float, ...] = (1e-5, 1e-3, 1e-1)
  """What the sweep tries."""
  sweep_each: bool = False
  """A sweep for every method, of the weights with num_dummies; else equal weights' decides for
  all."""
  dummy_counts: tuple[int, ...] = (1, 3, 5)
  """Numbers of dummies that the sweep tries, each with each weight."""
  estimator: Literal["exact", "autodiff", "finite_difference"] = "exact"
  """How the penalty's gradient is found."""
  radius: float = 0.05
  """Of SAM, how far it looks for the worst point."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "num_dummies")
    if self.estimator not in ESTIMATORS:
      raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {self.estimator!r}.")
    counts = self.dummy_counts
    if self.weight is None and not (self.weights and counts and self.num_dummies in counts):
      raise ValueError(
        f"without a weight, the sweep needs weights, got {self.weights}, and dummy_counts with "
        f"num_dummies={self.num_dummies}, got {counts}."
      )
    for name, values in (("weight", (self.weight or 0,)), ("weights", self.weights)):
      if not all(value >= 0 for value in values):
        raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")
    if min(counts, default=1) < 1:
      raise ValueError(f"dummy_counts must be at least 1 each, got {counts}.")
    if not self.radius > 0:
      raise ValueError(f"radius must be positive, got {self.radius}.")

  @property
  def num_drawn(self) -> int:
    """Dummies a task: as many as the sweep tries, so that it shares them with the methods."""
    return max((self.num_dummies, *self.dummy_counts))

  @property
  def settings(self) -> list[tuple[float, int]]:
    """The sweep's weights, each with each number of dummies; none where the weight is given."""
    if self.weight is not None:
      return []
    return [(weight, count) for weight in self.weights for count in self.dummy_counts]

  def settings_of(self, method: str) -> list[tuple[float, int]]:
    """Those of a method's own sweep: all for equal weights, as many dummies as all have for others.

    Empty where it has none.
    """
    if method == "equal":
      return self.settings
    mine = [(weight, count) for weight, count in self.settings if count == self.num_dummies]
    return mine if self.sweep_each else []


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "utkface", "paper"] = "quick"
  """quick: a small network on embedded data, minutes; utkface: faces, a small network, a CPU will
  do; paper: its network, heads and methods, with a recipe of our own where it gives none."""
  tasks: tuple[str, ...] = ()
  """Which tasks the networks learn; all that the data have, but noise, where none is named."""
  methods: tuple[str, ...] = ("equal", "cagrad")
  """Weightings, aggregators, or weighting+aggregator, each without and with DGR; equal first."""
  compared: tuple[Literal["sam", "pta"], ...] = ("sam", "pta")
  """What DGR is compared with."""
  compared_on: tuple[str, ...] = ("equal",)
  """The methods that SAM and PTA are put on."""
  hidden: int = 64
  """Units of the first of two layers of each head; 0 for one linear layer."""
  flip: bool = False
  """Random horizontal flips."""
  probe_images: int = 2000
  """Training images, at most, that simple classifiers learn from, and universality is found on."""
  penalty: PenaltyOptions = PenaltyOptions()
  data: DataOptions = DataOptions()
  own_data: OwnDataOptions = OwnDataOptions()
  network: NetworkOptions = NetworkOptions()
  training: TrainingOptions = TrainingOptions()
  run: RunOptions = RunOptions(workdir="runs/dgr")

  def check(self) -> dict[str, Method]:
    """The methods; raises ValueError, naming the option, where one does not fit."""
    for part in (self.penalty, self.data, self.network, self.training, self.run):
      part.check()
    check_positive(self, "probe_images")
    check_different(self, "tasks", "methods", "compared")
    if self.methods[:1] != ("equal",):
      raise ValueError(f"methods must start with equal, the paper's VANILLA, got {self.methods}.")
    if unknown := [name for name in self.compared_on if name not in self.methods]:
      raise ValueError(f"compared_on has {unknown}, which methods has not: {self.methods}.")
    if self.hidden < 0:
      raise ValueError(f"hidden must not be negative, got {self.hidden}; 0 is a linear head.")
    self.own_data.check(self.data.dataset)
    return {name: Method.parse(name) for name in self.methods}

  def of(self, images: ImageTasks) -> Config:
    """The same with the tasks that are learned; raises ValueError where the data do not fit."""
    dataset, usual = self.data.dataset, tuple(t for t in images.tasks if t != NOISE)
    config = dataclasses.replace(self, tasks=self.tasks or usual)
    if unknown := [task for task in config.tasks if task not in images.tasks]:
      raise ValueError(f"tasks {unknown} are not among the data's: {', '.join(images.tasks)}.")
    need_classes(dataset, images, config.tasks)
    if self.penalty.weight is None and "validation" not in images.parts:
      raise ValueError(
        f"without --weight, the penalty's weight is chosen on a validation part, which {dataset} "
        "has not."
      )
    for name in self.methods:
      # Raises where a method does not take so many tasks.
      Method.parse(name).build(len(config.tasks), 1)
    return config

  @property
  def regularized(self) -> dict[str, tuple[str, ...]]:
    """What is put on each method."""
    return {m: ("dgr", *(self.compared if m in self.compared_on else ())) for m in self.methods}

  @property
  def names(self) -> list[str]:
    """Of all rows but the baseline's: each method, and what is put on it."""
    return [
      name for m, kinds in self.regularized.items() for name in (m, *(f"{m}+{k}" for k in kinds))
    ]


_FACES: dict[str, Any] = {
  "dataset": FACES,
  "tasks": ("age", "gender", "ethnicity"),
  "flip": True,
  "dummy_counts": (3,),
}
PRESETS = {
  "quick": Config(),
  "utkface": override(
    Config(),
    preset="utkface",
    **_FACES,
    image_size=32,
    backbone="resnet18",
    width=0.25,
    epochs=12,
    batch_size=64,
    learning_rate=0.003,
    seeds=2,
    probe_images=4000,
    workdir="runs/dgr_utkface",
  ),
  "paper": override(
    Config(),
    preset="paper",
    **_FACES,
    methods=(
      *("equal", "dwa", "uncertainty", "auto_lambda"),
      *("pcgrad", "cagrad", "imtl_l+imtl_g", "nash_mtl"),
    ),
    compared_on=("equal", "auto_lambda", "cagrad", "nash_mtl"),
    image_size=128,
    backbone="resnet50",
    width=1,
    hidden=512,
    weights=(1e-5, 1e-6, 1e-7),
    sweep_each=True,
    epochs=100,
    batch_size=128,
    learning_rate=1e-3,
    probe_images=20000,
    checkpoint_every="10",
    workdir="runs/dgr_paper",
  ),
}
