"""What the numbers in Cityscapes' label maps mean."""

from __future__ import annotations

from typing import Any

import numpy as np

VOID = -1
TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids that are classes, in the order of the classes 0 to 18."""
# Parts of semantic ids, by part id.
_PERSON = {1: 1, 2: 2, 3: 3, 4: 4}
_VEHICLE = {1: 5, 2: 6, 3: 7, 4: 8, 5: 9}
_PARTS = {24: _PERSON, 25: _PERSON, 26: _VEHICLE, 27: _VEHICLE, 28: _VEHICLE}


def cityscapes_train_ids(ids: Any) -> np.ndarray:
  """Classes of Cityscapes' ids.

  Args:
    ids: integers, 0 to 33; -1 is the licence plate.

  Returns:
    int32 of the same shape: 0 to 18, or -1 for all that is not trained on.

  Raises:
    ValueError: for other ids, as maps of classes instead of ids have them.

  Example:
    >>> from jaxmtl.data import cityscapes_train_ids
    >>> cityscapes_train_ids([7, 8, 0, 33]).tolist()
    [0, 1, -1, 18]
  """
  ids = np.asarray(ids)
  if ids.size and (ids.min() < -1 or ids.max() > 33):
    raise ValueError(
      f"ids must be Cityscapes' from -1 to 33, got {ids.min()} to {ids.max()}; 255 is in maps of "
      "training ids, which need no translation."
    )
  table = np.full(35, VOID, np.int32)
  table[np.array(TRAIN_IDS)] = np.arange(len(TRAIN_IDS))
  return table[ids]  # the last entry is that of -1


def cityscapes_parts(uids: Any) -> np.ndarray:
  """Ten classes of parts, of panoptic-parts numbers.

  A number of 100,000 or more is `semantic * 100,000 + instance * 100 + part`; smaller ones have no
  part.

  Args:
    uids: integers.

  Returns:
    int32 of the same shape: 0 background; torso, head, arms and legs of persons and riders 1 to 4;
    windows, wheels, lights, licence plate and chassis of cars, trucks and buses 5 to 9.

  Example:
    >>> from jaxmtl.data import cityscapes_parts
    >>> cityscapes_parts([24, 24001, 2400102, 2600005]).tolist()
    [0, 0, 2, 9]
  """
  uids = np.asarray(uids)
  semantic, part = uids // 100_000, uids % 100
  table = np.zeros((100, 100), np.int32)
  for sid, parts in _PARTS.items():
    for pid, label in parts.items():
      table[sid, pid] = label
  known = (uids >= 100_000) & (semantic < 100)
  return np.where(known, table[np.where(known, semantic, 0), part], 0)


def cityscapes_disparity(raw: Any, shrunk: int = 4) -> np.ndarray:
  r"""Disparity in pixels of the smaller image, of 16-bit numbers.

  .. math:: 0 \to -1, \qquad d \to \frac{d - 1}{256 \cdot \text{shrunk}}

  Args:
    raw: integers, 0 where there is no measurement.
    shrunk: how many times smaller the image is than that of the camera, 1024x2048.

  Returns:
    float32 of the same shape, -1 where there is no measurement.

  Example:
    >>> from jaxmtl.data import cityscapes_disparity
    >>> cityscapes_disparity([0, 1, 1025]).tolist()
    [-1.0, 0.0, 1.0]
  """
  raw = np.asarray(raw)
  return np.where(raw == 0, -1, (raw.astype(np.float32) - 1) / (256 * shrunk)).astype(np.float32)
