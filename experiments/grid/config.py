"""Options of the grid."""

from __future__ import annotations

import dataclasses
from typing import Literal

from experiments.grid.models import METHODS, Cell, network
from experiments.problems.properties import CLASS, VALUE
from experiments.problems.property_options import PropertyData, StepOptions
from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_positive,
  override,
)


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "slice", "paper"] = "quick"
  """quick: digits, minutes; slice: some of steel's models, for a small CPU; paper: all of them."""
  architectures: tuple[str, ...] = ("hps", "cross_stitch", "mmoe", "mtan", "cgc", "ltb")
  """Names of jaxmtl.models.multi_task."""
  methods: tuple[str, ...] = tuple(METHODS)
  """The paper's names, or weightings, aggregators, or weighting+aggregator."""
  decoders: tuple[int, ...] = (1, 2)
  """1: pool and two layers; 2: two convolutions and another layer beside them."""
  num_experts: int = 4
  """Of mmoe and dselect_k; cgc and ple have one that is shared and one a task."""
  standardise: bool = False
  """Whether the property is learned less its mean and over its deviation on the training set."""
  images: PropertyData = PropertyData()
  network: NetworkOptions = NetworkOptions(width=None)
  training: TrainingOptions = TrainingOptions(epochs=100, batch_size=32, learning_rate=1e-3)
  step: StepOptions = StepOptions()
  run: RunOptions = RunOptions(seeds=1, checkpoint_every="5", workdir="runs/grid")

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    for part in (self.images, self.network, self.training, self.run):
      part.check()
    self.step.check(self.run)
    check_positive(self, "num_experts")
    for name in ("architectures", "methods", "decoders"):
      values = getattr(self, name)
      if not values or len(set(values)) < len(values):
        raise ValueError(f"{name} must name at least one, and none twice, got {values}.")
    if unknown := sorted(set(self.decoders) - {1, 2}):
      raise ValueError(f"decoders must be 1 or 2, got {unknown}.")
    # These raise for unknown names and backbones without stages.
    backbone = self.network.build()
    for architecture in self.architectures:
      cell = Cell(architecture, "EW", 1)
      network(cell, backbone, {CLASS: 2, VALUE: 1}, self.num_experts, 1, 1)
    for method in self.methods:
      Cell("hps", method, 1).combine().build(2, 1)

  def cells(self) -> list[Cell]:
    """All models, in the order in which they are trained."""
    return [Cell(a, m, d) for d in self.decoders for a in self.architectures for m in self.methods]


PRESETS = {
  "quick": override(
    Config(),
    architectures=("hps", "cross_stitch", "mmoe"),
    methods=("EW", "CAGrad"),
    standardise=True,
    width=16,
    epochs=8,
    learning_rate=0.003,
    schedule="cosine",
    checkpoint_every="4",
  ),
  "slice": override(
    Config(),
    preset="slice",
    dataset="steel",
    image_size=48,
    width=8,
    standardise=True,
    num_experts=2,
    architectures=("hps", "cross_stitch", "mmoe"),
    methods=("EW", "UW", "MGDA-l2", "PCGrad"),
    decoders=(1,),
    epochs=4,
    learning_rate=0.003,
    schedule="cosine",
    checkpoint_every="2",
    workdir="runs/grid_slice",
  ),
  "paper": override(
    Config(),
    preset="paper",
    dataset="steel",
    backbone="resnet18",
    checkpoint_every="10",
    workdir="runs/grid_paper",
  ),
}
