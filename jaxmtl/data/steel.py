"""The Advanced Steel Property data set: micrographs of six steels, and their hardness."""

from __future__ import annotations

import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.data.folders import data_folder
from jaxmtl.data.image_files import Form, read_image
from jaxmtl.data.properties import PropertyImages, PropertySplits

if TYPE_CHECKING:
  import openpyxl
  import sklearn.model_selection as model_selection
else:
  openpyxl = Optional("openpyxl", "data", __name__)
  model_selection = Optional("sklearn.model_selection", "data", __name__)

_PARTS = ("trainset", "validset", "testset")
_COLUMNS = ("Filename", "class label", "regression label")
_TILE = re.compile(r"_+\d+_\d+$")
# As published: five parts for training, one for validation, one for test.
_FOLDS = 7
# In HV; diamond has about 10,000.
_HARDEST = 1e4
_LAYOUT = (
  "it must hold the published folders 'trainset', 'validset' and 'testset', each with one folder a "
  "class, '<class>/<file>', and the tables 'trainset.xlsx', 'validset.xlsx' and 'testset.xlsx'"
)


class _Tile(NamedTuple):
  """One row of a table: a tile of a micrograph."""

  path: pathlib.Path
  label: int
  hardness: float

  @property
  def micrograph(self) -> str:
    """What it was cut from: the file name up to the tile's row and column."""
    return _TILE.sub("", self.path.stem)


def load_steel(
  data_dir: str | os.PathLike | None,
  *,
  image_size: int | None = None,
  split: Literal["published", "grouped"] = "published",
  seed: int = 0,
) -> PropertySplits:
  """Load the Advanced Steel Property data set in its published layout.

  Micrographs were cut into tiles, all of which have the micrograph's hardness. In the published
  split, 99 % of the validation tiles and 9 % of the test tiles come from a micrograph that is also
  in training; the grouped split puts all tiles of a micrograph into the same part.

  Args:
    data_dir: folder with `trainset/<class>/<file>` and `trainset.xlsx`, likewise `validset` and
      `testset`. None: the folder `steel` where TFDS keeps its data.
    image_size: side in pixels to which images are brought; None keeps the size.
    split: `published`, or `grouped` by micrograph: a seventh of the tiles, as nearly as
      micrographs allow and stratified by class, for test, another for validation.
    seed: seed of the grouped split, by which its test part is drawn too.

  Returns:
    The `PropertySplits`, hardness in HV, classes in the order of their numbers.

  Raises:
    FileNotFoundError: if a folder, a table or an image is not there.
    ValueError: if an option is out of range, or a table and the images do not fit together.

  Example:
    >>> splits = load_steel("data/steel", image_size=96, split="grouped")  # doctest: +SKIP

  Reference:
    Kini et al., "FastCAR: Fast Classification And Regression Multi-Task Learning via Task
    Consolidation for Modelling a Continuous Property Variable of Object Classes", 2024, section
    4.1; https://github.com/fastcandr/Advanced-Steel-Property-Dataset.
  """
  if split not in ("published", "grouped"):
    raise ValueError(f"split must be 'published' or 'grouped', got {split!r}.")
  if image_size is not None and image_size < 1:
    raise ValueError(f"image_size must be at least 1 pixel, got {image_size}.")
  folder = data_folder(data_dir, "steel")
  if not (folder / _PARTS[0]).is_dir():
    raise FileNotFoundError(f"data_dir {str(folder)!r} has no folder 'trainset'; {_LAYOUT}.")
  names = sorted((p.name for p in (folder / _PARTS[0]).iterdir() if p.is_dir()), key=_by_number)
  parts = [_read_table(folder, part, names) for part in _PARTS]
  if split == "grouped":
    parts = _by_micrograph([tile for part in parts for tile in part], seed, folder)
  train, validation, test = (_read_images(part, image_size) for part in parts)
  name = "steel" if split == "published" else "steel, grouped by micrograph"
  return PropertySplits(train, validation, test, tuple(names), "hardness (HV)", name)


