"""Dense random labels, the representation that binary labels are compared with."""

import jax
import jax.numpy as jnp


def uniform_labels(
  key: jax.Array, num_classes: int, dim: int = 4096, maxval: float = 80.0
) -> jax.Array:
  """Draw dense labels whose elements are uniform in `[0, maxval)`.

  Args:
    key: PRNG key.
    num_classes: number of classes, at least 2.
    dim: length of a label, at least 1; 4096 is the paper's 64x64 map.
    maxval: upper bound of the values, > 0.

  Returns:
    float32 `[num_classes, dim]`; row c is the label of class c. Classify with `nearest_label`.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> import jax
    >>> uniform_labels(jax.random.key(0), num_classes=10).shape
    (10, 4096)

  Reference:
    Binary Labels, section 6.3: the comparison with dense random labels (Chen et al., 2021).
  """
  if num_classes < 2:
    raise ValueError(f"num_classes must be at least 2, got {num_classes}.")
  if dim < 1:
    raise ValueError(f"dim must be at least 1, got {dim}.")
  if not maxval > 0:
    raise ValueError(f"maxval must be positive, got {maxval}.")
  return jax.random.uniform(key, (num_classes, dim), jnp.float32, 0.0, maxval)
