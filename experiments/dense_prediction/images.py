"""What dense prediction learns from: rooms."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from experiments.problems.maps import MapImages, MapTask
from experiments.runner.config import check_positive, identity_of
from jaxmtl import data

ROOMS, NOISE = "rooms", "noise"


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """The images."""

  dataset: str = ROOMS
  """rooms, which are made up."""
  train_images: int = 400
  """Of rooms."""
  test_images: int = 100
  """Of rooms."""
  validation_images: int = 50
  """Of rooms, for curves and for choosing options; none of them is learned from."""
  height: int = 96
  """Of rooms, in pixels."""
  width_in_pixels: int = 128
  """Of rooms."""
  noise: bool = False
  """Whether a map of noise, another one for each image, is among the tasks."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "train_images", "test_images", "height", "width_in_pixels")
    if self.validation_images < 0:
      raise ValueError(f"validation_images must not be negative, got {self.validation_images}.")
    if self.dataset != ROOMS:
      raise ValueError(f"dataset must be {ROOMS}, got {self.dataset!r}.")

  def describe(self) -> str:
    """For the title of a table."""
    size = f"{self.height}x{self.width_in_pixels}"
    return f"{self.train_images} rooms of {size} ({self.test_images} for the test)"


def load(options: DataOptions, seed: int) -> MapImages:
  """The images and their maps.

  Args:
    options: which ones.
    seed: of rooms and noise.
  """
  first, held_out = options.train_images, options.train_images + options.test_images
  count = held_out + options.validation_images
  made = data.rooms(count, (options.height, options.width_in_pixels), seed)
  tasks = {
    "segmentation": MapTask("classes", len(data.ROOM_CLASSES), data.ROOM_CLASSES),
    "depth": MapTask("depth", 1),
    "normal": MapTask("normal", 3),
  }
  arrays: dict[str, Any] = made._asdict()
  if options.noise:
    shape = (count, options.height, options.width_in_pixels, 1)
    arrays[NOISE] = np.random.default_rng([seed, 2]).random(shape, np.float32)
    tasks[NOISE] = MapTask("noise", 1)
  cut = {"train": slice(0, first), "test": slice(first, held_out)}
  if options.validation_images:
    cut["validation"] = slice(held_out, None)
  parts = {name: {k: v[rows] for k, v in arrays.items()} for name, rows in cut.items()}
  return MapImages(parts, tasks, {**identity_of(options), "data_seed": seed})
