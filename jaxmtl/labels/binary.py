"""Binary labels: a class is a random vector of bits, a bit a random division of the classes."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.labels.divisions import codes_to_bits, first_occurrences, num_divisions

_ENUMERABLE = 21  # Up to 2^20 divisions, codes are drawn without replacement.
_ATTEMPTS = 100


def binary_labels(key: jax.Array, num_classes: int, dim: int = 4096) -> jax.Array:
  """Draw binary labels: bits that are 0 or 1 with equal probability.

  Each column divides the classes into two groups, and so is a binary classification task of its
  own; a column and its complement are the same task. Constant columns teach nothing and are never
  kept. Columns are distinct as long as enough divisions exist, `dim <= 2^(num_classes-1) - 1`;
  beyond that every division is used, as evenly as possible, and a warning says how many there are.
  No two classes share a label.

  Runs on the host: call it once, outside of `jax.jit`.

  Args:
    key: PRNG key; the same key gives the same labels on every backend and in every precision.
    num_classes: number of classes, at least 2.
    dim: number of bits E of a label, at least `log2(num_classes)`.

  Returns:
    float32 `[num_classes, dim]` of zeros and ones; row c is the label of class c.

  Raises:
    ValueError: if `num_classes` < 2, or `dim` bits cannot tell the classes apart.

  Warns:
    UserWarning: If `dim` exceeds the number of distinct divisions, so that some repeat.

  Example:
    >>> import jax
    >>> labels = binary_labels(jax.random.key(0), num_classes=100, dim=4096)
    >>> labels.shape, labels.dtype.name
    ((100, 4096), 'float32')

  Reference:
    Binary Labels, section 4; E = 4096 in section 5.4.
  """
  if num_classes < 2:
    raise ValueError(
      f"num_classes must be at least 2, got {num_classes}: one class has no division."
    )
  least = (num_classes - 1).bit_length()
  if dim < least:
    raise ValueError(
      f"dim must be at least {least} for {num_classes} classes, got {dim}: "
      f"{dim} bits make only {2 ** max(dim, 0)} distinct labels."
    )
  # NumPy's bits, seeded by the key: `jax.random.bernoulli` gives others under jax_enable_x64.
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
  available = num_divisions(num_classes)
  if dim > available:
    warnings.warn(
      f"{num_classes} classes have only {available} distinct divisions, so {dim - available} of "
      f"the {dim} columns repeat one; `all_divisions({num_classes})` gives each once.",
      UserWarning,
      stacklevel=2,
    )
  # Equal rows are rare unless dim is close to log2(num_classes); there, distinct rows are drawn
  # instead, and it is the columns that then hardly ever coincide.
  for draw in (_distinct_columns, _distinct_rows):
    for _ in range(_ATTEMPTS):
      bits = draw(rng, num_classes, dim)
      if _rows_distinct(bits) and _columns_distinct(bits):
        return jnp.asarray(bits, dtype=jnp.float32)
  raise RuntimeError(
    f"no distinct labels found for num_classes={num_classes}, dim={dim}; please report this."
  )


def _distinct_columns(rng: np.random.Generator, num_classes: int, dim: int) -> np.ndarray:
  """Bits `[num_classes, dim]`, iid given that no column is constant or repeats another."""
  if num_classes > _ENUMERABLE:
    bits = rng.integers(0, 2, size=(num_classes, dim), dtype=np.uint8)
    while (redraw := ~first_occurrences(bits)[1]).any():
      bits[:, redraw] = rng.integers(0, 2, size=(num_classes, redraw.sum()), dtype=np.uint8)
    return bits
  available = num_divisions(num_classes)
  rounds, rest = divmod(dim, available)
  codes = np.concatenate(
    [np.tile(np.arange(available), rounds), rng.choice(available, size=rest, replace=False)]
  )
  bits = codes_to_bits(rng.permutation(codes) + 1, num_classes)
  return bits ^ rng.integers(0, 2, size=(1, dim), dtype=np.uint8)


def _distinct_rows(rng: np.random.Generator, num_classes: int, dim: int) -> np.ndarray:
  """Bits `[num_classes, dim]`, iid given that no two rows are equal; for small dim."""
  return codes_to_bits(rng.choice(2**dim, size=num_classes, replace=False), dim).T


def _rows_distinct(bits: np.ndarray) -> bool:
  return len(np.unique(np.packbits(bits, axis=1), axis=0)) == len(bits)


def _columns_distinct(bits: np.ndarray) -> bool:
  """Whether there are as many distinct divisions as there can be, and no constant column."""
  constant, first = first_occurrences(bits)
  return not constant.any() and first.sum() == min(bits.shape[1], num_divisions(len(bits)))