def _read_table(folder: pathlib.Path, part: str, names: list[str]) -> list[_Tile]:
  """The rows of a part's table, each checked against the images, and the other way round."""
  path = folder / f"{part}.xlsx"
  if not path.is_file():
    raise FileNotFoundError(f"data_dir {str(folder)!r} has no {path.name!r}; {_LAYOUT}.")
  tiles: dict[pathlib.Path, _Tile] = {}
  for number, (file, label, hardness) in _rows(path):
    where = f"{path.name!r}, row {number}"
    if str(label) not in names:
      raise ValueError(f"{where}: class {label!r} is not known; 'trainset' has {', '.join(names)}.")
    name = pathlib.PurePath(str(file))
    if len(name.parts) != 1 or name.parts[0] == "..":
      raise ValueError(
        f"{where}: the file name must be one of the class's folder, without a path, got {file!r}."
      )
    image = folder / part / str(label) / name
    # Truth values are integers to Python.
    number = isinstance(hardness, int | float) and not isinstance(hardness, bool)
    if not number or not 0 < hardness <= _HARDEST:
      raise ValueError(
        f"{where}: the hardness of {str(file)!r} must be above 0 and at most {_HARDEST:g} HV, "
        f"a finite number, got {hardness!r}."
      )
    if image in tiles:
      raise ValueError(f"{where}: {str(file)!r} of class {label} has a row already.")
    if not image.is_file():
      raise FileNotFoundError(f"{where}: there is no image {str(image)!r}.")
    tiles[image] = _Tile(image, names.index(str(label)), float(hardness))
  if not tiles:
    raise ValueError(f"{path.name!r} has no rows.")
  found = (f for f in (folder / part).rglob("*") if f.is_file() and not f.name.startswith("."))
  if left := sorted(set(found) - set(tiles)):
    raise ValueError(
      f"{path.name!r} has no row for {len(left)} image(s), the first is {str(left[0])!r}."
    )
  return [tiles[image] for image in sorted(tiles)]


def _rows(path: pathlib.Path) -> Iterator[tuple[int, tuple[Any, ...]]]:
  """Number and cells of every row that is not empty; the published table ends in empty ones."""
  try:
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f"{path.name!r} is no table of Excel's that can be read: {error}.") from None
  try:
    rows: Iterator[tuple[Any, ...]] = book.active.values
    header = [str(cell) for cell in next(rows, ())]
    places = [i for column in _COLUMNS for i, cell in enumerate(header) if cell.startswith(column)]
    if len(places) != len(_COLUMNS):
      raise ValueError(
        f"{path.name!r} must have one column each that starts with {', '.join(_COLUMNS)}, got "
        f"{header}."
      )
    for number, row in enumerate(rows, start=2):
      if any(cell is not None for cell in row):
        yield number, tuple(row[i] for i in places)
  finally:
    book.close()


def _by_micrograph(tiles: list[_Tile], seed: int, folder: pathlib.Path) -> list[list[_Tile]]:
  """Train, validation and test parts that share no micrograph."""
  groups = [f"{tile.label}/{tile.micrograph}" for tile in tiles]
  classes = np.array([tile.label for tile in tiles])
  fewest = np.bincount([int(group.partition("/")[0]) for group in set(groups)]).min()
  if fewest < _FOLDS:
    raise ValueError(
      f"split='grouped' needs at least {_FOLDS} micrographs of every class, one class in "
      f"{str(folder)!r} has {fewest}; use split='published'."
    )
  folds = model_selection.StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed).split(
    np.zeros(len(tiles)), classes, groups
  )
  test, validation = (set(rows.tolist()) for _, rows in list(folds)[:2])
  train = set(range(len(tiles))) - test - validation
  return [[tiles[i] for i in sorted(rows)] for rows in (train, validation, test)]


def _read_images(tiles: list[_Tile], size: int | None) -> PropertyImages:
  images = [read_image(tile.path, Form(3, size)) for tile in tiles]
  if shapes := sorted({image.shape for image in images} - {images[0].shape}):
    raise ValueError(
      f"images differ in size, {images[0].shape} and {shapes[0]}; choose an image_size."
    )
  return PropertyImages(
    np.stack(images),
    np.array([tile.label for tile in tiles]),
    np.array([tile.hardness for tile in tiles]),
  )


def _by_number(name: str) -> tuple[int, str]:
  return (int(name), name) if name.isdigit() else (10**9, name)
