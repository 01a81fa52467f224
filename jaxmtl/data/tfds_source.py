"""Prepared TensorFlow Datasets folders, read without TensorFlow."""

import concurrent.futures
import os
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxmtl.data.dataset import ImageDataset
from jaxmtl.data.resize import decode
from jaxmtl.data.tfds_folder import find_prepared, how_to_prepare

_CHUNK = 256  # Examples that a thread reads at once.


def read_tfds(
  name: str, data_dir: str | os.PathLike | None, image_size: int | None, label_key: str
) -> tuple[ImageDataset, ImageDataset | None, ImageDataset]:
  """Read the train, validation (or None) and test parts of a prepared TFDS data set."""
  folder = find_prepared(name, data_dir)
  builder = tfds.builder_from_directory(folder)
  features = builder.info.features
  image_key = _image_key(name, features)
  label = _label_feature(name, features, label_key)
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

  def read(split: str) -> ImageDataset:
    images, labels = _read(sources[split], image_key, label_key, shape, image_size)
    return ImageDataset(images, labels, label.num_classes, tuple(label.names))

  splits = list(sources)
  if "train" not in splits:
    raise ValueError(f"{name!r} must have a split 'train', it has {splits}.")
  # Competitions publish test images with the label -1, which are no test set.
  has_test = "test" in splits and int(sources["test"][0][label_key]) >= 0
  if not has_test and "validation" not in splits:
    raise ValueError(
      f"{name!r} must have a labelled split 'test' or 'validation', it has {splits}; cut a test "
      "set out of 'train' and pass both in an .npz file."
    )
  if not has_test:
    return read("train"), None, read("validation")
  return read("train"), read("validation") if "validation" in splits else None, read("test")


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


def _label_feature(name: str, features: Any, label_key: str) -> Any:
  labels = [key for key, value in features.items() if isinstance(value, tfds.features.ClassLabel)]
  if label_key not in labels:
    raise ValueError(f"label_key must be one of {labels} for {name!r}, got {label_key!r}.")
  return features[label_key]


def _read(
  source: Any, image_key: str, label_key: str, shape: tuple[Any, ...], size: int | None
) -> tuple[np.ndarray, np.ndarray]:
  """Decode a whole split, a chunk of examples at a time."""
  height, width = shape[:2] if size is None else (size, size)
  channels = shape[-1] or 3
  images = np.empty((len(source), height, width, channels), np.uint8)
  labels = np.empty(len(source), np.int32)

  def fill(start: int) -> None:
    indices = range(start, min(start + _CHUNK, len(source)))
    for i, example in zip(indices, source.__getitems__(list(indices)), strict=True):
      images[i] = decode(example[image_key], channels, size)
      labels[i] = example[label_key]

  # PIL lets other threads run while it decodes, which pays for photographs; for tiny images the
  # rest of the work, under the interpreter's lock, dominates (10,000 of CIFAR: 3.7 s with one
  # thread, 4.0 s with two).
  threads = min(16, os.cpu_count() or 1) if None in shape[:2] else 1
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    list(pool.map(fill, range(0, len(source), _CHUNK)))
  return images, labels
