"""The maps of PASCAL-Context's five tasks in files: MATLAB files, and PNG files."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl._thinning import thinned
from jaxmtl.data.map_files import VOID, read_numbers, size_of

if TYPE_CHECKING:
  from scipy import io, ndimage
else:
  io = Optional("scipy.io", "experiments", __name__)
  ndimage = Optional("scipy.ndimage", "experiments", __name__)

HUMAN_PARTS = (
  *("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs"),
)
"""The six parts of people and the background, in their order."""
PERSON = 15
"""The class of people among the 20 of Pascal VOC, counted from 1."""
# PASCAL-Part's names of the parts of a person.
PARTS = {
  **dict.fromkeys(("head", "hair", "leye", "reye", "lear", "rear", "lebrow", "rebrow"), 1),
  **dict.fromkeys(("nose", "mouth"), 1),
  **dict.fromkeys(("torso", "neck"), 2),
  **dict.fromkeys(("luarm", "ruarm"), 3),
  **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
  **dict.fromkeys(("luleg", "ruleg"), 5),
  **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}
# Those of PASCAL-Context's 459 classes that NYUv2 has by the same name, and tvmonitor: the network
# whose answers the normals are had learned from NYUv2, and elsewhere is not trusted.
_INDOORS = (
  *(3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50),
  *(51, 53, 55, 56, 59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104),
  *(105, 107, 111, 113, 115, 122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172),
  *(174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228, 230),
  *(232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272, 273, 275, 281),
  *(283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319, 323),
  *(329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380, 383),
  *(384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430, 432),
  *(440, 441, 442, 443, 444, 446, 454, 457),
)
_ANNOTATION, _CONTEXT = "anno", "LabelMap"


def read_human_parts(path: pathlib.Path, photos: pathlib.Path) -> np.ndarray:
  """PASCAL-Part's file of an image as int32 `[H, W]`: 0 to 6, all -1 where it shows no parts.

  Args:
    path: of the `.mat` file.
    photos: folder of the photographs, whose sizes masks must have.

  Raises:
    ValueError: naming the file, if it cannot be read, or is laid out in another way.
  """
  size = size_of(photos / f"{path.stem}.jpg", "image")
  labels = np.zeros(size, np.int32)
  for name, mask in _parts_of_people(path):
    if name not in PARTS:
      raise ValueError(f"{str(path)!r} has the part {name!r} of a person, of {', '.join(PARTS)}.")
    labels[_of_size(mask, size, path).astype(bool)] = PARTS[name]
  # People too small for parts, and images without people, tell nothing of parts.
  return labels if labels.any() else np.full(size, VOID, np.int32)


def read_edges(path: pathlib.Path, photos: pathlib.Path) -> np.ndarray:
  """Borders between the contexts of an image, one pixel wide, as int32 `[H, W]`: 1, elsewhere 0.

  Args:
    path: of the `.mat` file.
    photos: as of `read_human_parts`.

  Raises:
    ValueError: naming the file, if it cannot be read, or has another size than its photograph.
  """
  context = _of_size(read_context(path), size_of(photos / f"{path.stem}.jpg", "image"), path)
  return thinned(ndimage.laplace(context, mode="mirror") != 0).astype(np.int32)


def read_context(path: pathlib.Path) -> np.ndarray:
  """PASCAL-Context's file of an image as int64 `[H, W]`: 1 to 459.

  Raises:
    ValueError: naming the file, if it cannot be read, or has no such map.
  """
  context = _variable(path, _CONTEXT)
  if context.ndim != 2 or context.dtype.kind not in "biuf":
    raise ValueError(f"{str(path)!r}: {_CONTEXT} must be one number a pixel, got {context.shape}.")
  return context.astype(np.int64)


def read_indoor_normal(path: pathlib.Path, contexts: pathlib.Path) -> np.ndarray:
  """Normals as float32 `[H, W, 3]`, of length 1; 0 on what NYUv2 does not know.

  Args:
    path: of a PNG file, 0 to 255 being -1 to 1.
    contexts: folder of PASCAL-Context's `.mat` files.

  Raises:
    ValueError: naming the file, if one cannot be read, or their sizes differ.
  """
  normal = read_numbers(path).astype(np.float32) / 127.5 - 1
  file = contexts / f"{path.stem}.mat"
  known = np.isin(_of_size(read_context(file), normal.shape[:2], file), _INDOORS)[..., None]
  # Of 8 bits none has length 0.
  return np.where(known, normal / np.linalg.norm(normal, axis=-1, keepdims=True), 0)


def read_saliency(path: pathlib.Path) -> np.ndarray:
  """A PNG file of 8 bits, 0 to 255 being 0 to 1, as int32 `[H, W]`: 1 where it is above 1/2.

  Raises:
    ValueError: naming the file, if it is something else.
  """
  raw = read_numbers(path)
  if raw.dtype != np.uint8 or raw.ndim != 2:
    raise ValueError(
      f"{str(path)!r} has {raw.dtype} of shape {raw.shape}, where saliency is 8 bits a pixel."
    )
  return (raw > 127).astype(np.int32)


def _parts_of_people(path: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
  """Name and mask of each part of each person, in the file's order."""
  annotation = _variable(path, _ANNOTATION)
  try:
    for one in annotation[0, 0]["objects"].ravel():
      if one["class_ind"].item() == PERSON:
        for part in one["parts"].ravel():
          yield str(part["part_name"].item()), part["mask"]
  except (IndexError, AttributeError, ValueError, TypeError) as error:
    raise ValueError(
      f"{str(path)!r} must have {_ANNOTATION}.objects with class_ind and parts, and those with "
      f"part_name and mask, as PASCAL-Part has them ({error})."
    ) from None


def _variable(path: pathlib.Path, name: str) -> np.ndarray:
  where = repr(str(path))
  try:
    found: dict[str, Any] = io.loadmat(path, variable_names=[name])
  except NotImplementedError:
    raise ValueError(
      f"{where} is of MATLAB's version 7.3 (HDF5), which is not read; write it anew by "
      "save(..., '-v7')."
    ) from None
  except ImportError:
    raise
  except Exception as error:  # of what is damaged SciPy raises anything, IndexError too
    raise ValueError(f"{where} is no MATLAB file, or a broken one: {error}.") from None
  if name not in found:
    raise ValueError(f"{where} has no variable {name}.")
  return found[name]


def _of_size(values: np.ndarray, size: tuple[int, int], path: pathlib.Path) -> np.ndarray:
  if values.shape != size:
    raise ValueError(
      f"{str(path)!r} has a map of {values.shape}, and its image is {size[0]}x{size[1]}; "
      "bring them to one size."
    )
  return values
