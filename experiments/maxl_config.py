"""Options of the MAXL experiment."""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn

from experiments.common import create_backbone

Method = Literal["single", "random", "kmeans", "human", "maxl", "maxl_no_entropy"]
Backbone = Literal["convnet4", "vgg16", "resnet32"]


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "paper", "complexity"] = "quick"
  """quick: digits, minutes; paper: CIFAR-100 with the thesis's recipe; complexity: its section 5.1,
  given auxiliary classes of several levels."""
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
  primary: tuple[int, ...] = ()
  """Primary tasks by number of classes: 3, 10, 20 or 100 of CIFAR-100, 2 or 10 of digits; () for
  the thesis's choice."""
  psi: tuple[str, ...] = ()
  """Hierarchies, trained together: 5 (auxiliary classes for each class), total:100 (shared out
  evenly) or 3,3,4 (one number a class); () for the thesis's choice."""
  methods: tuple[Method, ...] = ()
  """What to compare; () for all that the data allow, without maxl_no_entropy."""
  combinations: tuple[str, ...] = ()
  """Instead of methods, given labels of several levels: primary, or primary:auxiliary+auxiliary."""
  backbone: Backbone | None = None
  """None for the thesis's choice: convnet4 for digits, resnet32 for ucf101, else vgg16."""
  width: float | None = None
  """Channels of convnet4; a factor for the others, see jaxmtl.models."""
  head_width: int = 512
  """Hidden units of every head."""
  epochs: int = 200
  batch_size: int = 100
  """At most; batches are made equal, so that an epoch sees (nearly) all images."""
  learning_rate: float = 0.01
  momentum: float = 0.0
  weight_decay: float = 0.0
  label_learning_rate: float = 1e-3
  """Of the label network."""
  label_weight_decay: float = 5e-4
  halve_every: int = 50
  """Epochs after which both learning rates halve."""
  gamma: float = 2.0
  """Of the focal loss."""
  entropy_weight: float = 0.2
  """Of the term that keeps generated labels in use."""
  crop_padding: int = 0
  """Random crops from images padded by so many pixels; 0 for none."""
  flip: bool = False
  """Random horizontal flips."""
  latent: int = 64
  """Length of the auto-encoder's code, which K-Means clusters."""
  auto_encoder_epochs: int = 20
  seeds: int = 3
  """Networks that are trained together, for each hierarchy."""
  seed: int = 0
  """First seed."""
  checkpoint_every: int = 10
  """Epochs between checkpoints."""
  workdir: str = "runs/maxl"
  """Where results go; training that was stopped goes on from there."""

  @property
  def base(self) -> str:
    """The data set without config and version."""
    return self.dataset.partition(":")[0].partition("/")[0]

  @property
  def network(self) -> Backbone:
    """The name of the backbone."""
    if self.backbone is not None:
      return self.backbone
    small = self.base in ("digits", "mnist", "svhn_cropped")
    return "convnet4" if small else "resnet32" if self.base == "ucf101" else "vgg16"

  def build_backbone(self) -> nn.Module:
    """The backbone of both networks."""
    return create_backbone(self.network, self.width)

  def check(self) -> None:
    """Raises ValueError, naming the option, where a number does not fit."""
    counts = ("epochs", "seeds", "batch_size", "checkpoint_every", "halve_every", "head_width")
    for name in (*counts, "latent", "auto_encoder_epochs"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
    for name in ("entropy_weight", "crop_padding", "momentum"):
      if getattr(self, name) < 0:
        raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")
    if self.gamma != 0 and self.gamma < 1:
      raise ValueError(f"gamma must be 0 or at least 1, got {self.gamma}.")
    if self.width is not None and self.width <= 0:
      raise ValueError(f"width must be positive, got {self.width}.")


PRESETS = {
  "quick": Config(
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
  "paper": Config(preset="paper", dataset="cifar100", workdir="runs/maxl_paper"),
  "complexity": Config(
    preset="complexity",
    dataset="cifar100",
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
