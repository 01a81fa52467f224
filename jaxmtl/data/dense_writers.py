"""Images with label maps to folders, in the layouts that the readers take."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl._files import replacing
from jaxmtl.data.cityscapes_ids import TRAIN_IDS
from jaxmtl.data.pascal_maps import PARTS, PERSON

if TYPE_CHECKING:
  from PIL import Image
  from scipy import io
else:
  Image = Optional("PIL.Image", "data", __name__)
  io = Optional("scipy.io", "experiments", __name__)

# Semantic ids whose parts are 1 to 4, and 5 to 9.
_PERSON, _CAR = 24, 26
_UNLABELLED = 0
# Pascal VOC's number of what is not a person, and has no parts here.
_CAT = 8


def write_nyuv2(folder: str | os.PathLike, part: str, examples: Any) -> None:
  """Write examples as NYUv2 has them, so that `read_nyuv2` and other programs read them.

  Args:
    folder: to write into; made where it is not there.
    part: `train` or `val`.
    examples: `RoomImages`, arrays by name with leading axis N, or a source of examples (`len`,
      `[i]`): `image` `[H, W, 3]`, uint8 or float in 0 .. 1; `segmentation` `[H, W]`, -1 where void;
      `depth` `[H, W, 1]`, 0 where there is none; `normal` `[H, W, 3]`.

  Raises:
    ValueError: if a map is missing.

  Example:
    >>> import os, tempfile, numpy as np
    >>> from jaxmtl.data import write_nyuv2
    >>> maps = {"image": np.zeros((2, 4, 6, 3), np.uint8), "segmentation": np.zeros((2, 4, 6), int)}
    >>> maps |= {"depth": np.ones((2, 4, 6, 1)), "normal": np.eye(3)[np.full((2, 4, 6), 2)]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   write_nyuv2(folder, "train", maps)
    ...   sorted(os.listdir(f"{folder}/train")), sorted(os.listdir(f"{folder}/train/depth"))
    (['depth', 'image', 'label', 'normal'], ['0.npy', '1.npy'])
  """
  root = pathlib.Path(folder).expanduser() / part
  for i, one in enumerate(_each(examples, ("image", "segmentation", "depth", "normal"))):
    _save(root / "label" / f"{i}.npy", np.asarray(one["segmentation"]).astype(np.int32))
    _save(root / "depth" / f"{i}.npy", np.asarray(one["depth"], np.float32))
    _save(root / "normal" / f"{i}.npy", np.asarray(one["normal"], np.float32))
    image = one["image"]
    image = image / np.float32(255) if image.dtype == np.uint8 else image
    _save(root / "image" / f"{i}.npy", np.asarray(image, np.float32))


def write_cityscapes(
  folder: str | os.PathLike, part: str, examples: Any, *, shrunk: int = 4
) -> None:
  """Write examples as Auto-lambda's Cityscapes has them: ids, panoptic-parts TIFF, 16-bit PNG.

  Args:
    folder: to write into; made where it is not there.
    part: `train` or `val`.
    examples: arrays by name with leading axis N, or a source of examples: `image` `[H, W, 3]`,
      uint8 or float in 0 .. 1; `segmentation` `[H, W]`, 19 classes, -1 where void; `part` `[H, W]`,
      10 classes; `disparity` `[H, W, 1]`, pixels of this image, -1 where there is none.
    shrunk: as of `read_cityscapes`. Disparity is rounded to 1 / (256 shrunk).

  Raises:
    ValueError: if a map is missing, or a value cannot be written.

  Example:
    >>> import os, tempfile, numpy as np
    >>> from jaxmtl.data import write_cityscapes
    >>> maps = {"image": np.zeros((1, 4, 8, 3), np.uint8), "disparity": np.ones((1, 4, 8, 1))}
    >>> maps |= {name: np.zeros((1, 4, 8), int) for name in ("segmentation", "part")}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   write_cityscapes(folder, "train", maps)
    ...   sorted(os.listdir(f"{folder}/train")), os.listdir(f"{folder}/train/part_seg")
    (['depth', 'image', 'part_seg', 'seg'], ['0.tif'])
  """
  root = pathlib.Path(folder).expanduser() / part
  ids = np.array([*TRAIN_IDS, _UNLABELLED])  # the last entry is that of -1
  for i, one in enumerate(_each(examples, ("image", "segmentation", "part", "disparity"))):
    classes = _within(one["segmentation"], -1, len(TRAIN_IDS) - 1, "segmentation", i)
    parts = _within(one["part"], 0, 9, "part", i)
    sid, pid = np.where(parts < 5, _PERSON, _CAR), np.where(parts < 5, parts, parts - 4)
    uid = np.where(parts == 0, ids[classes], sid * 100_000 + 100 + pid)
    disparity = np.asarray(one["disparity"], np.float64).reshape(classes.shape)
    raw = np.where(disparity < 0, 0, np.round(disparity * 256 * shrunk) + 1)
    raw = _within(raw, 0, 2**16 - 1, "256 * shrunk * disparity + 1", i)
    _save(root / "seg" / f"{i}.png", ids[classes].astype(np.uint8))
    _save(root / "part_seg" / f"{i}.tif", uid.astype(np.int32))
    _save(root / "depth" / f"{i}.png", raw.astype(np.uint16))
    _save(root / "image" / f"{i}.png", _bytes(one["image"]))


def write_dense_folder(
  folder: str | os.PathLike,
  part: str,
  examples: Any,
  *,
  classes: Sequence[str],
  void: int = 255,
) -> None:
  """Write examples as `read_dense_folder` takes them: PNG files, and the names of the classes.

  Args:
    folder: to write into; made where it is not there.
    part: `train`, `val` or `test`.
    examples: arrays by name with leading axis N, or a source of examples: `image` `[H, W, 3]`,
      uint8 or float in 0 .. 1; `segmentation` `[H, W]`, -1 where void; where given, `depth`
      `[H, W, 1]` and `normal` `[H, W, 3]`, which become `.npy` files.
    classes: their names, for `classes.json`.
    void: number of pixels without a label in files, at most 255.

  Raises:
    ValueError: if a map is missing, or a label cannot be written.

  Example:
    >>> import os, tempfile, numpy as np
    >>> from jaxmtl.data import write_dense_folder
    >>> maps = {"image": np.zeros((1, 4, 6, 3), np.uint8), "segmentation": np.zeros((1, 4, 6), int)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   write_dense_folder(folder, "train", maps, classes=["road"])
    ...   sorted(os.listdir(folder)), os.listdir(f"{folder}/trainannot")
    (['classes.json', 'train', 'trainannot'], ['0.png'])
  """
  root = pathlib.Path(folder).expanduser()
  if not len(classes) <= void <= 255:
    raise ValueError(f"void must be from {len(classes)}, no class, to 255, got {void}.")
  with replacing(root / "classes.json") as draft:
    draft.write_text(json.dumps(list(classes)), encoding="utf-8")
  for i, one in enumerate(_each(examples, ("image", "segmentation"))):
    labels = _within(one["segmentation"], -1, len(classes) - 1, "segmentation", i)
    _save(root / f"{part}annot" / f"{i}.png", np.where(labels < 0, void, labels).astype(np.uint8))
    for name in ("depth", "normal"):
      if name in one:
        _save(root / f"{part}{name}" / f"{i}.npy", np.asarray(one[name], np.float32))
    _save(root / part / f"{i}.png", _bytes(one["image"]))


def write_pascal_context(folder: str | os.PathLike, part: str, examples: Any) -> None:
  """Write examples as ASTMT's PASCAL-Context has them: JPEG, PNG and MATLAB files, and a list.

  Args:
    folder: to write into; made where it is not there.
    part: `train` or `val`; stems of images begin with it.
    examples: arrays by name with leading axis N, or a source of examples: `image` `[H, W, 3]`,
      uint8 or float in 0 .. 1, which JPEG changes a little; `segmentation` `[H, W]`, 21 classes, -1
      where void; `part` `[H, W]`, 7 classes, written as those of one person, or none where there
      are none; `normal` `[H, W, 3]`, of length 1; `saliency` `[H, W]`, 0 or 1; `context` `[H, W]`,
      1 to 459, whose borders are the edges.

  Raises:
    ValueError: if a map is missing, or a value cannot be written.
    ImportError: if SciPy is not installed.

  Example:
    >>> import os, tempfile, numpy as np
    >>> from jaxmtl.data import write_pascal_context
    >>> maps = {"image": np.zeros((1, 4, 6, 3), np.uint8), "normal": np.ones((1, 4, 6, 3)) / 3**0.5}
    >>> maps |= {k: np.zeros((1, 4, 6), int) for k in ("segmentation", "part", "saliency")}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   write_pascal_context(folder, "train", maps | {"context": np.ones((1, 4, 6), int)})
    ...   sorted(os.listdir(folder)), os.listdir(f"{folder}/human_parts")
    (['ImageSets', 'JPEGImages', 'human_parts', 'normals_distill', 'pascal-context', 'sal_distill',
      'semseg'], ['train_000000.mat'])
  """
  root = pathlib.Path(folder).expanduser()
  stems = []
  names = ("image", "segmentation", "part", "normal", "saliency", "context")
  for i, one in enumerate(_each(examples, names)):
    stem = f"{part}_{i:06d}"
    labels = _within(one["segmentation"], -1, 20, "segmentation", i)
    parts = _within(one["part"], -1, 6, "part", i)
    salient = _within(one["saliency"], 0, 1, "saliency", i)
    context = _within(one["context"], 1, 459, "context", i)
    _save(root / "semseg" / "VOC12" / f"{stem}.png", (labels % 256).astype(np.uint8))
    _save(root / "human_parts" / f"{stem}.mat", {"anno": _annotation(stem, parts)})
    _save(root / "normals_distill" / f"{stem}.png", _bytes((np.asarray(one["normal"]) + 1) / 2))
    _save(root / "sal_distill" / f"{stem}.png", (255 * salient).astype(np.uint8))
    at = root / "pascal-context" / "trainval" / f"{stem}.mat"
    _save(at, {"LabelMap": context.astype(np.uint16)})
    _save(root / "JPEGImages" / f"{stem}.jpg", _bytes(one["image"]))
    stems.append(stem)
  with replacing(root / "ImageSets" / "Context" / f"{part}.txt") as draft:
    draft.write_text("\n".join(stems) + "\n", encoding="utf-8")


def _annotation(stem: str, parts: np.ndarray) -> np.ndarray:
  """PASCAL-Part's structure of an image with one person, or one cat without parts."""
  names = {number: name for name, number in reversed(PARTS.items())}
  found = [(names[k], (parts == k).astype(np.uint8)) for k in np.unique(parts[parts > 0])]
  of_object = np.empty((1, len(found)), [("part_name", object), ("mask", object)])
  of_object[0] = found
  objects = np.empty((1, 1), [(n, object) for n in ("class", "class_ind", "mask", "parts")])
  mask = (parts > 0).astype(np.uint8)
  if found:
    objects[0, 0] = "person", float(PERSON), mask, of_object
  else:
    objects[0, 0] = "cat", float(_CAT), mask, np.empty((0, 0))
  annotation = np.empty((1, 1), [("imname", object), ("objects", object)])
  annotation[0, 0] = stem, objects
  return annotation


def _each(examples: Any, needed: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
  """Examples one by one, of arrays by name or of a source."""
  maps = examples._asdict() if hasattr(examples, "_asdict") else examples
  take: Callable[[int], Mapping[str, Any]] = maps.__getitem__
  count = len(maps)
  if isinstance(maps, Mapping):
    count = len(next(iter(maps.values()))) if maps else 0

    def take(i: int) -> Mapping[str, Any]:
      return {name: np.asarray(values[i]) for name, values in maps.items()}

  for i in range(count):
    one = take(i)
    if missing := [name for name in needed if name not in one]:
      raise ValueError(f"examples must have {', '.join(needed)}, got no {missing[0]!r}.")
    yield one


def _within(values: Any, least: int, most: int, name: str, i: int) -> np.ndarray:
  values = np.asarray(values).astype(np.int64)
  if values.min() < least or values.max() > most:
    raise ValueError(
      f"{name} must be from {least} to {most} to be written, got {values.min()} to {values.max()} "
      f"in example {i}."
    )
  return values


def _bytes(image: Any) -> np.ndarray:
  image = np.asarray(image)
  return image if image.dtype == np.uint8 else np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _save(path: pathlib.Path, values: Any) -> None:
  """Writes a file beside its place first, so that none is there by half."""
  path.parent.mkdir(parents=True, exist_ok=True)
  unfinished = path.with_name(f".{path.name}")
  if path.suffix == ".npy":
    with unfinished.open("wb") as file:
      np.save(file, values)
  elif path.suffix == ".mat":
    io.savemat(unfinished, values, do_compression=True)
  else:
    kind = {".tif": "TIFF", ".jpg": "JPEG"}.get(path.suffix, "PNG")
    Image.fromarray(values).save(unfinished, format=kind)
  unfinished.replace(path)
