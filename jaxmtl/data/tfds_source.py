"""Prepared TensorFlow Datasets folders, read without TensorFlow."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.data.dataset import ImageDataset
from jaxmtl.data.image_files import naming
from jaxmtl.data.resize import decode
from jaxmtl.data.tfds_folder import check_features, find_prepared, how_to_prepare

if TYPE_CHECKING:
  import tensorflow_datasets as tfds
else:
  tfds = Optional("tensorflow_datasets", "data", __name__)

_CHUNK = 256  # Examples that a thread reads at once.


def read_tfds(
  name: str, data_dir: str | os.PathLike | None, image_size: int | None, label_key: str
) -> tuple[ImageDataset, ImageDataset | None, ImageDataset]:
  """Read the train, validation (or None) and test parts of a prepared TFDS data set."""
  *parts, labels = read_tfds_labels(name, data_dir, image_size, (label_key,))
  (label,) = labels.values()

  def with_label(part: tuple[np.ndarray, np.ndarray] | None) -> ImageDataset | None:
    if part is None:
      return None
    return ImageDataset(part[0], part[1][:, 0], label.num_classes, tuple(label.names))

  train, validation, test = map(with_label, parts)
  assert train is not None
  assert test is not None
  return train, validation, test


def read_tfds_labels(
  name: str, data_dir: str | os.PathLike | None, image_size: int | None, keys: Sequence[str]
) -> tuple[Any, Any, Any, dict[str, Any]]:
  """Read images and several labels of each.

  A key is that of a class label or a truth value, or of a dict of them, such as CelebA's
  `attributes`, which stands for all that it holds.

  Returns:
    Train, validation (or None) and test parts, each `(images, labels [num_examples, L])`, and the
    features of the L labels by their own names.
  """
  folder = find_prepared(name, data_dir)
  check_features(folder)
  builder = tfds.builder_from_directory(folder)
  features = builder.info.features
  image_key = _image_key(name, features)
  labels = _label_features(name, features, keys)
  shape = features[image_key].shape
  if image_size is None and None in shape[:2]:
    raise ValueError(
      f"image_size must be given for {name!r}, whose images differ in size; e.g. image_size=64 "
      "scales the shorter side to 64 pixels and cuts out the centre."
    )
  try:
    # Images stay encoded: they are decoded below, in threads where that pays.
    sources = builder.as_data_source(decoders={image_key: tfds.decode.SkipDecoding()})
  except NotImplementedError as error:
    raise ValueError(
      f"{name!r} in {os.fspath(folder)!r} is in a format without random access. "
      f"{how_to_prepare(name, folder.parent.parent)}"
    ) from error

  def read(split: str) -> tuple[np.ndarray, np.ndarray]:
    what = f"split {split!r} of {name!r}"
    try:
      return _read(what, sources[split], image_key, list(labels), shape, image_size)
    except RuntimeError as error:  # records have checksums
      cause = str(error).partition(",")[0]
      raise ValueError(
        f"{what} in {os.fspath(folder)!r} cannot be read ({cause}); prepare the data set again."
      ) from None

  splits = list(sources)
  if "train" not in splits:
    raise ValueError(f"{name!r} must have a split 'train', it has {splits}.")
  # Competitions publish test images with the label -1, which are no test set.
  has_test = "test" in splits and min(_value(sources["test"][0], path) for path in labels) >= 0
  if not has_test and "validation" not in splits:
    raise ValueError(
      f"{name!r} must have a labelled split 'test' or 'validation', it has {splits}; cut a test "
      "set out of 'train' and pass both in an .npz file."
    )
  if not has_test:
    parts: list[Any] = [read("train"), None, read("validation")]
  else:
    validation = read("validation") if "validation" in splits else None
    parts = [read("train"), validation, read("test")]
  return parts[0], parts[1], parts[2], {path[-1]: feature for path, feature in labels.items()}


def _image_key(name: str, features: Any) -> str:
  images = [key for key, value in features.items() if isinstance(value, tfds.features.Image)]
  if len(images) != 1 and "image" not in images:
    raise ValueError(
      f"{name!r} must have exactly one image feature, or one called 'image'; it has {images} "
      f"among {list(features)}."
    )
  key = images[0] if len(images) == 1 else "image"
  if features[key].np_dtype != np.uint8 or features[key].shape[-1] not in (None, 1, 3):
    raise ValueError(
      f"{name!r} must have uint8 images of 1 or 3 channels, got {features[key].np_dtype} and "
      f"shape {features[key].shape}."
    )
  return key


def _label_features(name: str, features: Any, keys: Sequence[str]) -> dict[tuple[str, ...], Any]:
  """The label features by their paths in an example."""
  found: dict[tuple[str, ...], Any] = {}
  known = [key for key, value in features.items() if _labels_in(key, value)]
  for key in keys:
    if key not in known:
      raise ValueError(f"label_key must be one of {known} for {name!r}, got {key!r}.")
    found |= _labels_in(key, features[key])
  return found


def _labels_in(key: str, feature: Any) -> dict[tuple[str, ...], Any]:
  """A class label, a truth value, or a dict of these, by path; nothing for other features."""
  if isinstance(feature, tfds.features.FeaturesDict):
    inner = [_labels_in(k, f) for k, f in feature.items()]
    return {(key, *path): f for found in inner for path, f in found.items()} if all(inner) else {}
  if isinstance(feature, tfds.features.ClassLabel):
    return {(key,): feature}
  truth = (
    isinstance(feature, tfds.features.Tensor) and not feature.shape and feature.np_dtype == np.bool_
  )
  return {(key,): tfds.features.ClassLabel(names=["no", "yes"])} if truth else {}


def _value(example: Any, path: tuple[str, ...]) -> int:
  for key in path:
    example = example[key]
  return int(example)


def _read(
  what: str,
  source: Any,
  image_key: str,
  paths: Sequence[tuple[str, ...]],
  shape: tuple[Any, ...],
  size: int | None,
) -> tuple[np.ndarray, np.ndarray]:
  """Decode a whole split, a chunk of examples at a time."""
  height, width = shape[:2] if size is None else (size, size)
  channels = shape[-1] or 3
  images = np.empty((len(source), height, width, channels), np.uint8)
  labels = np.empty((len(source), len(paths)), np.int32)

  def fill(start: int) -> None:
    indices = range(start, min(start + _CHUNK, len(source)))
    for i, example in zip(indices, source.__getitems__(list(indices)), strict=True):
      with naming(f"image {i} in {what}"):
        images[i] = decode(example[image_key], channels, size)
      labels[i] = [_value(example, path) for path in paths]

  # PIL lets other threads run while it decodes, which pays for photographs; for tiny images the
  # rest of the work, under the interpreter's lock, dominates (10,000 of CIFAR: 3.7 s with one
  # thread, 4.0 s with two).
  threads = min(16, os.cpu_count() or 1) if None in shape[:2] else 1
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    list(pool.map(fill, range(0, len(source), _CHUNK)))
  return images, labels
