"""Position embeddings and relative position biases for images of another size."""

import math

import jax
import jax.numpy as jnp
import numpy as np

_SUFFIXES = ("pos_embed", "pos_embedding", "relative_position_bias_table")


def resize_positions(
  name: str, value: np.ndarray, shape: tuple[int, ...], grid: tuple[int, int] | None = None
) -> np.ndarray:
  """Interpolate positions (bicubic, with antialiasing) to another number of patches.

  Class tokens' positions are kept. Absolute embeddings `[1, 1 + H W, D]` are resized as an
  `H x W` map, tables of relative biases `[(2 H - 1) (2 W - 1) + extra, heads]` as a map of
  `(2 H - 1) x (2 W - 1)` offsets; the old ones are taken to be square, if they can be.

  Args:
    name: the tensor's name; others than positions are returned as they are.
    value: the tensor.
    shape: the wanted shape.
    grid: the wanted numbers of patches (H, W), or of a window's; None for square ones.

  Returns:
    The tensor, with `shape` where it can be reached.

  Raises:
    ValueError: if the wanted positions are not square and `grid` does not say what they are.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.models.pretrained.positions import resize_positions
    >>> resize_positions("pos_embed", np.ones((1, 5, 3)), (1, 17, 3)).shape
    (1, 17, 3)

  Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.2; for the tables,
  Liu et al., "Swin Transformer", 2021, section 3.2.
  """
  if value.ndim != len(shape) or not name.endswith(_SUFFIXES):
    return value
  axis = value.ndim - 2
  if np.delete(value.shape, axis).tolist() != np.delete(shape, axis).tolist():
    return value
  old, new = value.shape[axis], shape[axis]
  relative = name.endswith("table")
  if relative:  # offsets, an odd number squared, then three rows of the class token if there is one
    extra = 0 if math.isqrt(new) ** 2 == new and new % 2 else 3
    target = None if grid is None else (2 * grid[0] - 1, 2 * grid[1] - 1)
  else:
    extra, target = 1, grid
  if old == new and (target is None or math.isqrt(old - extra) ** 2 != old - extra):
    return value
  source = _square(name, old - extra, None)
  target = _square(name, new - extra, target)
  if source == target:
    return value
  rows = jnp.asarray(value.reshape(old, -1), jnp.float32)
  tokens, rows = (rows[-extra or old :], rows[: old - extra]) if relative else (rows[:1], rows[1:])
  rows = jax.image.resize(
    rows.reshape(*source, -1), (*target, rows.shape[-1]), "cubic", antialias=True
  ).reshape(new - extra, -1)
  joined = [rows, tokens] if relative else [tokens, rows]
  return np.asarray(jnp.concatenate(joined)).reshape(shape)


def _square(name: str, count: int, grid: tuple[int, int] | None) -> tuple[int, int]:
  """The map's height and width, the given ones or those of a square."""
  side = math.isqrt(count)
  if grid is None and side * side == count:
    return side, side
  if grid is None or math.prod(grid) != count:
    raise ValueError(
      f"{name} needs a map of {count} positions, neither square nor what grid={grid} gives: pass"
      " grid=(rows, columns), the numbers of patches (positions in the file must be square)"
    )
  return grid
