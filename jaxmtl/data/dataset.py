"""Labelled images in memory, and the three parts of a data set."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# As many as an image has at most; a first axis of so few, and a last one of more, is turned round.
_CHANNELS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDataset:
  """Images with integer labels, in host memory.

  Attributes:
    images: uint8 `[num_examples, height, width, channels]`.
    labels: int32 `[num_examples]` in `0 .. num_classes - 1`.
    num_classes: number of classes, whether all of them occur or not.
    class_names: A name for every class, or None.

  Raises:
    TypeError: if a dtype is wrong.
    ValueError: if a shape or a label is wrong.

  Example:
    >>> import numpy as np
    >>> data = ImageDataset(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 2, 1], np.int32), 3)
    >>> len(data), data.subset([1, 3]).labels.tolist()
    (4, [1, 1])
  """

  images: np.ndarray
  labels: np.ndarray
  num_classes: int
  class_names: tuple[str, ...] | None = None

  def __post_init__(self) -> None:
    if self.images.dtype != np.uint8:
      raise TypeError(
        f"images must be uint8 in 0 .. 255, got {self.images.dtype}; scale and cast them first."
      )
    if self.images.ndim != 4:
      raise ValueError(
        "images must be [num_examples, height, width, channels], "
        f"got shape {self.images.shape}; grayscale images need a last axis of 1."
      )
    if self.images.shape[1] <= _CHANNELS < self.images.shape[3]:
      raise ValueError(
        f"images must have their channels last, got shape {self.images.shape}; move the axis of "
        f"{self.images.shape[1]} with numpy.moveaxis(images, 1, -1)."
      )
    if self.labels.shape != self.images.shape[:1]:
      raise ValueError(
        f"labels must be one integer an image, shape {self.images.shape[:1]}, "
        f"got {self.labels.shape}."
      )
    if not np.issubdtype(self.labels.dtype, np.integer):
      raise TypeError(f"labels must be integers, got {self.labels.dtype}.")
    if self.labels.size and not (self.labels.min() >= 0 and self.labels.max() < self.num_classes):
      raise ValueError(
        f"labels must be in 0 .. num_classes - 1 = {self.num_classes - 1}, "
        f"got {self.labels.min()} .. {self.labels.max()}."
      )
    if self.class_names is not None and len(self.class_names) != self.num_classes:
      raise ValueError(
        f"class_names must name all {self.num_classes} classes, got {len(self.class_names)}."
      )
    object.__setattr__(self, "labels", self.labels.astype(np.int32, copy=False))

  def __len__(self) -> int:
    return len(self.images)

  def subset(self, indices: Any) -> "ImageDataset":
    """Select examples.

    Args:
      indices: integers `[K]` (or a slice, or booleans `[num_examples]`).

    Returns:
      The selected examples in the given order, with the same classes.
    """
    if not isinstance(indices, slice):
      indices = np.asarray(indices)
      if indices.size == 0:
        indices = indices.astype(np.int64)
    return dataclasses.replace(self, images=self.images[indices], labels=self.labels[indices])


class Splits(NamedTuple):
  """The parts of a data set.

  Attributes:
    train: what is learned from.
    validation: what choices are made on, or None if nothing is held out.
    test: what is reported on, and never chosen on.
    name: name of the data set.
  """

  train: ImageDataset
  validation: ImageDataset | None
  test: ImageDataset
  name: str


class TaskImages(NamedTuple):
  """Images with one label a task, in host memory.

  Attributes:
    images: uint8 `[num_examples, height, width, channels]`.
    labels: by task, int32 `[num_examples]`.
  """

  images: np.ndarray
  labels: dict[str, np.ndarray]


class TaskSplits(NamedTuple):
  """The parts of a data set with several tasks.

  Attributes:
    train: what is learned from.
    validation: what choices are made on, or None if nothing is held out.
    test: what is reported on, and never chosen on.
    num_classes: number of classes by task.
  """

  train: TaskImages
  validation: TaskImages | None
  test: TaskImages
  num_classes: dict[str, int]


def arrays(
  images: Any,
  labels: Any,
  *,
  num_classes: int | None = None,
  class_names: Sequence[str] | None = None,
) -> ImageDataset:
  """Make an `ImageDataset` of arrays in memory.

  Args:
    images: uint8 `[num_examples, height, width, channels]`, or without the channel axis for
      grayscale.
    labels: integers `[num_examples]`, or `[num_examples, 1]`.
    num_classes: number of classes; None takes the length of `class_names`, or else the highest
      label plus one, if every class up to it occurs.
    class_names: A name for every class, or None.

  Returns:
    The data set.

  Raises:
    TypeError: if a dtype is wrong.
    ValueError: if a shape or a label is wrong.

  Example:
    >>> import numpy as np
    >>> arrays(np.zeros((3, 8, 8), np.uint8), [0, 2, 1]).images.shape
    (3, 8, 8, 1)
  """
  images, labels = np.asarray(images), np.asarray(labels)
  if images.ndim == 3:
    images = images[..., None]
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  if num_classes is None:
    num_classes = count_classes([labels]) if class_names is None else len(class_names)
  names = None if class_names is None else tuple(str(name) for name in class_names)
  return ImageDataset(images, labels, int(num_classes), names)


def count_classes(labels: Sequence[np.ndarray]) -> int:
  """The number of classes that the labels of all parts together tell.

  Raises:
    ValueError: if there are none, or a class below the highest has no example in any part: it may
      be that the highest label, such as 255, marks what has no class.

  Example:
    >>> import numpy as np
    >>> count_classes([np.array([0, 2]), np.array([1])])
    3
  """
  known = np.unique(np.concatenate([np.ravel(part) for part in labels]))
  if not known.size:
    raise ValueError("num_classes must be given when there are no examples.")
  if not np.issubdtype(known.dtype, np.integer):
    raise TypeError(f"labels must be integers, got {known.dtype}.")
  count = int(known[-1]) + 1
  known = known[known >= 0]  # what is below is refused where labels are looked at
  if known.size and len(known) < count:
    absent = int(np.flatnonzero(known != np.arange(len(known)))[0])
    raise ValueError(
      f"labels go up to {count - 1}, but none of them is {absent}; leave images out whose label "
      f"means that there is none, or say num_classes={count}."
    )
  return count
