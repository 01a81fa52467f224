"""UTKFace, faces whose file names carry age, gender and ethnicity, as three tasks."""

import os
from typing import NamedTuple

import numpy as np

from jaxmtl.data.dataset import TaskImages
from jaxmtl.data.folders import data_folder
from jaxmtl.data.image_files import Form, ImageFiles, find_images
from jaxmtl.data.splits import stratified_split

AGES = ("0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60+")
UTKFACE_CLASSES = {
  "age": AGES,
  "gender": ("male", "female"),
  "ethnicity": ("White", "Black", "Asian", "Indian", "other"),
}
_OLDEST = 120


class FaceSplits(NamedTuple):
  """The parts of UTKFace: a `TaskSplits`, and what was left out.

  Attributes:
    train: what is learned from.
    validation: what choices are made on, or None if nothing is held out.
    test: what is reported on, and never chosen on.
    num_classes: number of classes by task.
    skipped: names of image files that do not tell all three labels.
  """

  train: TaskImages
  validation: TaskImages | None
  test: TaskImages
  num_classes: dict[str, int]
  skipped: tuple[str, ...]


def load_utkface(
  data_dir: str | os.PathLike | None,
  *,
  image_size: int = 64,
  validation: float = 0.1,
  test: float = 0.2,
  seed: int = 0,
) -> FaceSplits:
  """Load the faces under a folder, with the tasks age (7 bins), gender (2) and ethnicity (5).

  A file's name is `<age>_<gender>_<ethnicity>_<date and time>.jpg.chip.jpg`; ages are binned as
  0-9, 10-19, ... 50-59, 60+. The published set has a few names without one of the numbers: such
  files are skipped, and named in the result. There is no published split; here it is stratified by
  the age bin.

  Args:
    data_dir: folder with the images of the aligned and cropped faces, at any depth. None: the
      folder `utkface` where TFDS keeps its data.
    image_size: side in pixels: the shorter side is scaled, then the centre is cut out.
    validation: share of all faces to hold out, `0 <= validation`; 0 for none.
    test: share of all faces that is the test part, `0 < test`; it never depends on `seed`.
    seed: seed of what is held out for validation.

  Returns:
    The `FaceSplits`, images uint8 `[num_examples, image_size, image_size, 3]`.

  Raises:
    FileNotFoundError: if no file's name there tells the labels.
    ValueError: if an option is out of range, shares leave a part without examples, or an image
      cannot be read, naming it.

  Reference:
    Zhang, Song and Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder", 2017;
    the tasks as in Shin, Do and Son, "Learning Representation for Multitask Learning through
    Self-Supervised Auxiliary Learning", 2024, section 4.2.
  """
  if not (validation >= 0 and test > 0 and validation + test < 1):
    raise ValueError(
      f"validation and test must leave something to train on, got {validation} and {test}."
    )
  if image_size < 1:
    raise ValueError(f"image_size must be at least 1 pixel, got {image_size}.")
  folder = data_folder(data_dir, "utkface")
  paths = find_images(folder)
  labelled = [(path, told) for path in paths if (told := _labels(path.name)) is not None]
  if not labelled:
    raise FileNotFoundError(
      f"data_dir {str(folder)!r} has no faces of UTKFace ({len(paths)} other images); it must hold "
      "the aligned and cropped ones, named <age>_<gender>_<ethnicity>_<date>.jpg.chip.jpg, at any "
      "depth (https://susanqq.github.io/UTKFace)."
    )
  images = ImageFiles([path for path, _ in labelled], {}, Form(3, image_size)).load()["image"]
  labels = np.array([values for _, values in labelled], np.int32)

  def part(rows: np.ndarray) -> TaskImages:
    # Names sort by age; shuffled, the first images of a part are like all others.
    rows = np.random.default_rng(0).permutation(rows)
    return TaskImages(images[rows], dict(zip(UTKFACE_CLASSES, labels[rows].T, strict=True)))

  rows, test_rows = stratified_split(labels[:, 0], test)
  held_out = None
  if validation:
    kept, chosen = stratified_split(labels[rows, 0], validation / (1 - test), seed)
    held_out, rows = part(rows[chosen]), rows[kept]
  read = {path for path, _ in labelled}
  skipped = tuple(path.name for path in paths if path not in read)
  sizes = {task: len(names) for task, names in UTKFACE_CLASSES.items()}
  return FaceSplits(part(rows), held_out, part(test_rows), sizes, skipped)


def _labels(name: str) -> tuple[int, int, int] | None:
  """Age bin, gender and ethnicity, or None where a name does not tell them."""
  parts = name.split("_")
  if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts[:3]):
    return None
  age, gender, ethnicity = map(int, parts[:3])
  genders, ethnicities = UTKFACE_CLASSES["gender"], UTKFACE_CLASSES["ethnicity"]
  if age > _OLDEST or gender >= len(genders) or ethnicity >= len(ethnicities):
    return None
  return min(age // 10, len(AGES) - 1), gender, ethnicity
