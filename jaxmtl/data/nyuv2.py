"""NYUv2 as multi-task papers have it on disk: classes, depth and normals of rooms."""

import functools
import os
import pathlib

from jaxmtl.data.dense_files import (
  DenseFiles,
  DenseSplits,
  MapFiles,
  find,
  matched,
  refuse_other_set,
)
from jaxmtl.data.map_files import read_depth, read_labels, read_normal, read_unit_image
from jaxmtl.data.rooms import ROOM_CLASSES

_WHOSE = "NYUv2"
_SUFFIXES = (".npy",)


def read_nyuv2(folder: str | os.PathLike) -> DenseSplits:
  """Open NYUv2 in the folders of MTAN and Auto-lambda: three tasks, 795 and 654 images at 288x384.

  Names and headers of all files are looked at here; what is in a file when its example is asked
  for.

  Args:
    folder: with `train` and `val`, each with `image`, `label`, `depth` and `normal`, whose files
      are `0.npy`, `1.npy`, ...

  Returns:
    The `DenseSplits`, without a test part. An example is `image` float32 `[H, W, 3]` in 0 .. 1;
    `segmentation` int32 `[H, W]`, 13 classes, -1 where void; `depth` float32 `[H, W, 1]`, metres, 0
    where there is none; `normal` float32 `[H, W, 3]`, unit vectors, 0 where there is none.

  Raises:
    FileNotFoundError: naming it, if a file or folder is not there.
    ValueError: naming file and value, if a part is empty, or sizes differ; and, on reading an
      example, for a label that is no class, or a number that is not finite.

  Example:
    >>> import tempfile
    >>> from jaxmtl.data import read_nyuv2, rooms, write_nyuv2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   write_nyuv2(folder, "train", rooms(3, (12, 16)))
    ...   write_nyuv2(folder, "val", rooms(2, (12, 16), seed=1))
    ...   splits = read_nyuv2(folder)
    ...   depth = splits.train[0]["depth"]
    >>> len(splits.train), len(splits.val), depth.shape, splits.classes["segmentation"][:2]
    (3, 2, (12, 16, 1), ('bed', 'books'))

  Reference:
    Silberman, Hoiem, Kohli and Fergus, "Indoor Segmentation and Support Inference from RGBD
    Images", 2012; the folders of Liu, Johns and Davison, "End-to-End Multi-Task Learning with
    Attention", 2019.
  """
  root = pathlib.Path(folder).expanduser()
  names = ("image", "label", "depth", "normal")
  needed = [f"train/{name}" for name in names] + ["val/image"]
  layout = "train/ and val/ with image/, label/, depth/ and normal/, of files 0.npy, 1.npy, ..."
  refuse_other_set(root, "read_nyuv2", needed, layout)
  labels = functools.partial(read_labels, num_classes=len(ROOM_CLASSES))

  def part(name: str) -> DenseFiles:
    images = find(root / name / "image", _SUFFIXES, _WHOSE)
    label, depth, normal = (
      matched(images, root / name / kind, _SUFFIXES, _WHOSE) for kind in names[1:]
    )
    return DenseFiles(
      {
        "image": MapFiles("image", tuple(images.values()), read_unit_image),
        "segmentation": MapFiles("label", label, labels),
        "depth": MapFiles("depth", depth, read_depth),
        "normal": MapFiles("normal", normal, read_normal),
      }
    )

  return DenseSplits(part("train"), part("val"), None, {"segmentation": ROOM_CLASSES})
