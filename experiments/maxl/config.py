"""Options of the MAXL experiment."""

from __future__ import annotations

import dataclasses
from typing import Literal

from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_positive,
  override,
)
from experiments.runner.methods import combining

Method = Literal["single", "random", "kmeans", "human", "maxl", "maxl_no_entropy"]


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """The images."""

  dataset: str = "digits"
  """digits, mnist, svhn_cropped, cifar10, cifar100, ucf101, a .npz file, or another TFDS set."""
  data_dir: str | None = None
  """Folder of the TFDS sets, or of UCF-101's frames."""
  image_size: int | None = None
  """Side in pixels; needed where images differ in size."""
  validation: float = 0.0
  """Share of the training set held out for the curves, where the set has no validation part."""
  fraction: float = 1.0
  """Share of the training set that is used; stratified."""

  @property
  def base(self) -> str:
    """The data set without config and version."""
    return self.dataset.partition(":")[0].partition("/")[0]


@dataclasses.dataclass(frozen=True)
class HeadsOptions:
  """The networks: one that learns primary and auxiliary tasks, and one that labels."""

  backbone: str | None = None
  """None for the thesis's choice: convnet4 for digits, resnet32 for ucf101, else vgg16."""
  width: float | None = None
  """Channels of convnet4; a factor for the others, see jaxmtl.models."""
  head_width: int = 512
  """Hidden units of every head."""
  pretrained: str | None = None
  """Weights that the backbones of both networks start from: a .pth or .safetensors file of
  torchvision or timm, or the folder of a training of ours, whatever its tasks. Heads are new."""
  initializer: Literal["torch", "xavier"] | None = None
  """How first weights of convolutions and linear layers are drawn: torch, PyTorch's default;
  xavier, uniform, the thesis's. None: N(0, 2 / (k^2 c_out)) in convolutions, LeCun's in heads."""

  def of(self, dataset: str) -> NetworkOptions:
    """The backbone of both networks, for a data set."""
    small = dataset in ("digits", "mnist", "svhn_cropped")
    usual = "convnet4" if small else "resnet32" if dataset == "ucf101" else "vgg16"
    return NetworkOptions(self.backbone or usual, self.width, self.pretrained, self.initializer)


@dataclasses.dataclass(frozen=True)
class MultiTaskOptions:
  """How the network learns, whatever its labels."""

  momentum: float = 0.0
  weight_decay: float = 0.0
  halve_every: int = 50
  """Epochs after which learning rates halve."""
  gamma: float = 2.0
  """Of the focal loss."""
  crop_padding: int = 0
  """Random crops from images padded by so many pixels; 0 for none."""
  flip: bool = False
  """Random horizontal flips."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "halve_every")
    for name in ("crop_padding", "momentum", "weight_decay"):
      _check_not_negative(self, name)
    if self.gamma != 0 and self.gamma < 1:
      raise ValueError(f"gamma must be 0 or at least 1, got {self.gamma}.")


@dataclasses.dataclass(frozen=True)
class LabelOptions:
  """How MAXL's second network learns to label."""

  label_learning_rate: float = 1e-3
  """Of the label network."""
  label_weight_decay: float = 5e-4
  entropy_weight: float = 0.2
  """Of the term that keeps generated labels in use."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    for name in ("label_learning_rate", "label_weight_decay", "entropy_weight"):
      _check_not_negative(self, name)


@dataclasses.dataclass(frozen=True)
class CodeOptions:
  """What K-Means clusters."""

  latent: int = 64
  """Length of the auto-encoder's code, which K-Means clusters."""
  auto_encoder_epochs: int = 20

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "latent", "auto_encoder_epochs")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "paper", "regularised", "complexity"] = "quick"
  """quick: digits, minutes; paper: CIFAR-100 with the thesis's recipe; regularised: its table 5.3,
  hierarchies on CIFAR-10 with weight decay, crops and flips (it does not tell which ones it takes);
  complexity: its section 5.1, given auxiliary classes of several levels."""
  primary: tuple[int, ...] = ()
  """Primary tasks by number of classes: 3, 10, 20 or 100 of CIFAR-100, 2 or 10 of digits; the
  thesis's choice where none is named."""
  psi: tuple[str, ...] = ()
  """Hierarchies, trained together: 5 (auxiliary classes for each class), total:100 (shared out
  evenly) or 3,3,4 (one number a class); the thesis's choice where none is named."""
  methods: tuple[Method, ...] = ()
  """What to compare; all that the data allow, without maxl_no_entropy, where none is named."""
  combinations: tuple[str, ...] = ()
  """Instead of methods, given labels of several levels: primary, or primary:auxiliary+auxiliary."""
  combine: str = "equal"
  """What stands between primary and auxiliary losses, of labels that are given: a weighting, an
  aggregator, or both, with options, as in uncertainty or cagrad:c=.4. MAXL's own step sums them."""
  tsne_images: int = 800
  """Test images in tsne.png, at most."""
  data: DataOptions = DataOptions()
  networks: HeadsOptions = HeadsOptions()
  training: TrainingOptions = TrainingOptions(epochs=200, batch_size=100, learning_rate=0.01)
  multi_task: MultiTaskOptions = MultiTaskOptions()
  labels: LabelOptions = LabelOptions()
  codes: CodeOptions = CodeOptions()
  run: RunOptions = RunOptions(workdir="runs/maxl", checkpoint_every="10")

  @property
  def network(self) -> NetworkOptions:
    """The backbone of both networks."""
    return self.networks.of(self.data.base)

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "tsne_images")
    check_positive(self.networks, "head_width")
    parts = (self.network, self.training, self.multi_task, self.labels, self.codes, self.run)
    for part in parts:
      part.check()
    combining(self.combine)  # raises
    if len(set(self.methods)) < len(self.methods):
      raise ValueError(f"methods must be different ones, got {list(self.methods)}.")


def _check_not_negative(options: object, name: str) -> None:
  value = getattr(options, name)
  if not value >= 0:
    raise ValueError(f"{name} must not be negative, got {value}.")


PRESETS = {
  "quick": override(
    Config(),
    validation=0.25,
    width=16,
    head_width=32,
    epochs=30,
    batch_size=50,
    learning_rate=0.05,
    label_learning_rate=0.05,
    halve_every=10,
    latent=16,
  ),
  "paper": override(
    Config(),
    preset="paper",
    dataset="cifar100",
    initializer="xavier",
    workdir="runs/maxl_paper",
  ),
  "regularised": override(
    Config(),
    preset="regularised",
    dataset="cifar10",
    initializer="xavier",
    psi=("2", "3", "5", "10"),
    methods=("single", "maxl"),
    weight_decay=5e-4,
    crop_padding=4,
    flip=True,
    workdir="runs/maxl_regularised",
  ),
  "complexity": override(
    Config(),
    preset="complexity",
    dataset="cifar100",
    initializer="xavier",
    combinations=(
      *("3", "3:10", "3:20", "3:100", "3:10+20", "3:20+100", "3:10+20+100"),
      *("10", "10:100", "20", "20:100"),
      *("100", "100:3", "100:10", "100:20"),
    ),
    crop_padding=4,
    flip=True,
    workdir="runs/maxl_complexity",
  ),
}
