"""Images of one's own by the path of a table or a folder, in three parts."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from jaxmtl.data.image_files import ImageFiles, common_form
from jaxmtl.data.image_folder import read_image_folder
from jaxmtl.data.manifest import MANIFEST_SUFFIXES, read_manifest


class FileSplits(NamedTuple):
  """The parts of a data set of image files.

  Attributes:
    train: what is learned from.
    validation: what choices are made on, or None if nothing is held out.
    test: what is reported on, and never chosen on.
    classes: by task: names of the classes, labels being int32, -1 where missing; none for numbers,
      float64, NaN where missing.
    fingerprint: what tells it from other data sets.
  """

  train: ImageFiles
  validation: ImageFiles | None
  test: ImageFiles
  classes: dict[str, tuple[str, ...]]
  fingerprint: str


def load_files(
  path: str | os.PathLike,
  *,
  tasks: Sequence[str] = (),
  regression: Sequence[str] = (),
  classification: Sequence[str] = (),
  image_size: int | None = None,
  seed: int = 0,
) -> FileSplits:
  r"""Open images of one's own: a folder with a sub-folder a class, or a table with a column a task.

  The heads of all files are looked at here; pixels are read where an example is asked for, or all
  at once by `ImageFiles.load`. Images have one channel where none of them has colours, else 3;
  16 bits are scaled to 8; transparent pixels are refused; photographs are turned as their EXIF data
  say.

  Args:
    path: see `read_image_folder` and `read_manifest`.
    tasks: which columns to take; all where none is named.
    regression: columns of integers that are numbers, not classes.
    classification: columns of numbers that are classes all the same.
    image_size: side in pixels: the shorter side is scaled, then the centre is cut out. None keeps
      the size; needed where images differ in size.
    seed: of what is held out for validation, where the data set has no parts of its own: 60, 20 and
      20 %, stratified by the first task with classes. The test part never depends on it.

  Returns:
    The `FileSplits`.

  Raises:
    FileNotFoundError: if table, folder or an image is not there; it names the row.
    ValueError: if something does not fit; it names file and row.

  Example:
    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   table = pathlib.Path(folder) / "labels.csv"
    ...   rows = ["path,kind,age"]
    ...   for i in range(10):
    ...     Image.new("RGB", (30, 20)).save(f"{folder}/{i}.png")
    ...     rows.append(f"{i}.png,{('cat', 'dog')[i % 2]},{i / 2}")
    ...   _ = table.write_text("\n".join(rows))
    ...   splits = load_files(table, image_size=16)
    ...   arrays = splits.train.load()
    >>> arrays["image"].shape, splits.classes
    ((6, 16, 16, 3), {'kind': ('cat', 'dog'), 'age': ()})
  """
  file = pathlib.Path(path).expanduser()
  if file.suffix.lower() in MANIFEST_SUFFIXES:
    files = read_manifest(file, tasks=tasks, regression=regression, classification=classification)
  elif file.is_file():
    raise ValueError(
      f"{str(path)!r} is no folder, and a table must end in {', '.join(MANIFEST_SUFFIXES)}."
    )
  else:
    files = read_image_folder(file)
    known = ", ".join(files.labels)
    if unknown := [t for t in (*tasks, *regression, *classification) if t not in files.labels]:
      raise ValueError(f"an image folder has the task {known}, got {unknown[0]!r}.")
    if regression:
      raise ValueError(f"the task {known} of an image folder has classes; numbers need a table.")
  try:
    indices = files.split(seed)
  except ValueError as error:
    raise ValueError(f"{str(path)!r}: {error}") from None
  paths = files.paths
  form = common_form(paths, files.rows, image_size)

  def part(name: str) -> ImageFiles | None:
    if name not in indices:
      return None
    rows = indices[name]
    labels = {task: values[rows] for task, values in files.labels.items()}
    return ImageFiles([paths[i] for i in rows], labels, form, [files.rows[i] for i in rows])

  train, validation, test = map(part, ("train", "validation", "test"))
  assert train is not None
  assert test is not None
  return FileSplits(train, validation, test, files.classes, files.fingerprint())
