"""Divisions of the classes into two groups, as integer codes and as columns of bits."""

import jax
import jax.numpy as jnp
import numpy as np

_MAX_CLASSES = 20  # 2^19 - 1 columns: 42 MB.


def all_divisions(num_classes: int, even: bool = False) -> jax.Array:
  """Enumerate the ways to divide the classes into two groups, each once.

  A column and its complement are the same division, so class 0 always gets bit 0: there are
  `2^(N-1) - 1` divisions of N classes, `C(N, N/2) / 2` of them even.

  Args:
    num_classes: number of classes N, 2 to 20.
    even: keep only the divisions into two groups of N/2 classes.

  Returns:
    float32 `[num_classes, num_divisions]` of zeros and ones; a row is a class's label.

  Raises:
    ValueError: if `num_classes` is out of range, or odd with `even`.

  Example:
    >>> all_divisions(4).shape
    (4, 7)
    >>> all_divisions(4, even=True)
    Array([[0., 0., 0.],
           [0., 1., 1.],
           [1., 0., 1.],
           [1., 1., 0.]], dtype=float32)

  Reference:
    Binary Labels, section 4 and figure 2.
  """
  if not 2 <= num_classes <= _MAX_CLASSES:
    raise ValueError(
      f"num_classes must be 2 to {_MAX_CLASSES}, got {num_classes}: the number of divisions "
      "doubles with every class. Sample them with `binary_labels` instead."
    )
  if even and num_classes % 2:
    raise ValueError(
      f"even=True needs an even num_classes, got {num_classes}; an odd number has no even division."
    )
  bits = codes_to_bits(np.arange(1, num_divisions(num_classes) + 1), num_classes)
  if even:
    bits = bits[:, bits.sum(axis=0, dtype=np.int64) == num_classes // 2]
  return jnp.asarray(bits, dtype=jnp.float32)


def num_divisions(num_classes: int) -> int:
  """Count the distinct divisions into two non-empty groups."""
  return 2 ** (num_classes - 1) - 1


def codes_to_bits(codes: np.ndarray, width: int) -> np.ndarray:
  """Write integer codes `[K]` as uint8 bits `[width, K]`, the most significant first."""
  shifts = np.arange(width - 1, -1, -1)[:, None]
  return ((codes[None, :] >> shifts) & 1).astype(np.uint8)


def first_occurrences(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Tell which columns are constant, and which are the first of their division.

  Args:
    bits: uint8 `[num_classes, dim]` of zeros and ones.

  Returns:
    Two boolean vectors `[dim]`: constant, first. A column in neither repeats an earlier one.
  """
  canonical = bits ^ bits[:1]  # Class 0 gets bit 0: a column and its complement become equal.
  constant = ~canonical.any(axis=0)
  _, index = np.unique(np.packbits(canonical, axis=0), axis=1, return_index=True)
  first = np.zeros(bits.shape[1], dtype=bool)
  first[index] = True
  return constant, first & ~constant
