"""Cityscapes as the Auto-lambda paper has it on disk: classes, parts and disparity of streets."""

import functools
import os
import pathlib

import numpy as np

from jaxmtl.data.cityscapes_ids import (
  cityscapes_disparity,
  cityscapes_parts,
  cityscapes_train_ids,
)
from jaxmtl.data.dense_files import (
  DenseFiles,
  DenseSplits,
  MapFiles,
  find,
  matched,
  refuse_other_set,
)
from jaxmtl.data.map_files import read_numbers, read_photo

CITYSCAPES_CLASSES = (
  *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
  *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train"),
  *("motorcycle", "bicycle"),
)
"""The nineteen classes that are trained on, in their order."""
CITYSCAPES_PARTS = (
  *("background", "torso", "head", "arms", "legs"),
  *("windows", "wheels", "lights", "licence plate", "chassis"),
)
"""The ten classes of parts, in their order."""
_WHOSE = "Cityscapes"
_PNG, _TIFF = (".png",), (".tif", ".tiff")


def read_cityscapes(folder: str | os.PathLike, *, shrunk: int = 4) -> DenseSplits:
  """Open Cityscapes in the folders of Auto-lambda: three tasks, 2975 and 500 images at 256x512.

  Names and headers of all files are looked at here; what is in a file when its example is asked
  for.

  Args:
    folder: with `train` and `val`, each with `image` (`0.png`, ...), `seg` (PNG of Cityscapes'
      ids), `part_seg` (TIFF of panoptic-parts numbers) and `depth` (PNG of 16 bits, disparity).
    shrunk: how many times smaller the images are than the camera's, 1024x2048.

  Returns:
    The `DenseSplits`, without a test part. An example is `image` uint8 `[H, W, 3]`; `segmentation`
    int32 `[H, W]`, 19 classes, -1 where void; `part` int32 `[H, W]`, 10 classes; `disparity`
    float32 `[H, W, 1]`, pixels of the smaller image, -1 where there is none.

  Raises:
    FileNotFoundError: naming it, if a file or folder is not there.
    ValueError: naming file and value, if a part is empty, or sizes differ; and, on reading an
      example, for an id that Cityscapes does not have.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.data import read_cityscapes, write_cityscapes
    >>> street = {
    ...   "image": np.zeros((1, 4, 8, 3), np.uint8),
    ...   "segmentation": np.full((1, 4, 8), 13),
    ...   "part": np.full((1, 4, 8), 6),
    ...   "disparity": np.full((1, 4, 8, 1), 2.5),
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for part in ("train", "val"):
    ...     write_cityscapes(folder, part, street)
    ...   splits = read_cityscapes(folder)
    ...   example = splits.train[0]
    >>> [example[name].max().item() for name in ("segmentation", "part", "disparity")]
    [13, 6, 2.5]

  Reference:
    Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", 2016; de Geus et
    al., "Part-aware Panoptic Segmentation", 2021; the folders of Liu, James, Davison and Johns,
    "Auto-Lambda: Disentangling Dynamic Task Relationships", 2022.
  """
  if shrunk < 1:
    raise ValueError(f"shrunk must be at least 1, got {shrunk}; 4 is for images of 256x512.")
  root = pathlib.Path(folder).expanduser()
  needed = [f"train/{name}" for name in ("image", "seg", "part_seg", "depth")] + ["val/image"]
  layout = "train/ and val/ with image/, seg/, part_seg/ and depth/"
  refuse_other_set(root, "read_cityscapes", needed, layout)
  disparity = functools.partial(_disparity, shrunk=shrunk)

  def part(name: str) -> DenseFiles:
    images = find(root / name / "image", _PNG, _WHOSE)
    ids, parts, raw = (
      matched(images, root / name / kind, suffixes, _WHOSE)
      for kind, suffixes in (("seg", _PNG), ("part_seg", _TIFF), ("depth", _PNG))
    )
    return DenseFiles(
      {
        "image": MapFiles("image", tuple(images.values()), read_photo),
        "segmentation": MapFiles("label", ids, read_train_ids),
        "part": MapFiles("label", parts, _parts),
        "disparity": MapFiles("disparity", raw, disparity),
      }
    )

  classes = {"segmentation": CITYSCAPES_CLASSES, "part": CITYSCAPES_PARTS}
  return DenseSplits(part("train"), part("val"), None, classes)


def read_train_ids(path: pathlib.Path) -> np.ndarray:
  """A PNG file of Cityscapes' ids as the 19 classes that are trained on, -1 where void.

  Raises:
    ValueError: naming the file, for an id that Cityscapes does not have.
  """
  try:
    return cityscapes_train_ids(read_numbers(path))
  except ValueError as error:
    raise ValueError(f"{str(path)!r}: {error}") from None


def _parts(path: pathlib.Path) -> np.ndarray:
  return cityscapes_parts(read_numbers(path).astype(np.int64))


def _disparity(path: pathlib.Path, shrunk: int) -> np.ndarray:
  return cityscapes_disparity(read_numbers(path), shrunk)[..., None]
