"""Images with label maps in files: a source that reads one example when it is asked for."""

from __future__ import annotations

import copy
import hashlib
import operator
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmtl.data.image_files import by_threads
from jaxmtl.data.map_files import resized, size_of


class MapFiles(NamedTuple):
  """The files of one map, such as depth, of all examples.

  Attributes:
    kind: `image`, `label`, `depth`, `disparity` or `normal`.
    paths: one an example.
    read: what makes an array of a file; with pickle it goes to other processes.
    coloured: whether classes are told by colours.
  """

  kind: str
  paths: tuple[pathlib.Path, ...]
  read: Callable[[pathlib.Path], np.ndarray]
  coloured: bool = False


class DenseFiles:
  """Images and label maps in files: a source of examples, of which only what is asked for is read.

  `data.batches` takes it, and its processes too: it holds names of files alone.

  Args:
    maps: by name, one of them `image`.
    size: height and width to which all are brought, or None where they keep their own: images
      smoothly, all else by the nearest pixel.
    pad_to: height and width to which all are at least padded instead, on the right and at the
      bottom, and at least to the largest of them: images by reflection, labels and disparity with
      -1, all else with 0. Examples then have `size`, int32 `[2]`, their own height and width.

  Raises:
    ValueError: naming the file, if a header says that it cannot be what it should, or that maps of
      one example have other sizes, or images without `size` or `pad_to`.

  Example:
    >>> import tempfile
    >>> from jaxmtl.data import read_nyuv2, rooms, write_nyuv2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for part in ("train", "val"):
    ...     write_nyuv2(folder, part, rooms(2, (12, 16)))
    ...   files = read_nyuv2(folder).train
    ...   example = files[1]
    >>> len(files), {name: values.shape for name, values in example.items()}
    (2, {'image': (12, 16, 3), 'segmentation': (12, 16), 'depth': (12, 16, 1),
         'normal': (12, 16, 3)})
  """

  def __init__(
    self,
    maps: Mapping[str, MapFiles],
    size: tuple[int, int] | None = None,
    *,
    pad_to: tuple[int, int] | None = None,
  ):
    self.maps = dict(maps)
    if size is not None and pad_to is not None:
      raise ValueError(f"size is {size} and pad_to {pad_to}; give one of both.")
    sizes = _scanned(self.maps)
    self._sizes = None if pad_to is None else np.array(sizes, np.int32)
    if pad_to is not None:
      height, width = (max(sides) for sides in zip(pad_to, *sizes, strict=True))
      self.size = height, width
    else:
      self.size = size or _one_size(self.maps["image"].paths, sizes)

  def __len__(self) -> int:
    return len(self.maps["image"].paths)

  def __getitem__(self, index: Any) -> dict[str, np.ndarray]:
    i = operator.index(index)
    found = {name: self._read(one, i) for name, one in self.maps.items()}
    return found if self._sizes is None else found | {"size": self._sizes[i]}

  def __getitems__(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Several examples, read by threads."""
    return by_threads(self.__getitem__, indices)

  def _read(self, one: MapFiles, i: int) -> np.ndarray:
    values = one.read(one.paths[i])
    if values.shape[:2] == self.size:
      return values
    return (resized if self._sizes is None else _padded)(values, self.size, one.kind)

  def subset(self, indices: Sequence[int] | np.ndarray) -> DenseFiles:
    """Some of the examples, in this order."""
    rows = [operator.index(i) for i in indices]
    found = self._with(
      {
        name: one._replace(paths=tuple(one.paths[i] for i in rows))
        for name, one in self.maps.items()
      }
    )
    if self._sizes is not None:
      found._sizes = self._sizes[rows]
    return found

  def only(self, *names: str) -> DenseFiles:
    """The same examples with the image and some of the maps; no other is read."""
    if unknown := [name for name in names if name not in self.maps]:
      raise ValueError(f"maps are {', '.join(self.maps)}, got {unknown[0]!r}.")
    return self._with({name: self.maps[name] for name in self.maps if name in ("image", *names)})

  def _with(self, maps: dict[str, MapFiles]) -> DenseFiles:
    # Headers were looked at already.
    other = copy.copy(self)
    other.maps = maps
    return other

  def load(self) -> dict[str, np.ndarray]:
    """All in memory, by name `[num_examples, H, W, ...]`; for sets that are small."""
    found: dict[str, np.ndarray] = {}
    # In portions, so that examples are not in memory twice.
    for begin in range(0, len(self), 64):
      rows = range(begin, min(begin + 64, len(self)))
      for row, example in zip(rows, self.__getitems__(rows), strict=True):
        for name, values in example.items():
          if name not in found:
            found[name] = np.empty((len(self), *values.shape), values.dtype)
          found[name][row] = values
    return found

  def fingerprint(self) -> str:
    """What tells this set from others: labels, names and sizes of files; not where they lie."""
    digest = hashlib.sha256(repr(self.size).encode())
    for name, one in self.maps.items():
      digest.update(f"{name}\n".encode())
      for path in one.paths:
        digest.update(f"{path.name}\0{path.stat().st_size}\n".encode())
        if one.kind == "label":  # small files, and the ones that are corrected
          digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class DenseSplits(NamedTuple):
  """The parts of a data set of images with label maps.

  Attributes:
    train: what is learned from.
    val: what the folder has as `val`, or None; several papers report on it, for want of a test
      part.
    test: what the folder has as `test`, or None.
    classes: names of the classes by map of labels.
  """

  train: DenseFiles
  val: DenseFiles | None
  test: DenseFiles | None
  classes: dict[str, tuple[str, ...]]


def find(folder: pathlib.Path, suffixes: Sequence[str], whose: str) -> dict[str, pathlib.Path]:
  """Files of a folder by stem, numbers in their order; hidden ones apart.

  Args:
    folder: to look into.
    suffixes: in lower case, that count.
    whose: what the folder should belong to, for messages.

  Raises:
    FileNotFoundError: if the folder is not there.
    ValueError: naming it, if it has no such file, or two of one stem.
  """
  if not folder.is_dir():
    raise FileNotFoundError(f"there is no folder {str(folder)!r}, which {whose} has.")
  files = [p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()]
  found: dict[str, pathlib.Path] = {}
  for path in sorted((p for p in files if p.suffix.lower() in suffixes), key=_order):
    if path.stem in found:
      raise ValueError(
        f"{str(folder)!r} has both {found[path.stem].name!r} and {path.name!r}; remove one of them."
      )
    found[path.stem] = path
  if not found:
    other = f"but {min(p.name for p in files)!r}" if files else "and is empty"
    raise ValueError(
      f"{str(folder)!r} has no file ending in {', '.join(suffixes)}, as {whose} has them, {other}."
    )
  return found


def matched(
  images: Mapping[str, pathlib.Path], folder: pathlib.Path, suffixes: Sequence[str], whose: str
) -> tuple[pathlib.Path, ...]:
  """The file of a folder for each image, by stem; files without an image are left out.

  Args:
    images: by stem, as `find` gives them.
    folder: of the other files.
    suffixes: as of `find`.
    whose: as of `find`.

  Raises:
    FileNotFoundError: naming the first image without a file, or the folder.
    ValueError: as `find` does.
  """
  found = find(folder, suffixes, whose)
  if missing := [stem for stem in images if stem not in found]:
    raise FileNotFoundError(
      f"there is no {str(folder / (missing[0] + suffixes[0]))!r} for the image "
      f"{str(images[missing[0]])!r} (of {len(images)} images {len(missing)} lack one); add it, or "
      "remove the image."
    )
  return tuple(found[stem] for stem in images)


def refuse_other_set(folder: pathlib.Path, reader: str, needed: Sequence[str], layout: str) -> None:
  """Raises FileNotFoundError, saying whose layout a folder has, where it has not the reader's.

  Args:
    folder: that was given.
    reader: for which it was.
    needed: folders within it that only this reader's sets have.
    layout: how it should look, for the message.
  """
  missing = [name for name in needed if not (folder / name).is_dir()]
  if not missing:
    return
  if not folder.is_dir():
    raise FileNotFoundError(f"there is no folder {str(folder)!r}.")
  marks = {
    "read_nyuv2": "train/label",
    "read_cityscapes": "train/seg",
    "read_camvid": "trainannot",
    "read_dense_folder": "images/train",
    "read_pascal_voc": "SegmentationClassAug",
    "read_pascal_context": "human_parts",
    "read_sun_rgbd": "sunrgbd_train_test_labels",
  }
  other = [name for name, mark in marks.items() if name != reader and (folder / mark).is_dir()]
  mend = f"it looks like one for {other[0]}" if other else f"it must hold {layout}"
  raise FileNotFoundError(f"{str(folder)!r} has no folder {missing[0]!r}; {mend}.")


def _order(path: pathlib.Path) -> tuple[int, int, str]:
  number = path.stem.isascii() and path.stem.isdigit()
  return (0, int(path.stem), path.name) if number else (1, 0, path.name)


def _padded(values: np.ndarray, size: tuple[int, int], kind: str) -> np.ndarray:
  """A map with more pixels on the right and at the bottom."""
  more = [(0, new - old) for new, old in zip(size, values.shape[:2], strict=True)]
  more += [(0, 0)] * (values.ndim - 2)
  if kind == "image":
    return np.pad(values, more, mode="reflect")
  return np.pad(values, more, constant_values=-1 if kind in ("label", "disparity") else 0)


def _scanned(maps: Mapping[str, MapFiles]) -> list[tuple[int, int]]:
  """The size of each example, by the headers of all its files."""
  images = maps["image"].paths

  def look(i: int) -> tuple[int, int]:
    own = size_of(images[i], "image")
    for name, one in maps.items():
      if one.paths[i].suffix == ".mat":
        continue  # no header says its size; its reader compares
      if (other := size_of(one.paths[i], one.kind, one.coloured)) != own:
        raise ValueError(
          f"{str(one.paths[i])!r} ({name}) is {_as_text(other)} and its image {str(images[i])!r} "
          f"{_as_text(own)}; bring them to one size."
        )
    return own

  return list(by_threads(look, range(len(images))))


def _one_size(images: Sequence[pathlib.Path], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
  if other := [i for i, found in enumerate(sizes) if found != sizes[0]]:
    raise ValueError(
      f"{str(images[other[0]])!r} is {_as_text(sizes[other[0]])} and {str(images[0])!r} "
      f"{_as_text(sizes[0])} (height x width); bring all images to one size, with image_size where "
      "the reader has it."
    )
  return sizes[0]


def _as_text(size: tuple[int, int]) -> str:
  return f"{size[0]}x{size[1]}"
