"""Multi-digits: two overlaid digits with five tasks, of any set of square images."""

from __future__ import annotations

import dataclasses

from experiments.problems.images import ImageTasks, of_splits
from experiments.runner.config import check_positive
from jaxmtl import data

TASKS = ("left", "right", "sum", "parity", "noise")


@dataclasses.dataclass(frozen=True)
class DigitsOptions:
  """The images."""

  dataset: str = "digits"
  """What is overlaid: digits, a .npz file, or the name of a prepared TFDS set, such as mnist. Or
  images of one's own, as they are: a folder with a sub-folder a class, or a .csv or .parquet table
  with a column path and one a task."""
  data_dir: str | None = None
  """Folder of the TFDS sets."""
  train_images: int = 4000
  """That are made of digits."""
  image_size: int | None = None
  """Side in pixels. Of multi-digits 1.25 to 2 times the digits' (10 to 16): on smaller images they
  overlap more. Images of one's own are scaled and their centre is cut out."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "train_images")

  def describe(self) -> str:
    """For the title of a table."""
    return f"Multi-digits of {self.dataset}, {self.train_images} images"


def load(options: DigitsOptions, seed: int) -> ImageTasks:
  """The images of `options.dataset`, overlaid by a seed."""
  own_validation = options.dataset == "digits"
  source = data.load(
    options.dataset, data_dir=options.data_dir, validation=0.0 if own_validation else 0.1
  )
  counts = (options.train_images, 500, 1000)
  splits = data.multi_digits(seed, source=source, size=options.image_size, num_examples=counts)
  return of_splits(splits)
