"""Two overlaid digits with five tasks: an embedded data set for multi-task learning."""

from typing import NamedTuple

import numpy as np

from jaxmtl.data.dataset import ImageDataset
from jaxmtl.data.embedded import digits

_DIGIT = 8  # Pixels a side of scikit-learn's digits.
_NUM_CLASSES = {"left": 10, "right": 10, "sum": 19, "parity": 2, "noise": 10}


class TaskImages(NamedTuple):
  """Images with one label a task, in host memory.

  Attributes:
    images: uint8 ``[num_examples, height, width, channels]``.
    labels: By task, int32 ``[num_examples]``.
  """

  images: np.ndarray
  labels: dict[str, np.ndarray]


class MultiDigits(NamedTuple):
  """The parts of the data set.

  Attributes:
    train: What is learned from.
    validation: What choices are made on.
    test: What is reported on, and never chosen on.
    num_classes: Number of classes by task.
  """

  train: TaskImages
  validation: TaskImages
  test: TaskImages
  num_classes: dict[str, int]


def multi_digits(
  seed: int = 0, *, size: int = 14, num_examples: tuple[int, int, int] = (4000, 500, 1000)
) -> MultiDigits:
  """Overlay pairs of scikit-learn's digits, one left and one right, and ask five questions.

  Both digits are drawn anew for each image and shifted at random; where they overlap, the brighter
  pixel shows. The tasks are ``left`` and ``right`` (10 classes each), their ``sum`` (19 classes),
  the ``parity`` of the sum (2), and ``noise``, one of 10 classes drawn at random for each image:
  it can be learned by heart, but not beyond chance on other images.

  The three parts are made of different digits, the same for every seed: no digit of a test image
  is ever in a training image.

  Args:
    seed: Seed of pairs, places and noise labels, >= 0.
    size: Side of the images in pixels, 10 to 16; on smaller ones the digits overlap more.
    num_examples: Images for training, validation and test.

  Returns:
    The `MultiDigits`, images uint8 ``[num_examples, size, size, 1]``.

  Raises:
    ValueError: If an argument is out of range.

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
  if not 10 <= size <= 2 * _DIGIT:
    raise ValueError(
      f"size must be from 10 to {2 * _DIGIT} pixels, got {size}: digits are {_DIGIT} pixels wide, "
      "and on a larger canvas would not overlap."
    )
  if min(num_examples) < 1:
    raise ValueError(f"num_examples must be positive, got {num_examples}.")
  train, validation, test = (
    _overlay(source, count, size, np.random.default_rng((seed, part)))
    for part, (source, count) in enumerate(zip(digits(), num_examples, strict=True))
  )
  return MultiDigits(train, validation, test, dict(_NUM_CLASSES))


def _overlay(source: ImageDataset, count: int, size: int, rng: np.random.Generator) -> TaskImages:
  pairs = rng.integers(len(source), size=(2, count))
  room = size - _DIGIT
  rows = rng.integers(room + 1, size=(2, count))
  # The left digit stays in the first quarter of the room, the right one in the last.
  shifts = rng.integers(room // 4 + 1, size=(2, count))
  columns = np.stack([shifts[0], room - shifts[1]])
  images = np.zeros((count, size, size, 1), np.uint8)
  pixels = np.arange(_DIGIT)
  for picked, row, column in zip(pairs, rows, columns, strict=True):
    window = (
      np.arange(count)[:, None, None],
      (row[:, None] + pixels)[:, :, None],
      (column[:, None] + pixels)[:, None, :],
    )
    images[window] = np.maximum(images[window], source.images[picked])
  left, right = source.labels[pairs]
  noise = rng.integers(_NUM_CLASSES["noise"], size=count)
  labels = {
    "left": left,
    "right": right,
    "sum": left + right,
    "parity": (left + right) % 2,
    "noise": noise,
  }
  return TaskImages(images, {task: label.astype(np.int32) for task, label in labels.items()})
