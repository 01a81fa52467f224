"""Options of dense prediction."""

from __future__ import annotations

import dataclasses
from typing import Literal

from experiments.auto_lambda.compared import with_tasks
from experiments.auto_lambda.config import OptimizerOptions
from experiments.auto_lambda.weights import WeightOptions
from experiments.dense_prediction.images import NOISE, DataOptions
from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_positive,
  override,
)
from experiments.runner.methods import Method
from jaxmtl import models


@dataclasses.dataclass(frozen=True)
class DenseOptions:
  """The heads, and how images and losses are treated."""

  architecture: str = "hps"
  """hps, the paper's Split; mtan; or any other name of jaxmtl.models.multi_task whose backbone has
  stages. Single-task baselines have one backbone and one head."""
  output_stride: Literal[8, 16, 32] = 8
  """Of a ResNet: how much smaller the last map is than the image; others have their own."""
  head_features: int = 32
  """Channels within each head; 256 in the paper."""
  rates: tuple[int, ...] = (2, 4, 6)
  """Dilation of each head's pyramid, in pixels of the last map; (12, 24, 36) in the paper."""
  normal_loss: Literal["l1", "cosine"] = "l1"
  """Of unit normals: l1, as in the released program, or one less the cosine."""
  scales: tuple[float, ...] = (1.0, 1.2, 1.5)
  """By one of which each training image and its maps grow before the crop."""
  crop: tuple[int, int] | None = None
  """Height and width of the training images' crop; None: of the images."""
  flip: bool = True
  """Whether half of the training images, with their maps, are mirrored."""
  remat: bool = False
  """Whether a ResNet's blocks are computed again in the backward pass: less memory, more time."""
  chunk_size: int | None = None
  """Of how many tasks gradients are computed at a time, where a method needs each by itself: 1
  takes least memory; None chooses."""
  precision: Literal["float32", "bfloat16"] = "float32"
  """Of the network's arithmetic; parameters, losses and metrics stay in float32."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "head_features")
    if self.architecture not in models.ARCHITECTURES:
      known = ", ".join(models.ARCHITECTURES)
      raise ValueError(f"architecture {self.architecture!r} is not known; known: {known}.")
    if not self.rates or min(self.rates) < 1:
      raise ValueError(f"rates must be at least 1 each, got {self.rates}.")
    if not self.scales or min(self.scales) <= 0:
      raise ValueError(f"scales must be above 0 each, got {self.scales}.")
    if self.chunk_size is not None:
      check_positive(self, "chunk_size")
    if self.crop is not None and min(self.crop) < 1:
      raise ValueError(f"crop must be at least 1 pixel each way, got {self.crop}.")


@dataclasses.dataclass(frozen=True)
class DGROptions:
  """DGR's penalty on what the heads read."""

  dgr_weight: float | None = None
  """Each method of multi-task learning is also trained with the penalty of this weight; the paper
  takes 1e-7 to 1e-5. None: without."""
  num_dummies: int = 3
  """Dummy heads a task."""
  estimator: Literal["exact", "finite_difference"] = "finite_difference"
  """Of the penalty's gradient; by differences, as in the paper's program, it takes less time and
  memory."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "num_dummies")
    if self.dgr_weight is not None and not self.dgr_weight > 0:
      raise ValueError(f"dgr_weight must be positive, got {self.dgr_weight}.")

  @property
  def identity(self) -> dict[str, object]:
    """Of a training with it."""
    return {"regularization": "dgr", **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "rooms", "nyuv2", "cityscapes", "camvid", "pascal"] = "quick"
  """quick: small rooms and a small network, minutes; rooms: larger, both kinds of methods, noise,
  hours on a CPU; nyuv2 and cityscapes: the paper's networks and recipe; camvid: streets with
  classes, and how far each pixel is from a border; pascal: the five tasks of PASCAL-Context."""
  tasks: tuple[str, ...] = ()
  """Which tasks the networks learn; all that the data have where none is named."""
  methods: tuple[str, ...] = ("equal", "dwa", "uncertainty", "auto_lambda")
  """Weightings, aggregators, or weighting+aggregator, for multi-task learning."""
  auxiliary_methods: tuple[str, ...] = ()
  """Methods that know the primary task, for auxiliary learning: gcs, auto_lambda."""
  primaries: tuple[str, ...] = ()
  """Primary tasks, each in a run of its own; all but noise where none is named."""
  compare: Literal["finite_difference", "first_order", "none"] = "none"
  """What the exact gradient of the weights is compared with, in multi-task learning."""
  predict: str | None = None
  """An image, or a folder of images: instead of training, draw what the last of the methods,
  trained with the same options, says of them."""
  ablations: tuple[Literal["init", "learning_rate", "no_swapping"], ...] = ()
  """Auto-lambda in multi-task learning with other values, as in table 3.4."""
  groupings: bool = False
  """Whether equal weights also learn each smaller group of the tasks (but noise), as in figure 3.6:
  which tasks help which."""
  data: DataOptions = DataOptions()
  dense: DenseOptions = DenseOptions()
  dgr: DGROptions = DGROptions()
  weights: WeightOptions = WeightOptions()
  network: NetworkOptions = NetworkOptions(backbone="resnet18", width=0.125)
  training: TrainingOptions = TrainingOptions(epochs=20, batch_size=4, learning_rate=0.1)
  step: OptimizerOptions = OptimizerOptions()
  run: RunOptions = RunOptions(seeds=2, evaluate_every="2", workdir="runs/dense_prediction")

  def check(self) -> dict[str, Method]:
    """The methods; raises ValueError, naming the option, where one does not fit."""
    parts = (self.data, self.dense, self.dgr, self.weights, self.network, self.training)
    for part in (*parts, self.step, self.run):
      part.check()
    if not hasattr(self.network.build(), "maps"):
      raise ValueError(f"backbone must have maps, got {self.network.backbone!r}; resnet18 has.")
    return {name: Method.parse(name) for name in (*self.methods, *self.auxiliary_methods)}

  def with_tasks(self, known: tuple[str, ...]) -> Config:
    """With the tasks' names; raises ValueError where one is not among the data's, or too few."""
    config = with_tasks(self, known)
    if config.groupings and len(config.judged) < 3:
      raise ValueError(
        "groupings need three tasks, of which each two are a group, but noise, got "
        f"{', '.join(config.judged)}."
      )
    return config

  @property
  def judged(self) -> tuple[str, ...]:
    """The tasks of Delta_MTL in multi-task learning, all primary: all but noise."""
    return tuple(task for task in self.tasks if task != NOISE)

  def describe(self, measured: str) -> str:
    """For the title of a table."""
    name = {"hps": "Split", "mtan": "MTAN"}.get(self.dense.architecture, self.dense.architecture)
    # Others than ResNets have a stride of their own.
    has_stride = hasattr(self.network.build(), "output_stride")
    stride = f", output stride {self.dense.output_stride}" if has_stride else ""
    return (
      f"{self.data.describe()}, {name} of {self.network.describe()}{stride}, "
      f"{self.training.epochs} epochs, {self.run.seeds} seed(s): test {measured} after the last "
      "epoch"
    )


_PAPER = override(
  Config(),
  backbone="resnet50",
  width=None,
  cosine="epoch",
  head_features=256,
  rates=(12, 24, 36),
  epochs=200,
  checkpoint_every="1",
  evaluate_every="200",
)
PRESETS = {
  "quick": override(Config(), preset="quick", height=48, width_in_pixels=64),
  "rooms": override(
    Config(),
    preset="rooms",
    methods=(
      *("equal", "uncertainty", "dwa", "auto_lambda"),
      # CAGrad as in the thesis's program: as long as a sum.
      *("pcgrad", "cagrad:c=.4,times=T", "graddrop", "auto_lambda+cagrad:c=.4,times=T"),
    ),
    auxiliary_methods=("gcs", "auto_lambda"),
    primaries=("segmentation",),
    compare="finite_difference",
    height=128,
    width_in_pixels=160,
    noise=True,
    backbone="resnet18",
    width=0.25,
    head_features=64,
    epochs=40,
    workdir="runs/dense_prediction_rooms",
  ),
  "nyuv2": override(
    _PAPER,
    preset="nyuv2",
    dataset="nyuv2",
    weight_learning_rate=1e-4,
    workdir="runs/dense_prediction_nyuv2",
  ),
  "cityscapes": override(
    _PAPER,
    preset="cityscapes",
    dataset="cityscapes",
    scales=(1.0,),
    crop=(256, 256),
    weight_learning_rate=3e-5,
    workdir="runs/dense_prediction_cityscapes",
  ),
  "camvid": override(
    Config(),
    preset="camvid",
    dataset="camvid",
    methods=("equal", "auto_lambda"),
    crop=(96, 128),
    epochs=40,
    workdir="runs/dense_prediction_camvid",
  ),
  # What the DGR paper says nothing of is as in the survey's program, but for its Adam and its
  # rotations.
  "pascal": override(
    _PAPER,
    preset="pascal",
    dataset="pascal_context",
    image_size=(512, 512),
    methods=("equal",),
    backbone="resnet18",
    scales=(0.75, 1.0, 1.25),
    epochs=100,
    batch_size=6,
    learning_rate=0.005,
    evaluate_every="100",
    workdir="runs/dense_prediction_pascal",
  ),
}
