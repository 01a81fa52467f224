"""Outputs of networks as labels: depths, normals, edges and classes, at the image's size."""

from __future__ import annotations

import numpy as np

from jaxmtl.data.experts.layout import BACKGROUND
from jaxmtl.data.map_files import resized

MAP_KINDS = ("nearness", "depth", "normal", "edge", "classes")
"""What maps may be: the larger the nearer; the larger the farther; vectors; the larger the more of
an edge; scores of classes, or their numbers."""


def depth_label(nearness: np.ndarray) -> np.ndarray:
  """A label of depth, near is bright, by the least and the greatest value.

  Args:
    nearness: float `[H, W]`, the larger the nearer, such as a disparity or an inverse depth; for a
      depth its negative.

  Returns:
    uint8 `[H, W]`; zeros where all is one depth.

  Raises:
    ValueError: if a value is not finite, or the shape is another.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data import experts
    >>> experts.depth_label(np.array([[1.0, 2.0, 3.0]])).tolist()
    [[0, 128, 255]]
  """
  values = _finite(nearness, 2)
  low, range_ = values.min(), np.ptp(values)
  return np.round(255 * (values - low) / (range_ or 1)).astype(np.uint8)


def normal_label(normals: np.ndarray) -> np.ndarray:
  """A label of normals: (n + 1) / 2.

  Args:
    normals: float `[H, W, 3]`, of any length; to the right, up, and towards the camera.

  Returns:
    uint8 `[H, W, 3]`; 0 where the vector is.

  Raises:
    ValueError: if a value is not finite, or the shape is another.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data import experts
    >>> experts.normal_label(np.array([[[0.0, 0.0, 2.0]]])).tolist()
    [[[128, 128, 255]]]
  """
  values = _finite(normals, 3)
  if values.shape[-1] != 3:
    raise ValueError(f"normals must be [height, width, 3], got shape {values.shape}.")
  length = np.linalg.norm(values, axis=-1, keepdims=True)
  unit = values / np.where(length > 0, length, 1)
  return np.where(length > 0, np.round(255 * (unit + 1) / 2), 0).astype(np.uint8)


def class_label(scores: np.ndarray) -> np.ndarray:
  """A label of classes: the one of the highest score.

  Args:
    scores: `[H, W, classes]`, at most 255 classes, such as logits.

  Returns:
    uint8 `[H, W]`.

  Raises:
    ValueError: if a value is not finite, or the shape is another.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data import experts
    >>> experts.class_label(np.array([[[0.1, 0.9], [0.8, 0.2]]])).tolist()
    [[1, 0]]
  """
  values = _finite(scores, 3)
  if values.shape[-1] > BACKGROUND:
    raise ValueError(f"scores must be of at most {BACKGROUND} classes, got {values.shape[-1]}.")
  return values.argmax(-1).astype(np.uint8)


def map_label(kind: str, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """A label of a network's output.

  Args:
    kind: one of `MAP_KINDS`.
    values: `[H, W]` or `[H, W, C]`, at any height and width; whole numbers are classes'.
    size: height and width of the image.

  Returns:
    uint8 `[*size]`, or `[*size, 3]` for normals.

  Raises:
    ValueError: if the kind is not known, the shape does not fit, or a value is not finite or no
      class.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data import experts
    >>> experts.map_label("depth", np.array([[1.0, 3.0]]), (2, 2)).tolist()
    [[255, 0], [255, 0]]
  """
  if kind not in MAP_KINDS:
    raise ValueError(f"kind must be one of {', '.join(MAP_KINDS)}, got {kind!r}.")
  if values.ndim == 3 and values.shape[-1] == 1 and kind != "classes":
    values = values[..., 0]
  if kind == "classes" and np.issubdtype(values.dtype, np.integer):
    classes = resized(values.reshape(values.shape[:2]), size, "label")
    if classes.min() < 0 or classes.max() > BACKGROUND:
      raise ValueError(f"classes must be from 0 to 255, got {classes.min()} .. {classes.max()}.")
    return classes.astype(np.uint8)
  bands = np.asarray(values, np.float32).reshape(*values.shape[:2], -1)
  values = resized(bands, size, "image").reshape(*size, *values.shape[2:])
  if kind == "classes":
    return class_label(values)
  if kind == "normal":
    return normal_label(values)
  found = depth_label(-values if kind == "depth" else values)
  return 255 - found if kind == "edge" else found


def _finite(values: np.ndarray, ndim: int) -> np.ndarray:
  found = np.asarray(values, np.float32)
  if found.ndim != ndim or not found.size:
    raise ValueError(f"a map of {ndim} axes was expected, got shape {found.shape}.")
  if not np.isfinite(found).all():
    raise ValueError("the network's output has values that are not finite.")
  return found
