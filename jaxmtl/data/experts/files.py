"""Images with the labels that experts left in files: read one by one, or all at once."""

from __future__ import annotations

import hashlib
import json
import operator
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.data.experts.features import check_classes
from jaxmtl.data.experts.layout import (
  BACKGROUND,
  IMAGE,
  KINDS,
  check_apart,
  check_names,
  label_path,
  side_key,
)
from jaxmtl.data.experts.side_files import CHANNELS, MOST, NO_CLASS, read_classes, read_words
from jaxmtl.data.image_files import Form, by_threads, naming, read_image
from jaxmtl.data.map_files import resized

if TYPE_CHECKING:
  from PIL import Image
else:
  Image = Optional("PIL.Image", "data", __name__)


class ExpertFiles:
  """Images and experts' labels in the published layout: a source of examples.

  Labels lie in `<labels>/<expert>/<set>/<image>.png`, 8 bits, of the image's size; classes of
  objects and features of words beside them. A label file of no bytes says that there is nothing:
  zeros, or 255 in classes, objects and words. (The published program takes an empty segmentation
  for class 0, persons.)

  All examples have one shape: what is larger than `side` is made smaller, images smoothly and
  labels by the nearest pixel; the rest of the square is filled, on the right and at the bottom.

  Args:
    names: of the images, `<set>/<image>`, by which labels are found; as often as one likes.
    paths: of their files.
    labels: folder of the experts; None where none is wanted.
    experts: names of the labels that are wanted. One that lacks the folder of a set is left out,
      with a warning.
    side: height and width of the examples, in pixels.
    tables: features of classes by expert, as of `model_inputs`; a label with a class that they do
      not have is then an error.

  Attributes:
    experts: names of those that are there.

  Raises:
    FileNotFoundError: if there is no folder of labels.
    ValueError: if there is no image, two would share their labels, or an expert is not known.

  Example:
    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> from jaxmtl.data import experts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   home = pathlib.Path(folder)
    ...   (home / "labels/depth/vg").mkdir(parents=True)
    ...   Image.new("RGB", (30, 20), "red").save(home / "a.jpg")
    ...   Image.new("L", (30, 20), 7).save(home / "labels/depth/vg/a.png")
    ...   files = experts.ExpertFiles(
    ...     ["vg/a.jpg"], [home / "a.jpg"], home / "labels", ["depth"], side=24
    ...   )
    ...   example = files[0]
    >>> {name: values.shape for name, values in example.items()}
    {'rgb': (24, 24, 3), 'size': (2,), 'depth': (24, 24, 1)}
    >>> example["size"].tolist()
    [16, 24]

  Reference: Liu, "Converging Pathways", 2024, section 6.3, and its program.
  """

  def __init__(
    self,
    names: Sequence[str],
    paths: Sequence[str | os.PathLike],
    labels: str | os.PathLike | None = None,
    experts: Sequence[str] = (),
    *,
    side: int = 256,
    tables: Mapping[str, np.ndarray] | None = None,
  ):
    self._names, self._side, self._tables = tuple(names), side, dict(tables or {})
    self._paths = tuple(pathlib.Path(path) for path in paths)
    if side < 1:
      raise ValueError(f"side must be at least 1 pixel, got {side}.")
    if not self._names or len(self._names) != len(self._paths):
      raise ValueError(
        f"names and paths must be as many, at least one, got {len(self._names)} and"
        f" {len(self._paths)}."
      )
    check_apart(self._names)
    wanted = check_names(experts)
    if wanted and labels is None:
      raise ValueError(f"labels must name the folder of {', '.join(wanted)}; it is None.")
    self._labels = pathlib.Path(labels or ".").expanduser()
    if wanted and not self._labels.is_dir():
      raise FileNotFoundError(f"labels: there is no folder {self._labels}.")
    sets = sorted({name.partition("/")[0] for name in self._names})
    folders = {name: [self._labels / name / part for part in sets] for name in wanted}
    lacking = {
      name: missing
      for name, found in folders.items()
      if (missing := [folder for folder in found if not folder.is_dir()])
    }
    self.experts = tuple(name for name in wanted if name not in lacking)
    if lacking:
      example = next(iter(lacking.values()))[0]
      warnings.warn(
        f"labels of {', '.join(lacking)} are left out: there is no {example}. A network that was"
        " trained with them is less accurate without.",
        stacklevel=2,
      )

  def __len__(self) -> int:
    return len(self._names)

  def __getitem__(self, index: Any) -> dict[str, np.ndarray]:
    """An example: uint8 maps `[side, side, C]` by name, `size` int32 `[2]`, and side tables.

    Raises:
      FileNotFoundError: naming a file that is missing.
      ValueError: naming a file that is damaged, of another size than the image, or with a class
        that `tables` do not have.
    """
    i = operator.index(index)
    image = read_image(self._paths[i], Form(3, None))
    full = image.shape[:2]
    scale = min(1, self._side / max(full))
    height, width = (max(1, min(self._side, round(extent * scale))) for extent in full)
    size = height, width
    if size != full:
      pil = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
      image = np.asarray(pil)
    found = {IMAGE: self._square(image, 0), "size": np.array(size, np.int32)}
    for expert in self.experts:
      kind = KINDS[expert]
      path = label_path(self._labels, expert, self._names[i])
      label = _read_label(path, kind.channels, full)
      empty = label is None
      if label is None:
        label = np.full((*full, kind.channels), kind.fill, np.uint8)
      if kind.side:
        label, found[side_key(expert)] = _with_table(path, kind.side, label, empty)
      if size != full:
        label = resized(label, size, "label")
      found[expert] = self._square(label, kind.fill)
      if expert in self._tables:
        try:
          check_classes(found, {expert: self._tables[expert]})
        except ValueError as error:
          raise ValueError(f"{path}: {error}") from None
    return found

  def __getitems__(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Several examples, read by threads."""
    return by_threads(self.__getitem__, indices)

  def load(self) -> dict[str, np.ndarray]:
    """All in memory: what `[i]` gives, with a leading axis; tables as long as they need to be."""
    found: dict[str, np.ndarray] = {}
    # In portions, so that maps are not in memory twice.
    for first in range(0, len(self), 256):
      rows = range(first, min(first + 256, len(self)))
      examples = self.__getitems__(rows)
      for key, one in examples[0].items():
        if key not in found:
          found[key] = np.empty((len(self), *one.shape), one.dtype)
        found[key][rows.start : rows.stop] = [example[key] for example in examples]
    return shortened(found)

  def fingerprint(self) -> str:
    """What tells these files from others: names, and sizes of images and labels; all are there.

    Raises:
      FileNotFoundError: naming the first one that is not.
    """
    found: list[Any] = [self._names, self.experts, self._side]
    for name, path in dict(zip(self._names, self._paths, strict=True)).items():
      labels = [label_path(self._labels, expert, name) for expert in self.experts]
      for file in (path, *labels):
        if not file.is_file():
          raise FileNotFoundError(f"there is no file {file}, of image {name!r}.")
        found.append(file.stat().st_size)
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]

  def _square(self, values: np.ndarray, fill: int) -> np.ndarray:
    square = np.full((self._side, self._side, values.shape[-1]), fill, np.uint8)
    square[: values.shape[0], : values.shape[1]] = values
    return square


def shortened(examples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Side tables as long as the numbers of the labels ask for.

  Args:
    examples: with a leading axis, as `ExpertFiles.load` gives them.
  """
  found = dict(examples)
  for name in KINDS:
    if name in examples and KINDS[name].side:
      label = examples[name]
      count = int(label[label != BACKGROUND].max(initial=0)) + 1
      found[side_key(name)] = examples[side_key(name)][:, :count].copy()
  return found


def _read_label(path: pathlib.Path, channels: int, size: tuple[int, int]) -> np.ndarray | None:
  """Pixels uint8 `[H, W, C]`; None where the file is empty."""
  if not path.is_file():
    raise FileNotFoundError(f"there is no label {path}; write it, or leave the expert out.")
  if not path.stat().st_size:
    return None
  with naming(repr(str(path))), Image.open(path) as image:
    modes = ("RGB",) if channels == 3 else ("L", "P")
    if image.mode not in modes:
      raise ValueError(f"it is of mode {image.mode!r}, where this label has {' or '.join(modes)}")
    if image.size[::-1] != size:
      raise ValueError(
        f"it is {image.size[0]}x{image.size[1]}, and its image {size[1]}x{size[0]}, width first;"
        " labels are as large as their images"
      )
    pixels = np.asarray(image)
  return pixels.reshape(*size, channels)


def _with_table(
  path: pathlib.Path, side: str, label: np.ndarray, empty: bool
) -> tuple[np.ndarray, np.ndarray]:
  """The label, and the table of its image's numbers, in which all of them stand."""
  if side == "classes":
    table = np.full(MOST, NO_CLASS, np.int16) if empty else read_classes(path)
    known = table != NO_CLASS
  else:
    words = None if empty else read_words(path)
    if words is None:  # the published form of an image without words
      return np.full_like(label, BACKGROUND), np.zeros((MOST, CHANNELS), np.float32)
    known = np.isfinite(words).all(-1)
    table = np.where(known[:, None], words, 0)
  numbers = np.unique(label)
  numbers = numbers[numbers != BACKGROUND]
  if (unknown := numbers[~known[numbers]]).size:
    raise ValueError(f"{path} has number {unknown[0]}, of which its side file says nothing.")
  return label, table
