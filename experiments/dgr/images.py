"""What DGR's methods learn from: multi-digits, faces with age, gender and ethnicity, own images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.problems import multi_digits
from experiments.problems.images import ImageTasks, of_splits
from experiments.problems.own_data import OwnDataOptions, is_own, load_own
from experiments.runner.config import check_positive, identity_of
from experiments.runner.mesh import say
from jaxmtl import data

FACES = "utkface"
NOISE = "noise"
_FACE_SIZE = 64


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """The images."""

  dataset: str = "digits"
  """utkface, or what multi-digits overlays: digits, a .npz file, or a prepared TFDS set. Or images
  of one's own: a folder with a sub-folder a class, or a .csv or .parquet table with a column path
  and one a task, classes all of them."""
  data_dir: str | None = None
  """Folder of the faces, or of the TFDS sets."""
  train_images: int = 2000
  """Of multi-digits; of faces, all are taken."""
  image_size: int | None = None
  """Side in pixels; of faces 64 by default, of multi-digits 1.25 to 2 times the digits' (10 to 16):
  on smaller images they overlap more."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    self._digits.check()
    if self.image_size is not None:
      check_positive(self, "image_size")

  @property
  def faces(self) -> bool:
    """Whether they are UTKFace's."""
    return self.dataset == FACES

  @property
  def own(self) -> bool:
    """Whether they are a folder or a table of one's own."""
    return not self.faces and is_own(self.dataset)

  @property
  def _digits(self) -> multi_digits.DigitsOptions:
    return multi_digits.DigitsOptions(**dataclasses.asdict(self))

  @property
  def _face_size(self) -> int:
    return self.image_size or _FACE_SIZE

  def identity(self, seed: int) -> dict[str, Any]:
    """What a job on them depends on, beside the images' own identity.

    Faces are the same whatever the seed.
    """
    if self.own:
      return {"data_seed": seed}
    if self.faces:
      return {"dataset": FACES, "image_size": self._face_size}
    return {**identity_of(self), "data_seed": seed}

  def describe(self, skipped: int) -> str:
    """For the title of a table."""
    if self.own:
      return f"Images of {self.dataset}"
    if self.faces:
      return f"UTKFace at {self._face_size} px, {skipped} file(s) skipped"
    return self._digits.describe()

  def load(self, seed: int, own: OwnDataOptions | None = None, tasks: Sequence[str] = ()) -> Loaded:
    """The images, multi-digits overlaid by a seed; of one's own these columns, all where none."""
    if self.own:
      options = own or OwnDataOptions()
      found = load_own(self.dataset, options, image_size=self.image_size, seed=seed, tasks=tasks)
      return Loaded(found, ())
    if not self.faces:
      return Loaded(multi_digits.load(self._digits, seed), ())
    parts = data.load_utkface(self.data_dir, image_size=self._face_size)
    say(f"UTKFace: {len(parts.skipped)} file(s) skipped whose names do not tell all labels.")
    images = of_splits(parts)
    named = {t: kind._replace(names=data.UTKFACE_CLASSES[t]) for t, kind in images.tasks.items()}
    return Loaded(images._replace(tasks=named), parts.skipped)


class Loaded(NamedTuple):
  """Images, and the names of files that were left out."""

  images: ImageTasks
  skipped: tuple[str, ...]
