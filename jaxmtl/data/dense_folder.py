"""Folders of images and label maps of any set: matched by stem, classes named by a file."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxmtl.data.dense_files import (
  DenseFiles,
  DenseSplits,
  MapFiles,
  find,
  matched,
  refuse_other_set,
)
from jaxmtl.data.image_files import IMAGE_SUFFIXES
from jaxmtl.data.map_files import read_colours, read_depth, read_labels, read_normal, read_photo

CAMVID_CLASSES = (
  *("sky", "building", "pole", "road", "pavement", "tree"),
  *("sign", "fence", "car", "pedestrian", "bicyclist"),
)
"""The eleven classes of CamVid, in their order."""
CLASSES_FILE = "classes.json"
_LABELS = (".png", ".npy", ".bmp", ".gif", ".tif", ".tiff")
_DEPTHS = (".npy", ".png")
_PARTS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}
# Where the images, labels, depth and normals of a part are.
_BESIDE = ("{part}", "{part}annot", "{part}depth", "{part}normal")
_WITHIN = ("images/{part}", "labels/{part}", "depth/{part}", "normal/{part}")
_LAYOUT = (
  "train/ and trainannot/ (val/, valannot/, ...), or images/train/ and labels/train/ "
  "(images/val/, ...)"
)


def read_dense_folder(
  folder: str | os.PathLike,
  *,
  classes: Sequence[str] | str | os.PathLike | None = None,
  void: int | tuple[int, int, int] | None = 255,
  first_class: int = 0,
  palette: Sequence[tuple[int, int, int]] | None = None,
  image_size: tuple[int, int] | None = None,
  depth_scale: float = 0.001,
) -> DenseSplits:
  """Open images with a map of classes each, and depth and normals where there are such folders.

  Names and headers of all files are looked at here; what is in a file when its example is asked
  for. Files belong together by stem: `train/a.jpg` and `trainannot/a.png`.

  Args:
    folder: with `train`, `trainannot` and, if at all, `traindepth` and `trainnormal`, likewise for
      `val` and `test`, which may both be missing; or with `images/train`, `labels/train`,
      `depth/train` and `normal/train`, likewise. Images are photographs of any format; labels PNG
      files (or others without loss) of numbers, a palette's index being one, or of colours; depth
      PNG files of 16 bits, or `.npy` in metres; normals `.npy`, or PNG files of 8 bits a channel, 0
      to 255 being -1 to 1.
    classes: their names; or the path of a JSON file with a list of names, or an object with the
      name for each number (`{"0": "sky"}`), or the colour for each name (`{"sky": [0, 0, 255]}`).
      None: the file `classes.json` in the folder.
    void: number, or colour, of pixels without a label; None: there are none.
    first_class: number of the first class; 1 where 0 is void.
    palette: red, green and blue of each class, where maps have colours.
    image_size: height and width to which all are brought; None where they have one size.
    depth_scale: metres a unit of a PNG file of depth.

  Returns:
    The `DenseSplits`; `val` and `test` are None where there is no such folder. An example is
    `image` uint8 `[H, W, 3]`; `segmentation` int32 `[H, W]`, -1 where void; `depth` float32
    `[H, W, 1]`, metres, 0 where there is none; `normal` float32 `[H, W, 3]`, 0 where there is none.

  Raises:
    FileNotFoundError: naming it, if a file or folder is not there.
    ValueError: naming file and value, if a part is empty, sizes differ, or classes cannot be told;
      and, on reading an example, for a label that is neither a class nor void, or a number that is
      not finite.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.data import read_dense_folder, write_dense_folder
    >>> photos = {"image": np.zeros((3, 4, 6, 3), np.uint8), "segmentation": np.eye(4, 6)[None]}
    >>> photos["segmentation"] = np.repeat(photos["segmentation"].astype(int) - 1, 3, axis=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   write_dense_folder(folder, "train", photos, classes=("road",))
    ...   splits = read_dense_folder(folder)
    ...   example = splits.train[2]
    >>> example["image"].shape, np.unique(example["segmentation"]).tolist(), splits.classes
    ((4, 6, 3), [-1, 0], {'segmentation': ('road',)})
  """
  root = pathlib.Path(folder).expanduser()
  images_of, labels_of, depth_of, normal_of = _WITHIN if (root / "images").is_dir() else _BESIDE
  needed = [images_of.format(part="train"), labels_of.format(part="train")]
  refuse_other_set(root, "read_dense_folder", needed, _LAYOUT)
  if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
    raise ValueError(f"image_size must be height and width, at least 1 each, got {image_size}.")
  names, palette = _classes(root / CLASSES_FILE if classes is None else classes, palette)
  if twice := [name for name in names if names.count(name) > 1]:
    raise ValueError(f"two classes are called {twice[0]!r}; give each a name of its own.")
  read = _label_reader(names, palette, void, first_class)
  depth = functools.partial(read_depth, scale=depth_scale)
  whose = "a folder of images with label maps"

  def part(name: str) -> DenseFiles:
    at = {key: root / form.format(part=name) for key, form in forms.items()}
    images = find(at["image"], IMAGE_SUFFIXES, whose)
    labels = matched(images, at["segmentation"], _LABELS, whose)
    maps = {
      "image": MapFiles("image", tuple(images.values()), read_photo),
      "segmentation": MapFiles("label", labels, read, palette is not None),
    }
    for key, reader in more.items():
      maps[key] = MapFiles(key, matched(images, at[key], _DEPTHS, whose), reader)
    return DenseFiles(maps, image_size)

  forms = {
    **{"image": images_of, "segmentation": labels_of},
    **{"depth": depth_of, "normal": normal_of},
  }
  # What the training part has, the others must have too.
  readers: dict[str, Callable[[pathlib.Path], np.ndarray]] = {"depth": depth, "normal": read_normal}
  more = {k: r for k, r in readers.items() if (root / forms[k].format(part="train")).is_dir()}
  found = {
    name: next((n for n in called if (root / images_of.format(part=n)).is_dir()), None)
    for name, called in _PARTS.items()
  }
  for key, called in ((k, n) for k in readers if k not in more for n in found.values() if n):
    if (place := root / forms[key].format(part=called)).is_dir():
      raise ValueError(f"{place} has {key}, which the part train lacks; remove it, or add train's.")
  parts = {name: None if called is None else part(called) for name, called in found.items()}
  train = parts["train"]
  assert train is not None
  return DenseSplits(train, parts["val"], parts["test"], {"segmentation": names})


def read_camvid(
  folder: str | os.PathLike, *, image_size: tuple[int, int] | None = None
) -> DenseSplits:
  """Open CamVid, streets with 11 classes: 367 images to train on, 101 and 233 to measure.

  Args:
    folder: with `train`, `trainannot`, `val`, `valannot`, `test` and `testannot`.
    image_size: height and width to which all are brought; None keeps theirs.

  Returns:
    The `DenseSplits`, as of `read_dense_folder`.

  Raises:
    FileNotFoundError: naming it, if a file or folder is not there.
    ValueError: as `read_dense_folder` does.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.data import CAMVID_CLASSES, read_camvid, write_dense_folder
    >>> street = {
    ...   "image": np.zeros((2, 4, 6, 3), np.uint8), "segmentation": np.full((2, 4, 6), 10)
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for part in ("train", "val", "test"):
    ...     write_dense_folder(folder, part, street, classes=CAMVID_CLASSES, void=11)
    ...   splits = read_camvid(folder)
    >>> len(splits.test), splits.classes["segmentation"][10]
    (2, 'bicyclist')

  Reference:
    Brostow, Fauqueur and Cipolla, "Semantic Object Classes in Video: A High-Definition Ground Truth
    Database", 2009; the parts of Badrinarayanan, Kendall and Cipolla, "SegNet", 2017.
  """
  root = pathlib.Path(folder).expanduser()
  needed = [f"{part}{more}" for part in ("train", "val", "test") for more in ("", "annot")]
  refuse_other_set(root, "read_camvid", needed, "train/, trainannot/, val/, valannot/, test/ ...")
  return read_dense_folder(
    root, classes=CAMVID_CLASSES, void=len(CAMVID_CLASSES), image_size=image_size
  )


def _label_reader(
  names: tuple[str, ...],
  palette: Sequence[tuple[int, int, int]] | None,
  void: int | tuple[int, int, int] | None,
  first_class: int,
) -> Callable[[pathlib.Path], np.ndarray]:
  """What reads a label map; raises ValueError where options do not fit each other."""
  if palette is None:
    if isinstance(void, tuple):
      raise ValueError(
        f"void is the colour {void}, and classes have none; give a palette, or {CLASSES_FILE} with "
        'a colour for each name, such as {"road": [128, 64, 128]}, or void as a number.'
      )
    last = first_class + len(names) - 1
    if void is not None and first_class <= void <= last:
      raise ValueError(
        f"void is {void}, which is one of the classes {first_class} to {last} ({len(names)} names, "
        f"first_class={first_class}); leave its name out, or give another void."
      )
    return functools.partial(
      read_labels, num_classes=len(names), void=void, first_class=first_class
    )
  # The usual number of void cannot be a colour: none is known then.
  colour = void if isinstance(void, tuple) else None
  if len(palette) != len(names):
    raise ValueError(f"palette has {len(palette)} colours for {len(names)} classes; give one each.")
  colours = [tuple(map(int, c)) for c in (*palette, *([] if colour is None else [colour]))]
  if twice := [c for c in colours if colours.count(c) > 1]:
    raise ValueError(f"the colour {twice[0]} stands for two classes, or void; give each its own.")
  return functools.partial(read_colours, palette=tuple(palette), void=colour)


def _classes(
  classes: Any, palette: Sequence[tuple[int, int, int]] | None
) -> tuple[tuple[str, ...], Sequence[tuple[int, int, int]] | None]:
  """Names and colours, of a list or a file."""
  if not isinstance(classes, str | os.PathLike):
    names = tuple(map(str, classes))
    if not names:
      raise ValueError("classes must be at least one, got none.")
    return names, palette
  path = pathlib.Path(classes).expanduser()
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise FileNotFoundError(
      f"there is no {str(path)!r} with the names of the classes; write one, such as "
      '["road", "sky"], or give classes.'
    ) from None
  except ValueError as error:
    raise ValueError(f"{str(path)!r} is no JSON file: {error}.") from None
  if isinstance(found, list) and found and all(isinstance(name, str) for name in found):
    return tuple(found), palette
  if isinstance(found, dict) and found:
    if all(isinstance(v, list) and len(v) == 3 for v in found.values()):
      return tuple(found), palette or [tuple(v) for v in found.values()]
    if set(found) == set(map(str, range(len(found)))):
      return tuple(str(found[str(i)]) for i in range(len(found))), palette
  raise ValueError(
    f"{str(path)!r} has {str(found)[:60]}, where names of classes are: a list of them, an object "
    "with a name for each number from 0, or one with a colour for each name."
  )
