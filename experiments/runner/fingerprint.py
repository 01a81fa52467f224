"""What tells data from others: their form, and a sample of what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

# Rows of an array, and examples of a source that reads one by one, that are looked at.
_ROWS, _EXAMPLES = 64, 16
_KEPT = 8
_seen: dict[int, tuple[Any, str]] = {}


def fingerprint(data: Any) -> str:
  """A short text that is another one where data have changed.

  Whole numbers count to the bit: all of a vector, such as labels, and some rows of images. Of other
  numbers mean, deviation and range count, to three digits: their last bits may differ between
  devices that computed them, which are no other data.

  Args:
    data: arrays or sources of examples, in nested dicts.

  Example:
    >>> import numpy as np
    >>> from experiments.runner.fingerprint import fingerprint
    >>> labels = np.array([0, 1, 2])
    >>> fingerprint({"kind": labels}) == fingerprint({"kind": labels.copy()})
    True
    >>> fingerprint({"kind": labels}) == fingerprint({"kind": labels[::-1]})
    False
  """
  return hashlib.sha256(_text(data).encode()).hexdigest()[:16]


def _text(data: Any) -> str:
  if isinstance(data, Mapping):
    return "{" + ",".join(f"{name}:{_text(data[name])}" for name in sorted(data)) + "}"
  return _of_array(data) if hasattr(data, "dtype") else _of_source(data)


def _of_array(values: Any) -> str:
  values = np.asarray(values)
  form = f"{values.dtype}{values.shape}"
  if not values.size:
    return form
  if not np.issubdtype(values.dtype, np.inexact):
    some = values if values.ndim < 2 else values[_spread(len(values), _ROWS)]
    return f"{form} {hashlib.sha256(np.ascontiguousarray(some).tobytes()).hexdigest()}"
  known = values[np.isfinite(values)].astype(np.float64)
  if not known.size:
    return form
  found = known.mean(), known.std(), known.min(), known.max()
  return f"{form} {known.size} " + " ".join(f"{number:.3g}" for number in found)


def _of_source(source: Any) -> str:
  # Jobs share their data, and files take time. A source that is kept has its number for itself.
  if id(source) not in _seen:
    some = [source[i] for i in _spread(len(source), _EXAMPLES).tolist()]
    stacked = {name: np.stack([np.asarray(one[name]) for one in some]) for name in some[0]}
    # Files can say more, without being decoded.
    own = source.fingerprint() if hasattr(source, "fingerprint") else ""
    _seen[id(source)] = source, f"{len(source)} {own}{_text(stacked)}"
    while len(_seen) > _KEPT:
      del _seen[next(iter(_seen))]
  return _seen[id(source)][1]


def _spread(count: int, most: int) -> np.ndarray:
  return np.linspace(0, count - 1, min(count, most)).astype(int)
