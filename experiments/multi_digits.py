"""What experiments on multi-digits share: their options, and the images."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn

from experiments.common import create_backbone
from jaxmtl import data, models

TASKS = ("left", "right", "sum", "parity", "noise")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
  """Options of every experiment on multi-digits."""

  tasks: tuple[str, ...] = TASKS
  """Tasks of multi-digits: left, right, sum, parity and noise, or some of them."""
  dataset: str = "digits"
  """What is overlaid: digits, a .npz file, or the name of a prepared TFDS set, such as mnist."""
  data_dir: str | None = None
  """Folder of the TFDS sets."""
  train_images: int = 4000
  image_size: int | None = None
  """Side in pixels, 1.25 to 2 times the digits' (10 to 16); on smaller images they overlap more."""
  backbone: str = "convnet4"
  """Any name of jaxmtl.models.create: convnet4, vgg16, vgg19, resnet32, resnet110, ..."""
  width: float = 16
  """Channels of convnet4; a factor for the others, see jaxmtl.models."""
  architecture: str = "hps"
  """Any name of jaxmtl.models.multi_task; single-task baselines have one backbone and one head."""
  epochs: int = 12
  batch_size: int = 25
  learning_rate: float = 0.01
  """The same for every method; it falls to zero along a cosine."""
  seeds: int = 3
  """Networks that are trained together."""
  seed: int = 0
  """First seed."""
  checkpoint_every: int = 4
  """Epochs between checkpoints."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    for name in ("epochs", "seeds", "batch_size", "checkpoint_every", "train_images"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
    if not self.width > 0:
      raise ValueError(f"width must be positive, got {self.width}.")
    models.create(self.backbone)  # raises for an unknown name
    if self.architecture not in models.ARCHITECTURES:
      known = ", ".join(models.ARCHITECTURES)
      raise ValueError(f"architecture {self.architecture!r} is not known; known: {known}.")

  def build_backbone(self, **options: Any) -> nn.Module:
    """The backbone."""
    return create_backbone(self.backbone, self.width, **options)

  def describe(self) -> str:
    """The head of a table of results."""
    architecture = "" if self.architecture == "hps" else f"{self.architecture} of "
    return (
      f"Multi-digits of {self.dataset}, {self.train_images} images, {architecture}{self.backbone} "
      f"of width {self.width}, {self.epochs} epochs, {self.seeds} seed(s): test accuracy (%) after "
      "the last epoch"
    )


def load_parts(config: TrainingConfig) -> data.TaskSplits:
  """The images of `config.dataset`, overlaid."""
  own_validation = config.dataset == "digits"
  source = data.load(
    config.dataset, data_dir=config.data_dir, validation=0.0 if own_validation else 0.1
  )
  counts = (config.train_images, 500, 1000)
  return data.multi_digits(config.seed, source=source, size=config.image_size, num_examples=counts)
