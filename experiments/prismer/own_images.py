"""Images of one's own, with experts' labels where there are some: read in batches, faults kept."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.runner.mesh import say, warnings_said
from jaxmtl import data
from jaxmtl.data import experts as labels


class Fault(NamedTuple):
  """An image that could not be read, and why."""

  path: pathlib.Path
  error: str


def find(given: Sequence[str]) -> list[tuple[str, pathlib.Path]]:
  """Names, '<folder>/<image>' by which labels are found, and paths of all images.

  Args:
    given: files, or folders, of which all images at any depth are taken.

  Raises:
    FileNotFoundError: naming what is not there, or a folder without images.
  """
  found: dict[pathlib.Path, str] = {}
  for one in given:
    path = pathlib.Path(one).expanduser()
    if path.is_dir():
      images = data.find_images(path)
      if not images:
        raise FileNotFoundError(f"images: there is no image in {path}.")
      name = path.resolve().name
      found |= {image: f"{name}/{image.relative_to(path).as_posix()}" for image in images}
    elif path.is_file():
      found[path] = f"{path.resolve().parent.name}/{path.name}"
    else:
      raise FileNotFoundError(f"images: there is no {path}.")
  if not found:
    raise ValueError("images must name at least one file or folder, got none.")
  return [(name, path) for path, name in found.items()]


def read(
  images: Sequence[tuple[str, pathlib.Path]],
  folder: str | None,
  experts: Sequence[str],
  side: int,
  batch_size: int,
  tables: Mapping[str, np.ndarray] | None = None,
) -> Iterator[tuple[list[int], dict[str, np.ndarray], list[Fault]]]:
  """Batches of one size, the last filled up with its first image.

  Args:
    images: names and paths.
    folder: of the labels, or None.
    experts: whose labels the network was trained with.
    side: height and width of what is read.
    batch_size: images at a time.
    tables: features of classes by expert; an image whose labels have others could not be read.

  Yields:
    Numbers of the images of the batch, the batch, and images that could not be read since the last;
    of the last batch perhaps these alone.
  """
  wanted = tuple(experts) if folder is not None else ()
  names, paths = [name for name, _ in images], [path for _, path in images]
  with warnings_said():
    files = labels.ExpertFiles(names, paths, folder, wanted, side=side, tables=tables)
  if experts and not wanted:
    say(
      f"Note: the network was trained with labels of {', '.join(experts)}; without any (--labels) "
      "it is less accurate."
    )
  batch_size = min(batch_size, len(images))
  rows: list[int] = []
  examples: list[dict[str, np.ndarray]] = []
  faults: list[Fault] = []
  for i in range(len(images)):
    try:
      examples.append(files[i])
      rows.append(i)
    except (OSError, ValueError) as error:
      faults.append(Fault(paths[i], str(error)))
    if len(rows) == batch_size or (i == len(images) - 1 and (rows or faults)):
      filled = examples + examples[:1] * (batch_size - len(examples))
      batch: dict[str, Any] = {}
      if rows:
        batch = {name: np.stack([one[name] for one in filled]) for name in filled[0]}
      yield rows, batch, faults
      rows, examples, faults = [], [], []


def tell(faults: Sequence[Fault], what: str) -> None:
  """Lists what could not be done, and why.

  Raises:
    SystemExit: with code 1, where there is any.
  """
  if faults:
    say(f"{len(faults)} image(s) {what}:")
    for fault in faults:
      say(f"  {fault.path}: {fault.error}")
    raise SystemExit(1)
