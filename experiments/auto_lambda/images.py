"""What Auto-lambda's networks learn from: digits, domains, attributes, or images of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments.problems import domains, multi_digits
from experiments.problems.domains import Domains
from experiments.problems.images import ImageTasks, of_splits
from experiments.problems.own_data import OwnDataOptions, is_own, load_own
from experiments.runner.config import identity_of
from jaxmtl import data

DOMAINS, ATTRIBUTES = "cifar100", "celeb_a"
NOISE = "noise"


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """The images."""

  dataset: str = "digits"
  """cifar100 (its domains), celeb_a (its attributes), or what multi-digits overlays: digits, a .npz
  file, or the name of a prepared TFDS set, such as mnist. Or images of one's own: a folder with a
  sub-folder a class, or a .csv or .parquet table with a column path and one a task."""
  data_dir: str | None = None
  """Folder of the TFDS sets."""
  train_images: int = 4000
  """Of multi-digits."""
  image_size: int | None = None
  """Side in pixels; of multi-digits 1.25 to 2 times the digits' (10 to 16)."""
  validation: float = 0.1
  """Share of CIFAR-100's training images that is held out for the curves."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    self.digits.check()

  @property
  def own(self) -> bool:
    """Whether the images are a folder or a table of one's own."""
    return self.dataset not in (DOMAINS, ATTRIBUTES) and is_own(self.dataset)

  @property
  def digits(self) -> multi_digits.DigitsOptions:
    """Those of multi-digits."""
    return multi_digits.DigitsOptions(
      self.dataset, self.data_dir, self.train_images, self.image_size
    )

  def identity(self, seed: int) -> dict[str, Any]:
    """What a job with these images depends on, beside the images' own identity."""
    if self.own:
      return {"data_seed": seed}
    if self.dataset == ATTRIBUTES:
      return {"dataset": self.dataset, "image_size": self.image_size}
    if self.dataset == DOMAINS:
      # The seed chooses what is held out.
      held_out = {"validation": self.validation} | ({"data_seed": seed} if self.validation else {})
      return {"dataset": self.dataset, "image_size": self.image_size, **held_out}
    return identity_of(self.digits) | {"data_seed": seed}


def load(
  options: DataOptions, own: OwnDataOptions, seed: int, tasks: Sequence[str] = ()
) -> ImageTasks | Domains:
  """The data; other kinds (dense prediction, robot tasks) come in here and in the plan.

  Args:
    options: which ones.
    own: of images of one's own.
    seed: of what is held out or overlaid.
    tasks: the columns to take of a table of one's own.
  """
  if options.own:
    return load_own(options.dataset, own, image_size=options.image_size, seed=seed, tasks=tasks)
  if options.dataset == DOMAINS:
    return domains.load(options.data_dir, options.image_size, options.validation, seed)
  if options.dataset == ATTRIBUTES:
    return of_splits(
      data.load_tasks(
        ATTRIBUTES, ("attributes",), data_dir=options.data_dir, image_size=options.image_size
      )
    )
  return multi_digits.load(options.digits, seed)


def names_of(source: ImageTasks | Domains) -> tuple[str, ...]:
  """The tasks that data have."""
  return source.names if isinstance(source, Domains) else tuple(source.tasks)
