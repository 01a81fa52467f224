"""Stratified subsets: nested fractions of the labels, and held-out shares."""

import math

import numpy as np


def stratified_split(
  labels: np.ndarray, share: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Hold out a stratified share of the examples.

  Args:
    labels: integers `[num_examples]`.
    share: share of every class to hold out, `0 < share < 1`.
    seed: seed of the choice.

  Returns:
    Indices kept and indices held out, each in increasing order; together all examples.

  Raises:
    ValueError: if `share` is out of range, or leaves one part without any example.

  Example:
    >>> import numpy as np
    >>> kept, held_out = stratified_split(np.repeat(np.arange(3), 10), share=0.2)
    >>> len(kept), len(held_out)
    (24, 6)
  """
  labels = _vector(labels)
  if not 0 < share < 1:
    raise ValueError(f"share must be between 0 and 1, got {share}.")
  count = _round(share * len(labels))
  if not 0 < count < len(labels):
    raise ValueError(
      f"share must leave examples on both sides, got {share} of {len(labels)} examples."
    )
  order = _stratified_order(labels, seed)
  return np.sort(order[count:]), np.sort(order[:count])


def labelled_fraction(
  labels: np.ndarray, fraction: float, *, seed: int = 0, of: int | None = None
) -> np.ndarray:
  """Choose a small stratified subset of a training set.

  The same seed gives nested subsets: the examples of 1 % are among those of 2 %. Classes of equal
  size get equally many examples wherever the total allows it; otherwise shares follow Sainte-Lague
  (highest averages), because the method of largest remainders can take an example away from a
  class when the total grows, and so does not nest.

  Args:
    labels: integers `[num_examples]`.
    fraction: share of the training set, `0 < fraction <= 1`, e.g. .01, .02, .04, .08.
    seed: seed of the choice.
    of: size of the training set that `fraction` refers to, where `labels` are of a reduced copy:
      1 % of 50,000 is 500 examples although only 10,000 are here. None: the number of labels.

  Returns:
    int64 indices `[round(fraction * of)]` in increasing order.

  Raises:
    ValueError: if `fraction` is out of range, asks for more examples than exist, or leaves a class
      that occurs in `labels` without any example.

  Example:
    >>> import numpy as np
    >>> labels = np.arange(10_000) % 100
    >>> np.bincount(labels[labelled_fraction(labels, 0.01, of=50_000)]).tolist() == [5] * 100
    True

  Reference:
    Binary Labels, section 6.3: data efficiency.
  """
  labels = _vector(labels)
  if not 0 < fraction <= 1:
    raise ValueError(f"fraction must be in (0, 1], got {fraction}; 1 % is .01.")
  total = len(labels) if of is None else of
  if total < len(labels):
    raise ValueError(
      f"of must be at least the number of labels at hand, {len(labels)}, got {total}."
    )
  count = _round(fraction * total)
  if count > len(labels):
    raise ValueError(
      f"fraction {fraction} of {total} examples is {count}, but only {len(labels)} are here; "
      f"at most {math.floor(len(labels) / total * 1e6) / 1e6:g} is possible."
    )
  order = _stratified_order(labels, seed)
  classes, first = np.unique(labels[order], return_index=True)
  empty = classes[first >= count]
  if len(empty):
    # The class that comes in last decides; rounded up, so that the value printed works.
    smallest = math.ceil((first.max() + 1) / total * 1e6) / 1e6
    shown = ", ".join(str(c) for c in empty[:10]) + (", ..." if len(empty) > 10 else "")
    raise ValueError(
      f"fraction {fraction} of {total} examples leaves {len(empty)} of {len(classes)} classes "
      f"without any ({shown}); the smallest fraction that works is {smallest:g}."
    )
  return np.sort(order[:count])


def _stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
  """Order the examples so that every prefix is stratified.

  The j-th example of a class of n, in random order, stands at (j + 1/2) / n; ties are random.
  """
  rng = np.random.default_rng(seed)
  within, ties = rng.random((2, len(labels)))
  order = np.lexsort((within, labels))
  _, start, inverse, count = np.unique(
    labels[order], return_index=True, return_inverse=True, return_counts=True
  )
  place = (np.arange(len(labels)) - start[inverse] + 0.5) / count[inverse]
  return order[np.lexsort((ties, place))]


def _round(value: float) -> int:
  """Round half up; the guard keeps .07 * 100 = 7.000000000000001 and its like harmless."""
  return math.floor(value + 0.5 + 1e-9)


def _vector(labels: np.ndarray) -> np.ndarray:
  labels = np.asarray(labels)
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or not labels.size:
    raise ValueError(
      "labels must be a non-empty vector of integers, "
      f"got shape {labels.shape} and dtype {labels.dtype}."
    )
  return labels
