"""Two overlaid images with five tasks: an embedded data set for multi-task learning."""

import math

import numpy as np

from jaxmtl.data.dataset import ImageDataset, Splits, TaskImages, TaskSplits
from jaxmtl.data.sources import load

_NOISE_CLASSES = 10


def multi_digits(
  seed: int = 0,
  *,
  source: Splits | None = None,
  size: int | None = None,
  num_examples: tuple[int, int, int] = (4000, 500, 1000),
) -> TaskSplits:
  """Overlay pairs of digits, one left and one right, and ask five questions.

  Both digits are drawn anew for each image and shifted at random; where they overlap, the brighter
  pixel shows. The tasks are `left` and `right` (10 classes each), their `sum` (19 classes),
  the `parity` of the sum (2), and `noise`, one of 10 classes drawn at random for each image:
  it can be learned by heart, but not beyond chance on other images.

  The three parts are made of different digits, the same for every seed: no digit of a test image
  is ever in a training image.

  Args:
    seed: seed of pairs, places and noise labels, >= 0.
    source: what is overlaid instead of scikit-learn's 8x8 digits: any set of square images with
      K classes and a validation part, e.g. `data.load("mnist", validation=0.1)`; left and right
      then have K classes, the sum of the class indices 2 K - 1.
    size: side of the images in pixels, from 1.25 to 2 times the source's (10 to 16); on smaller
      ones the digits overlap more. None: 1.75 times (14).
    num_examples: images for training, validation and test.

  Returns:
    The `TaskSplits`, images uint8 `[num_examples, size, size, channels]`.

  Raises:
    ValueError: if an argument is out of range, or the source has no validation part or images that
      are not square.

  Example:
    >>> from jaxmtl.data import multi_digits
    >>> parts = multi_digits(num_examples=(100, 20, 20))
    >>> parts.train.images.shape
    (100, 14, 14, 1)
    >>> {task: int(labels[3]) for task, labels in parts.train.labels.items()}
    {'left': 3, 'right': 0, 'sum': 3, 'parity': 1, 'noise': 5}

  Reference:
    Sabour, Frosst and Hinton, "Dynamic Routing Between Capsules", 2017 (MultiMNIST), which
    multi-task learning took over with the tasks left and right.
  """
  if seed < 0:
    raise ValueError(f"seed must not be negative, got {seed}.")
  source = load("digits") if source is None else source
  if source.validation is None:
    raise ValueError("source has no validation part; load it with validation=0.1, for example.")
  side, width = source.train.images.shape[1:3]
  if side != width:
    raise ValueError(
      f"source must have square images, got {side}x{width}; load it with image_size."
    )
  size = round(1.75 * side) if size is None else size
  if not 1.25 * side <= size <= 2 * side:
    raise ValueError(
      f"size must be from {math.ceil(1.25 * side)} to {2 * side} pixels, got {size}: digits are "
      f"{side} pixels wide, and on a larger canvas would not overlap."
    )
  if min(num_examples) < 1:
    raise ValueError(f"num_examples must be positive, got {num_examples}.")
  originals = (source.train, source.validation, source.test)
  train, validation, test = (
    _overlay(images, count, size, np.random.default_rng((seed, part)))
    for part, (images, count) in enumerate(zip(originals, num_examples, strict=True))
  )
  k = source.train.num_classes
  classes = {"left": k, "right": k, "sum": 2 * k - 1, "parity": 2, "noise": _NOISE_CLASSES}
  return TaskSplits(train, validation, test, classes)


def _overlay(source: ImageDataset, count: int, size: int, rng: np.random.Generator) -> TaskImages:
  pairs = rng.integers(len(source), size=(2, count))
  side, channels = source.images.shape[2:]
  room = size - side
  rows = rng.integers(room + 1, size=(2, count))
  # The left digit stays in the first quarter of the room, the right one in the last.
  shifts = rng.integers(room // 4 + 1, size=(2, count))
  columns = np.stack([shifts[0], room - shifts[1]])
  images = np.zeros((count, size, size, channels), np.uint8)
  pixels = np.arange(side)
  for picked, row, column in zip(pairs, rows, columns, strict=True):
    window = (
      np.arange(count)[:, None, None],
      (row[:, None] + pixels)[:, :, None],
      (column[:, None] + pixels)[:, None, :],
    )
    images[window] = np.maximum(images[window], source.images[picked])
  left, right = source.labels[pairs]
  noise = rng.integers(_NOISE_CLASSES, size=count)
  labels = {
    "left": left,
    "right": right,
    "sum": left + right,
    "parity": (left + right) % 2,
    "noise": noise,
  }
  return TaskImages(images, {task: label.astype(np.int32) for task, label in labels.items()})
