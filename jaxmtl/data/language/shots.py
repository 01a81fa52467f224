"""Images of ImageNet's classes, a few of each."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Literal

import numpy as np

from jaxmtl.data.language.entries import Entry, read_json
from jaxmtl.data.language.question_sets import texts_of

_SETS = {"train": "imagenet_train", "test": "imagenet"}


@dataclasses.dataclass(frozen=True)
class ClassSet:
  """Images and the class of each.

  Attributes:
    names: '<set>/<wnid>/<file>', by which experts' labels are found, too.
    paths: of the files.
    labels: numbers of their classes, int32.
    classes: names of all classes.
  """

  names: tuple[str, ...]
  paths: tuple[pathlib.Path, ...]
  labels: np.ndarray
  classes: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.names)


def read_imagenet(
  data_dir: str | os.PathLike,
  part: Literal["train", "test"] = "train",
  *,
  shots: int | None = None,
) -> ClassSet:
  r"""ImageNet to train or to test on, the first images of each class by their names.

  Args:
    data_dir: with `imagenet_train/<wnid>/*.JPEG`, `imagenet/<wnid>/*.JPEG`, and in `imagenet`
      `imagenet_answer.json` (a list of names) and `imagenet_class.json` (the number of each wnid in
      that list).
    part: which.
    shots: most images of a class; all where None.

  Returns:
    The `ClassSet`.

  Raises:
    FileNotFoundError: naming it, if a file is not there, or a class has no image.
    ValueError: naming it, if a file or folder does not fit, or a class has fewer images than
      `shots`.

  Example:
    >>> import json, pathlib, tempfile
    >>> from jaxmtl.data.language import read_imagenet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   root = pathlib.Path(folder)
    ...   for name in ("imagenet_train/n01/b.JPEG", "imagenet_train/n01/a.JPEG"):
    ...     (root / name).parent.mkdir(parents=True, exist_ok=True)
    ...     (root / name).touch()
    ...   (root / "imagenet").mkdir()
    ...   _ = (root / "imagenet/imagenet_answer.json").write_text('["Tench"]')
    ...   _ = (root / "imagenet/imagenet_class.json").write_text('{"n01": 0}')
    ...   found = read_imagenet(root, shots=1)
    >>> found.names, found.classes, found.labels.tolist()
    (('imagenet_train/n01/a.JPEG',), ('Tench',), [0])
  """
  root = pathlib.Path(data_dir).expanduser()
  if part not in _SETS:
    raise ValueError(f"part must be train or test, got {part!r}.")
  if shots is not None and shots < 1:
    raise ValueError(f"shots must be at least 1, got {shots}.")
  classes = texts_of(root / "imagenet" / "imagenet_answer.json", "a list of the classes' names")
  file = root / "imagenet" / "imagenet_class.json"
  numbers = Entry(file, 0, read_json(file, dict, "the number of each wnid"))
  home = root / _SETS[part]
  folders = sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
  # The list of classes lies among the images to test on, and is no folder.
  if not folders:
    raise FileNotFoundError(f"there is no folder {str(home / '<wnid>')!r}.")
  names: list[str] = []
  labels: list[int] = []
  for folder in folders:
    if folder.name not in numbers:
      raise ValueError(f"{file.name} has no class {folder.name!r}, but there is {str(folder)!r}.")
    label = numbers.number(folder.name)
    if not 0 <= label < len(classes):
      raise ValueError(
        f"{file.name}: {folder.name!r} must be from 0 to {len(classes) - 1}, got {label}."
      )
    images = sorted(folder.glob("*.JPEG"))
    if not images:
      raise FileNotFoundError(f"{str(folder)!r} has no image *.JPEG.")
    if shots is not None and len(images) < shots:
      raise ValueError(f"{str(folder)!r} has {len(images)} images, fewer than shots={shots}.")
    names += [f"{home.name}/{folder.name}/{image.name}" for image in images[:shots]]
    labels += [label] * len(images[:shots])
  paths = tuple(root / name for name in names)
  return ClassSet(tuple(names), paths, np.array(labels, np.int32), classes)
