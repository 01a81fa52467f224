"""Pascal VOC, SUN RGB-D and Cityscapes in the folders of ReCo: images with one map of classes."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from jaxmtl.data.cityscapes import CITYSCAPES_CLASSES, read_train_ids
from jaxmtl.data.dense_files import (
  DenseFiles,
  DenseSplits,
  MapFiles,
  find,
  matched,
  refuse_other_set,
)
from jaxmtl.data.map_files import read_labels, read_photo

PASCAL_CLASSES = (
  *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
  *("cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa"),
  *("train", "tv monitor"),
)
"""The twenty classes of Pascal VOC and the background, in their order."""
SUN_CLASSES = (
  *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"),
  *("picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror"),
  *("floor mat", "clothes", "ceiling", "books", "fridge", "tv", "paper", "towel"),
  *("shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp"),
  *("bathtub", "bag"),
)
"""The 37 classes of SUN RGB-D, in their order."""
_PNG, _PHOTO = (".png",), (".jpg", ".jpeg", ".png")
_PASCAL, _SUN, _CITYSCAPES = "Pascal VOC", "SUN RGB-D", "Cityscapes"


def read_pascal_voc(folder: str | os.PathLike) -> DenseSplits:
  r"""Open Pascal VOC 2012 with the augmented labels: 10,582 images to train on, 1,449 to measure.

  Images have sizes of their own: those of a part are padded to the largest, and examples have
  `size`, which `joint_augment(sizes=)` takes. Those that are measured are padded to 513x513.

  Args:
    folder: with `JPEGImages`, `SegmentationClassAug` (PNG of numbers, 255 void), and the stems of
      the parts, one a line, in `train_aug.txt` and `val.txt`.

  Returns:
    The `DenseSplits`, without a test part. An example is `image` uint8 `[H, W, 3]`, `segmentation`
    int32 `[H, W]`, 21 classes, -1 where void, and `size` int32 `[2]`.

  Raises:
    FileNotFoundError: naming it, if a file or folder is not there.
    ValueError: naming file and value, if a list is empty, or sizes of an image and its map differ.

  Example:
    >>> import pathlib, tempfile, numpy as np
    >>> from PIL import Image
    >>> from jaxmtl.data import read_pascal_voc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   root = pathlib.Path(folder)
    ...   for name, values in (("JPEGImages/a.jpg", np.zeros((4, 6, 3), np.uint8)),
    ...                        ("SegmentationClassAug/a.png", np.full((4, 6), 15, np.uint8))):
    ...     (root / name).parent.mkdir()
    ...     Image.fromarray(values).save(root / name)
    ...   for part in ("train_aug", "val"):
    ...     _ = (root / f"{part}.txt").write_text("a")
    ...   splits = read_pascal_voc(folder)
    ...   train, val = splits.train[0], splits.val[0]
    >>> train["segmentation"].shape, val["segmentation"].shape, val["size"].tolist()
    ((4, 6), (513, 513), [4, 6])

  Reference: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", 2015;
  Hariharan et al., "Semantic Contours from Inverse Detectors", 2011.
  """
  root = pathlib.Path(folder).expanduser()
  needed = ["JPEGImages", "SegmentationClassAug"]
  refuse_other_set(root, "read_pascal_voc", needed, "JPEGImages/ and SegmentationClassAug/")
  photos = find(root / "JPEGImages", (".jpg", ".jpeg"), _PASCAL)
  read = functools.partial(read_labels, num_classes=len(PASCAL_CLASSES), void=255)

  def part(name: str, pad_to: tuple[int, int]) -> DenseFiles:
    chosen = listed(root / f"{name}.txt", photos)
    return _files(chosen, root / "SegmentationClassAug", read, _PASCAL, pad_to)

  train, val = part("train_aug", (0, 0)), part("val", (513, 513))
  return DenseSplits(train, val, None, {"segmentation": PASCAL_CLASSES})


def read_sun_rgbd(folder: str | os.PathLike) -> DenseSplits:
  """Open SUN RGB-D's photographs with 37 classes: 5,285 images to train on, 5,050 to measure.

  Images have sizes of their own, and are padded as in `read_pascal_voc`; those that are measured
  to 385x513 at least.

  Args:
    folder: with `SUNRGBD-train_images`, `SUNRGBD-test_images` (`img-000001.jpg`, ...) and
      `sunrgbd_train_test_labels` (`img-000001.png`, ...; 0 is void, 1 to 37 are classes).

  Returns:
    The `DenseSplits`; what is measured is its part `val`. Examples are those of `read_pascal_voc`.

  Raises:
    FileNotFoundError: naming it, if a file or folder is not there.
    ValueError: naming file and value, if a part is empty, or sizes of an image and its map differ.

  Reference: Song, Lichtenberg and Xiao, "SUN RGB-D: A RGB-D Scene Understanding Benchmark Suite",
  2015.
  """
  root = pathlib.Path(folder).expanduser()
  labels = "sunrgbd_train_test_labels"
  needed = ["SUNRGBD-train_images", "SUNRGBD-test_images", labels]
  refuse_other_set(root, "read_sun_rgbd", needed, ", ".join(f"{name}/" for name in needed))
  read = functools.partial(read_labels, num_classes=len(SUN_CLASSES), void=0, first_class=1)
  train, val = (
    _files(find(root / images, _PHOTO, _SUN), root / labels, read, _SUN, pad_to)
    for images, pad_to in ((needed[0], (0, 0)), (needed[1], (385, 513)))
  )
  return DenseSplits(train, val, None, {"segmentation": SUN_CLASSES})


def read_cityscapes_images(folder: str | os.PathLike) -> DenseSplits:
  """Open Cityscapes in the folders of ReCo: classes alone, 2975 and 500 images at 512x1024.

  Args:
    folder: with `images/train`, `images/val`, `labels/train` and `labels/val`, each with `0.png`,
      ...; labels are Cityscapes' ids, of which 19 are trained on.

  Returns:
    The `DenseSplits`, without a test part. An example is `image` uint8 `[H, W, 3]` and
    `segmentation` int32 `[H, W]`, 19 classes, -1 where void.

  Raises:
    FileNotFoundError: naming it, if a file or folder is not there.
    ValueError: naming file and value, if a part is empty, or sizes differ; and, on reading an
      example, for an id that Cityscapes does not have.

  Reference: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", 2016;
  the folders of Liu, Zhi, Johns and Davison, "Bootstrapping Semantic Segmentation with Regional
  Contrast", 2022.
  """
  root = pathlib.Path(folder).expanduser()
  needed = [f"{kind}/{part}" for kind in ("images", "labels") for part in ("train", "val")]
  refuse_other_set(root, "read_cityscapes_images", needed, "images/train/, labels/train/, ...")
  train, val = (
    _files(
      find(root / "images" / part, _PNG, _CITYSCAPES),
      *(root / "labels" / part, read_train_ids, _CITYSCAPES),
    )
    for part in ("train", "val")
  )
  return DenseSplits(train, val, None, {"segmentation": CITYSCAPES_CLASSES})


def listed(file: pathlib.Path, photos: Mapping[str, pathlib.Path]) -> dict[str, pathlib.Path]:
  """The photographs that a file names, by stem, in its order.

  Args:
    file: with a stem a line; what stands behind a space is left out, and so is a suffix.
    photos: by stem, as `find` gives them.

  Raises:
    FileNotFoundError: naming it, if the file or a photograph is not there.
    ValueError: if it names none, or is no text.
  """
  try:
    lines = file.read_text(encoding="utf-8").split("\n")
  except FileNotFoundError:
    raise FileNotFoundError(
      f"there is no {str(file)!r}, the stems of the part {file.stem}."
    ) from None
  except UnicodeDecodeError as error:
    raise ValueError(f"{str(file)!r} is no text in UTF-8: {error}.") from None
  stems = [pathlib.Path(line.split()[0]).stem for line in lines if line.strip()]
  if not stems:
    raise ValueError(f"{str(file)!r} names no image; write a stem a line.")
  if missing := [stem for stem in stems if stem not in photos]:
    folder = next(iter(photos.values())).parent
    raise FileNotFoundError(
      f"there is no {str(folder / f'{missing[0]}.jpg')!r}, which {file.name} names."
    )
  return {stem: photos[stem] for stem in stems}


def _files(
  images: Mapping[str, pathlib.Path],
  labels: pathlib.Path,
  read: Callable[[pathlib.Path], np.ndarray],
  whose: str,
  pad_to: tuple[int, int] | None = None,
) -> DenseFiles:
  return DenseFiles(
    {
      "image": MapFiles("image", tuple(images.values()), read_photo),
      "segmentation": MapFiles("label", matched(images, labels, _PNG, whose), read),
    },
    pad_to=pad_to,
  )
