"""Few labels for segmentation: some images with all, or all images with some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional

if TYPE_CHECKING:
  from scipy import ndimage
else:
  ndimage = Optional("scipy.ndimage", "data", __name__)

VOID = -1
_SQUARE = np.ones((5, 5), bool)


def classes_present(labels: Any, num_classes: int) -> np.ndarray:
  """Which classes the label map of each image has.

  Args:
    labels: integers `[N, H, W]`, or any sequence of maps `[H, W]`; negative ones are void.
    num_classes: C.

  Returns:
    bool `[N, C]`.

  Raises:
    ValueError: naming the image, for a label of no class.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data import classes_present
    >>> classes_present(np.array([[[0, 2, -1]]]), 3).tolist()
    [[True, False, True]]
  """
  found = np.zeros((len(labels), num_classes), bool)
  for i, one in enumerate(labels):
    values = np.unique(np.asarray(one))
    values = values[values >= 0]
    if values.size and values[-1] >= num_classes:
      raise ValueError(
        f"image {i} has the label {values[-1]}, but there are {num_classes} classes."
      )
    found[i, values] = True
  return found


def balanced_images(present: Any, count: int, *, at_least: int = 1, seed: int = 0) -> np.ndarray:
  """Draw images to be labelled, so that no class is left out.

  Images are looked at in random order. One is taken if it has enough classes, and among them one
  that the fewest of the images taken so far have. What was refused has another turn once all others
  had theirs. Classes that no image has do not count.

  Args:
    present: which classes each image has, bool `[N, C]`, of `classes_present`.
    count: how many to draw.
    at_least: classes that each must have; the papers' are 3 (Pascal VOC), 12 (Cityscapes) and 1.
    seed: of the order.

  Returns:
    Their numbers, int `[count]`.

  Raises:
    ValueError: if options are out of range, or too few images fit the rules.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data import balanced_images
    >>> present = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], bool)
    >>> drawn = balanced_images(present, 2)
    >>> 3 in drawn  # the only image with the second class
    True

  Reference: Liu, Zhi, Johns and Davison, "Bootstrapping Semantic Segmentation with Regional
  Contrast", 2022, section 4.
  """
  present = np.asarray(present, bool)
  if present.ndim != 2:
    raise ValueError(f"present must be [images, classes], got shape {present.shape}.")
  if at_least < 1:
    raise ValueError(f"at_least must be at least 1, got {at_least}.")
  if not 1 <= count <= len(present):
    raise ValueError(f"count must be between 1 and {len(present)}, the images, got {count}.")
  present = present[:, present.any(axis=0)]
  fits = present.sum(axis=1) >= at_least
  if fits.sum() < count:
    raise ValueError(
      f"count is {count}, but {fits.sum()} of {len(present)} images have {at_least} classes or "
      "more; ask for fewer images or fewer classes in each."
    )
  left = [i for i in np.random.default_rng(seed).permutation(len(present)) if fits[i]]
  taken: list[int] = []
  seen = np.zeros(present.shape[1], int)
  while len(taken) < count:
    refused = []
    for i in left:
      rarest = seen == seen.min()
      if len(taken) < count and present[i][rarest].any():
        taken.append(int(i))
        seen += present[i]
      else:
        refused.append(i)
    if len(refused) == len(left):
      # No image that is left has a rarest class: those with the rarest that they have, then.
      of_rest = present[left].any(axis=0)
      seen = np.where(of_rest, seen, seen.max() + count)
    left = refused
  return np.array(taken)


def partial_labels(labels: Any, share: float, *, seed: int = 0) -> np.ndarray:
  """Leave each class of a label map a spot of its labels; the rest becomes void.

  For each class one of its pixels is drawn, and grows by a square of 5x5 within the class until it
  covers the share. Where it fills a part of the class that is apart from others, another pixel is
  drawn in what is left.

  Args:
    labels: integers `[H, W]`; negative ones are void.
    share: of each class's pixels, in [0, 1]; 0 keeps one pixel. The papers' are 0, .01, .05, .25.
    seed: of the draws; give each image another one.

  Returns:
    The map, int32 `[H, W]`, with -1 where the label was taken away.

  Raises:
    ValueError: if the share is out of range, or the map is none.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data import partial_labels
    >>> labels = np.zeros((8, 8), int)
    >>> labels[:, 4:] = 1
    >>> left = partial_labels(labels, 0)
    >>> [(left == c).sum().item() for c in (-1, 0, 1)]
    [62, 1, 1]

  Reference: as of `balanced_images`.
  """
  labels = np.asarray(labels)
  if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f"labels must be one map of integers, [H, W], got {labels.dtype} {labels.shape}."
    )
  if not 0 <= share <= 1:
    raise ValueError(f"share must be between 0 and 1, got {share}.")
  rng = np.random.default_rng(seed)
  kept = np.full(labels.shape, VOID, np.int32)
  for c in np.unique(labels[labels >= 0]):
    kept[_spot(labels == c, share, rng)] = c
  return kept


def _spot(region: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
  """Some of a region's pixels, grown from one."""
  wanted = max(1, int(np.ceil(share * region.sum())))
  spot = np.zeros_like(region)
  while (size := spot.sum()) < wanted:
    grown = ndimage.binary_dilation(spot, _SQUARE) & region if size else spot
    if grown.sum() == size:
      grown = spot.copy()
      grown.flat[rng.choice(np.flatnonzero(region & ~spot))] = True
    spot = grown
  return spot
