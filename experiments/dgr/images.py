"""What DGR's methods learn from: multi-digits, or faces with age, gender and ethnicity."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from experiments.problems import multi_digits
from experiments.problems.images import ImageTasks, of_splits
from experiments.runner.config import check_positive, identity_of
from experiments.runner.mesh import say
from jaxmtl import data

FACES = "utkface"
_FACE_SIZE = 64


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """The images."""

  dataset: str = "digits"
  """utkface, or what multi-digits overlays: digits, a .npz file, or a prepared TFDS set."""
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
  def _digits(self) -> multi_digits.DigitsOptions:
    return multi_digits.DigitsOptions(**dataclasses.asdict(self))

  @property
  def _face_size(self) -> int:
    return self.image_size or _FACE_SIZE

  def identity(self, seed: int) -> dict[str, Any]:
    """What a job on them depends on; faces are the same whatever the seed."""
    if self.faces:
      return {"dataset": FACES, "image_size": self._face_size}
    return {**identity_of(self), "data_seed": seed}

  def describe(self, skipped: int) -> str:
    """For the title of a table."""
    if self.faces:
      return f"UTKFace at {self._face_size} px, {skipped} file(s) skipped"
    return self._digits.describe()

  def load(self, seed: int) -> Loaded:
    """The images, multi-digits overlaid by a seed."""
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
