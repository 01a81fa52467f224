"""What a set of binary labels is worth: how many different divisions, how far apart the classes."""

from typing import NamedTuple

import jax
import numpy as np

from jaxmtl.labels.divisions import first_occurrences


class LabelReport(NamedTuple):
  """Counts of columns (`num_distinct + num_duplicated + num_constant = dim`) and distances.

  Attributes:
    num_distinct: distinct divisions of the classes, a column and its complement being one.
    num_duplicated: columns that repeat the division of an earlier one.
    num_constant: columns with the same bit for all classes.
    min_hamming: least number of bits in which two classes differ.
    mean_hamming: mean number of bits in which two classes differ; dim / 2 for random labels.
  """

  num_distinct: int
  num_duplicated: int
  num_constant: int
  min_hamming: int
  mean_hamming: float


def describe_labels(labels: jax.typing.ArrayLike) -> LabelReport:
  """Count the divisions in binary labels and measure the distances between classes.

  Args:
    labels: `[num_classes, dim]` of zeros and ones, at least two classes.

  Returns:
    A `LabelReport`.

  Raises:
    ValueError: if `labels` are not a matrix of zeros and ones with at least two rows.

  Example:
    >>> from jaxmtl.labels import all_divisions
    >>> describe_labels(all_divisions(4))
    LabelReport(num_distinct=7, num_duplicated=0, num_constant=0, min_hamming=4, mean_hamming=4.0)

  Reference:
    Binary Labels, section 4.
  """
  values = np.asarray(labels)
  if values.ndim != 2 or len(values) < 2:
    raise ValueError(
      f"labels must be [num_classes, dim] with at least two classes, got shape {values.shape}."
    )
  if not np.isin(values, (0, 1)).all():
    raise ValueError("labels must hold only zeros and ones, got other values; round them first.")
  bits = values.astype(np.uint8)
  constant, first = first_occurrences(bits)
  # Differing bits of two classes: |a| + |b| - 2 a.b; exact in float64.
  exact = bits.astype(np.float64)
  ones = exact.sum(axis=1)
  distances = ones[:, None] + ones[None, :] - 2 * exact @ exact.T
  pairs = distances[np.triu_indices(len(bits), k=1)]
  return LabelReport(
    num_distinct=int(first.sum()),
    num_duplicated=int((~first & ~constant).sum()),
    num_constant=int(constant.sum()),
    min_hamming=int(pairs.min()),
    mean_hamming=float(pairs.mean()),
  )
