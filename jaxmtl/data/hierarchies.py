"""Levels of classes over a data set's own ones: coarser labels that people defined."""

import numpy as np

# Superclasses of CIFAR-100 in alphabetical order of both, as in its own files.
_CIFAR100_COARSE = (
  "4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 "
  "6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 15 13 14 17 18 10 "
  "16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 "
  "12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13"
)
# Large, medium and small animals, invertebrates, people, vegetations, household objects, large
# outdoor things, natural scenes, vehicles.
_CIFAR100_TEN = "1 2 5 6 5 6 6 3 0 7 8 0 1 3 4 0 2 5 9 9"
# Animals; vegetations; objects and scenes.
_CIFAR100_THREE = "0 0 0 0 0 1 2 2 2 2"

_DIGITS = ("digits", "mnist", "svhn_cropped")


def class_levels(name: str, num_classes: int) -> dict[int, np.ndarray]:
  """The levels of a data set's classes, coarse to fine.

  CIFAR-100 has the four of the MAXL paper, with 3, 10, 20 and 100 classes. Digits (`digits`,
  `mnist`, `svhn_cropped`) have two, even or odd and the digit. Any other data set has one.

  Args:
    name: name of the data set, as in `jaxmtl.data.load`; a TFDS version may follow.
    num_classes: number of its own classes, the finest level.

  Returns:
    By the level's number of classes, its class of each of the data set's own, int32
    `[num_classes]`.

  Raises:
    ValueError: if a data set with a known hierarchy has another number of classes.

  Example:
    >>> levels = class_levels("cifar100", 100)
    >>> list(levels), int(levels[20][0]), int(levels[3][0])  # apples: fruit, vegetations
    ([3, 10, 20, 100], 4, 1)

  Reference:
    Liu, "Converging Pathways: Structured Visual Representations with Multi-Task Learning" (thesis),
    2024, table 5.1.
  """
  base = name.partition(":")[0].partition("/")[0]
  own = np.arange(num_classes, dtype=np.int32)
  if base == "cifar100":
    _check(name, num_classes, 100)
    coarse = _numbers(_CIFAR100_COARSE)
    ten = _numbers(_CIFAR100_TEN)[coarse]
    return {3: _numbers(_CIFAR100_THREE)[ten], 10: ten, 20: coarse, 100: own}
  if base in _DIGITS:
    _check(name, num_classes, 10)
    return {2: own % 2, 10: own}
  return {num_classes: own}


def _check(name: str, num_classes: int, known: int) -> None:
  if num_classes != known:
    raise ValueError(
      f"the hierarchy of {name!r} is over its {known} classes, got num_classes={num_classes}; load "
      "it with its finest labels."
    )


def _numbers(text: str) -> np.ndarray:
  return np.array(text.split(), np.int32)
