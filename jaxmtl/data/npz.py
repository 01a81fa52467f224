"""Data sets in one `.npz` file."""

import pathlib
import zipfile
import zlib

import numpy as np

from jaxmtl.data.dataset import ImageDataset, arrays, count_classes
from jaxmtl.data.splits import stratified_split

_TEST_SHARE = 0.2
_LAYOUT = (
  "Expected `train_images`, `train_labels`, `test_images`, `test_labels` (optionally "
  "`validation_images`, `validation_labels`), or `images` and `labels` alone, of which a fixed "
  "fifth becomes the test set; images uint8 [N, H, W, C] or [N, H, W], labels integers [N]; "
  "optionally `num_classes` and `class_names`."
)


def read_npz(path: str) -> tuple[ImageDataset, ImageDataset | None, ImageDataset]:
  """Read train, validation (or None) and test parts from an `.npz` file."""
  file = pathlib.Path(path).expanduser()
  if not file.is_file():
    raise FileNotFoundError(f"there is no file {path!r}. {_LAYOUT}")
  try:
    with np.load(file, allow_pickle=False) as content:
      stored = {key: content[key] for key in content.files}
  except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    # A lone array, as of an .npy file, cannot be opened like this.
    raise ValueError(f"{path!r} cannot be read as .npz ({error}). {_LAYOUT}") from None

  parts = [p for p in ("train", "validation", "test") if f"{p}_images" in stored]
  single = not parts
  needed = [""] if single else [f"{p}_" for p in dict.fromkeys(["train", *parts, "test"])]
  missing = [p + k for p in needed for k in ("images", "labels") if p + k not in stored]
  if missing:
    raise ValueError(f"{path!r} lacks the keys {missing}; it has {sorted(stored)}. {_LAYOUT}")

  labels = [stored[prefix + "labels"] for prefix in needed]
  names = [str(name) for name in stored["class_names"]] if "class_names" in stored else None
  if "num_classes" in stored:
    num_classes = int(stored["num_classes"])
  elif names is not None:
    num_classes = len(names)
  else:  # A class may be absent from one part.
    try:
      num_classes = count_classes(labels)
    except (TypeError, ValueError) as error:
      raise ValueError(f"{path!r}: {error} {_LAYOUT}") from None

  sets = {}
  for prefix, part in zip(needed, labels, strict=True):
    try:
      sets[prefix] = arrays(
        stored[prefix + "images"], part, num_classes=num_classes, class_names=names
      )
    except (TypeError, ValueError) as error:
      raise ValueError(f"{path!r}, {prefix}images and {prefix}labels: {error} {_LAYOUT}") from None
  if single:
    rest, test = stratified_split(sets[""].labels, _TEST_SHARE, seed=0)
    return sets[""].subset(rest), None, sets[""].subset(test)
  return sets["train_"], sets.get("validation_"), sets["test_"]
