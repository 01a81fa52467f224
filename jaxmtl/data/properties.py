"""Images with a class and a continuous property: classification and regression in one data set."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class PropertyImages:
  """Images with a class and the value of a property each, in host memory.

  Attributes:
    images: uint8 `[num_examples, height, width, channels]`.
    classes: int32 `[num_examples]`.
    values: float32 `[num_examples]`, finite, in the property's own unit.

  Raises:
    TypeError: if a dtype is wrong.
    ValueError: if a shape is wrong, or a value is not finite.

  Example:
    >>> import numpy as np
    >>> images = np.zeros((2, 8, 8, 1), np.uint8)
    >>> part = PropertyImages(images, np.array([0, 1]), np.array([185.0, 420.0]))
    >>> len(part), part.subset([1]).values.tolist()
    (2, [420.0])
  """

  images: np.ndarray
  classes: np.ndarray
  values: np.ndarray

  def __post_init__(self) -> None:
    if self.images.dtype != np.uint8:
      raise TypeError(f"images must be uint8 in 0 .. 255, got {self.images.dtype}.")
    if self.images.ndim != 4:
      raise ValueError(
        f"images must be [num_examples, height, width, channels], got shape {self.images.shape}."
      )
    for name in ("classes", "values"):
      if getattr(self, name).shape != self.images.shape[:1]:
        raise ValueError(
          f"{name} must be one an image, shape {self.images.shape[:1]}, got "
          f"{getattr(self, name).shape}."
        )
    if not np.issubdtype(self.classes.dtype, np.integer):
      raise TypeError(f"classes must be integers, got {self.classes.dtype}.")
    with np.errstate(over="ignore"):  # what is too large is infinite in 32 bits
      bad = np.flatnonzero(~np.isfinite(self.values.astype(np.float32)))
    if len(bad):
      raise ValueError(
        f"values must be finite, got {self.values[bad[0]]} at image {bad[0]} ({len(bad)} in all, "
        "in 32 bits); leave these images out."
      )
    object.__setattr__(self, "classes", self.classes.astype(np.int32, copy=False))
    object.__setattr__(self, "values", self.values.astype(np.float32, copy=False))

  def __len__(self) -> int:
    return len(self.images)

  def subset(self, indices: Any) -> PropertyImages:
    """Select examples by integers `[K]`, booleans `[num_examples]` or a slice."""
    return PropertyImages(self.images[indices], self.classes[indices], self.values[indices])


class PropertySplits(NamedTuple):
  """The parts of a data set with a class and a property.

  Attributes:
    train: what is learned from.
    validation: what choices are made on.
    test: what is reported on, and never chosen on.
    class_names: A name for every class, of which there are `len(class_names)`.
    property_name: what the values are, with the unit.
    name: name of the data set.
  """

  train: PropertyImages
  validation: PropertyImages
  test: PropertyImages
  class_names: tuple[str, ...]
  property_name: str
  name: str
