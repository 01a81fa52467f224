"""Options of the FastCAR experiment."""

from __future__ import annotations

import dataclasses
from typing import Literal

from experiments.problems.property_options import PropertyData, StepOptions
from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_positive,
  override,
)
from experiments.runner.methods import combining

Approach = Literal["fastcar", "fastcar_scaled", "standardised", "plain"]
NAMES: dict[str, str] = {
  "fastcar": "FastCAR",
  "fastcar_scaled": "FastCAR, scaled",
  "standardised": "MTL, standardised targets",
  "plain": "MTL",
}


@dataclasses.dataclass(frozen=True)
class LabelOptions:
  """FastCAR's hybrid labels, and the one-epoch test that may change them."""

  gap: float = 50.0
  """Between the intervals of neighbouring classes, at the start, in the property's unit."""
  scale: float = 500.0
  """What fastcar_scaled divides centred labels by."""
  limit: float = 2.0
  """What the mean gradient after one epoch must stay below."""
  adjust: Literal["gap", "scale"] = "gap"
  """What changes where it does not: the gap is halved, or the scale is doubled."""
  max_trials: int = 6
  """Epochs that this test may take."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "max_trials")
    for name in ("gap", "scale", "limit"):
      if not getattr(self, name) > 0:
        raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "paper", "steel"] = "quick"
  """quick: digits, minutes; paper: steel with the paper's recipe; steel: what fits a small CPU."""
  approaches: tuple[Approach, ...] = ("fastcar", "fastcar_scaled", "standardised", "plain")
  """Models to compare. fastcar has centred labels as in the paper, fastcar_scaled divides them."""
  combine: str = "equal"
  """What stands between the two losses of plain and standardised: a weighting, an aggregator, or
  both, with options, as in uncertainty or cagrad:c=.4. FastCAR has one loss."""
  labels: LabelOptions = LabelOptions()
  images: PropertyData = PropertyData()
  network: NetworkOptions = NetworkOptions(width=None)
  training: TrainingOptions = TrainingOptions(epochs=100, batch_size=32, learning_rate=1e-3)
  step: StepOptions = StepOptions()
  run: RunOptions = RunOptions(checkpoint_every="5", workdir="runs/fastcar")

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    for part in (self.labels, self.images, self.network, self.training, self.run):
      part.check()
    self.step.check(self.run)
    combining(self.combine)  # raises
    unknown = [name for name in self.approaches if name not in NAMES]
    twice = len(set(self.approaches)) < len(self.approaches)
    if not self.approaches or unknown or twice:
      raise ValueError(
        f"approaches must name some of {', '.join(NAMES)}, none twice, got {self.approaches}."
      )


PRESETS = {
  "quick": override(
    Config(),
    width=16,
    epochs=30,
    learning_rate=0.01,
    schedule="cosine",
    adjust="scale",
    max_trials=12,
    checkpoint_every="10",
  ),
  "paper": override(
    Config(),
    preset="paper",
    dataset="steel",
    backbone="resnet18",
    approaches=("fastcar", "standardised", "plain"),
    scale=400.0,
    workdir="runs/fastcar_paper",
  ),
  "steel": override(
    Config(),
    preset="steel",
    dataset="steel",
    image_size=96,
    backbone="resnet18",
    epochs=20,
    schedule="cosine",
    augment=True,
    scale=400.0,
    seeds=2,
    checkpoint_every="2",
    workdir="runs/fastcar_steel",
  ),
}
