"""Options of the ReCo experiment."""

from __future__ import annotations

import dataclasses
from typing import Literal

from experiments.reco.images import DataOptions
from experiments.reco.methods import ReCoOptions, Semi
from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_positive,
  override,
)
from experiments.runner.methods import combining

_ABLATIONS: dict[str, tuple[str, ...]] = {
  "sampling": (
    "classmix+reco:queries=random,keys=random",
    "classmix+reco:keys=random",
    "classmix+reco:queries=easy",
  ),
  "queries": tuple(f"classmix+reco:num_queries={n}" for n in (32, 64, 128, 512, 1024)),
  "keys": tuple(f"classmix+reco:num_negatives={n}" for n in (32, 128, 256, 1024)),
  "unlabelled": tuple(
    f"classmix:unlabelled={share}{more}" for share in (0.1, 0.25, 0.5) for more in ("", "+reco")
  ),
  "mixing": ("cutout", "cutout+reco", "cutmix", "cutmix+reco"),
  "bank": ("classmix+reco:bank=1000",),
}


@dataclasses.dataclass(frozen=True)
class LabelOptions:
  """How many labels there are; each number is a setting, in which all methods are trained."""

  labelled: tuple[int, ...] = (20,)
  """Images with all their labels; 0: all images."""
  shares: tuple[float, ...] = ()
  """Of all images, the share of each class's pixels that keeps its label; 0: one pixel."""
  at_least: int = 1
  """Classes in each labelled image: 3 of Pascal VOC, 12 of Cityscapes in the paper."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    if not self.labelled and not self.shares:
      raise ValueError("labelled or shares must name a setting, got none of both.")
    if any(count < 0 for count in self.labelled):
      raise ValueError(f"labelled must not be negative, got {self.labelled}.")
    if any(not 0 <= share <= 1 for share in self.shares):
      raise ValueError(f"shares must be between 0 and 1, got {self.shares}.")
    check_positive(self, "at_least")


@dataclasses.dataclass(frozen=True)
class SegmentationOptions:
  """The network's heads, and how images are changed while training."""

  output_stride: Literal[8, 16, 32] = 16
  """Of a ResNet: how much smaller the last map is than the image."""
  features: int = 64
  """Channels of the pyramid and the heads; 256 in the paper."""
  dimension: int = 64
  """Of a representation; 256 in the paper."""
  rates: tuple[int, ...] = (1, 2, 3)
  """Dilation of the pyramid, in pixels of the last map; (6, 12, 18) in the paper."""
  scale_range: tuple[float, float] = (0.5, 1.5)
  """Between which training images grow or shrink."""
  crop: tuple[int, int] | None = None
  """Height and width of the training images' crop; None: of the images."""
  jitter: bool = True
  """Whether colours of training images change at random."""
  blur: bool = True
  """Whether training images are blurred at random."""
  precision: Literal["float32", "bfloat16"] = "float32"
  """Of the network's arithmetic; parameters, losses and metrics stay in float32."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "features", "dimension")
    if not self.rates or min(self.rates) < 1:
      raise ValueError(f"rates must be at least 1 each, got {self.rates}.")
    if not 0 < self.scale_range[0] <= self.scale_range[1]:
      raise ValueError(f"scale_range must be two scales above 0, got {self.scale_range}.")
    if self.crop is not None and min(self.crop) < 2:
      raise ValueError(f"crop must be at least 2 pixels each way, got {self.crop}.")


@dataclasses.dataclass(frozen=True)
class TeacherOptions:
  """The mean teacher."""

  decay: float = 0.99
  """Of the average; about 1 / (1 - decay) steps."""
  copy_statistics: bool = False
  """Whether the teacher's batch statistics are averaged from the student's, like parameters; else
  they are of its own forward passes, as in the released program."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    if not 0 <= self.decay < 1:
      raise ValueError(f"decay must be at least 0 and below 1, got {self.decay}.")


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
  """SGD with Nesterov momentum; its rate falls by (1 - epoch / epochs)^power, once an epoch."""

  steps_per_epoch: int = 200
  """An epoch is so many steps, whatever the number of images."""
  momentum: float = 0.9
  weight_decay: float = 5e-4
  power: float = 0.9
  """Of the rate's fall."""
  lowest_rate: float = 1e-6
  """Below which the rate does not fall."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "steps_per_epoch")
    if not 0 <= self.momentum < 1:
      raise ValueError(f"momentum must be at least 0 and below 1, got {self.momentum}.")
    for name in ("weight_decay", "power", "lowest_rate"):
      if not getattr(self, name) >= 0:
        raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "pascal", "cityscapes", "sun", "camvid"] = "quick"
  """quick: small rooms and a small network, minutes; pascal, cityscapes and sun: the paper's
  networks and recipe; camvid: 367 streets, a small network, hours on a CPU."""
  methods: tuple[str, ...] = ("supervised", "classmix", "classmix+reco")
  """supervised, mean_teacher, cutout, cutmix or classmix, perhaps with +reco and options."""
  ablations: tuple[Literal["sampling", "queries", "keys", "unlabelled", "mixing", "bank"], ...] = ()
  """Further methods: ClassMix with ReCo by other draws (table 4.5), other numbers, other mixings
  (figure 4.7), or with keys from a bank."""
  combine: str = "equal"
  """What stands between the supervised loss, the unsupervised one and ReCo's: a weighting, an
  aggregator, or both, with options, as in uncertainty or cagrad:c=.4."""
  predict: str | None = None
  """An image, or a folder of images: instead of training, draw what the last of the methods,
  trained with the same options, says of them."""
  data: DataOptions = DataOptions()
  labels: LabelOptions = LabelOptions()
  segmentation: SegmentationOptions = SegmentationOptions()
  reco: ReCoOptions = ReCoOptions()
  teacher: TeacherOptions = TeacherOptions()
  network: NetworkOptions = NetworkOptions(backbone="resnet18", width=0.25)
  training: TrainingOptions = TrainingOptions(epochs=10, batch_size=4, learning_rate=0.03)
  optimizer: OptimizerOptions = OptimizerOptions()
  run: RunOptions = RunOptions(seeds=2, evaluate_every="1", workdir="runs/reco")

  def check(self) -> tuple[Semi, ...]:
    """The methods; raises ValueError, naming the option, where one does not fit."""
    for part in (
      *(self.data, self.labels, self.segmentation, self.reco, self.teacher, self.network),
      *(self.training, self.optimizer, self.run),
    ):
      part.check()
    if not hasattr(self.network.build(), "maps"):
      raise ValueError(f"backbone must have maps, got {self.network.backbone!r}; resnet18 has.")
    if not self.all_methods:
      raise ValueError("methods must name at least one, got none.")
    if self.training.batch_size < 2 and any(m != "supervised" for m in self.all_methods):
      raise ValueError(
        f"batch_size must be at least 2 to mix images, got {self.training.batch_size}."
      )
    combining(self.combine)  # raises
    return tuple(Semi.parse(name, self.reco) for name in self.all_methods)

  @property
  def all_methods(self) -> tuple[str, ...]:
    """With those of the ablations, each once."""
    found = list(dict.fromkeys(self.methods))
    settings = [Semi.parse(name, self.reco).identity for name in found]
    for name in (name for ablation in self.ablations for name in _ABLATIONS[ablation]):
      # One that says what is the default would be trained twice.
      if (setting := Semi.parse(name, self.reco).identity) not in settings:
        found.append(name)
        settings.append(setting)
    return tuple(found)

  def describe(self) -> str:
    """For the title of a table."""
    return (
      f"{self.data.describe()}, DeepLabV3+ of {self.network.describe()}, output stride "
      f"{self.segmentation.output_stride}, {self.training.epochs} epochs of "
      f"{self.optimizer.steps_per_epoch} steps, {self.run.seeds} seed(s)"
    )


_PAPER = override(
  Config(),
  methods=("supervised", "cutout", "cutmix", "classmix", "classmix+reco"),
  backbone="resnet101",
  width=None,
  features=256,
  dimension=256,
  rates=(6, 12, 18),
  epochs=200,
  learning_rate=2.5e-3,
  seeds=3,
  checkpoint_every="1",
  evaluate_every="10",
)
PRESETS = {
  "quick": override(
    Config(),
    **{"height": 48, "width_in_pixels": 64, "scale_range": (0.75, 1.25), "epochs": 5},
    **{"num_queries": 64, "num_negatives": 128},
  ),
  "pascal": override(
    _PAPER,
    preset="pascal",
    dataset="pascal",
    labelled=(60,),
    at_least=3,
    batch_size=10,
    crop=(321, 321),
    workdir="runs/reco_pascal",
  ),
  "cityscapes": override(
    _PAPER,
    preset="cityscapes",
    dataset="cityscapes",
    labelled=(20,),
    at_least=12,
    batch_size=2,
    crop=(512, 512),
    scale_range=(1.0, 1.0),
    workdir="runs/reco_cityscapes",
  ),
  "sun": override(
    _PAPER,
    preset="sun",
    dataset="sun",
    labelled=(50,),
    at_least=1,
    batch_size=5,
    crop=(321, 321),
    workdir="runs/reco_sun",
  ),
  "camvid": override(
    Config(),
    preset="camvid",
    dataset="camvid",
    labelled=(20,),
    image_size=(120, 160),
    seeds=3,
    workdir="runs/reco_camvid",
  ),
}
