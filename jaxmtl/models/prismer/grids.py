"""Maps on other grids, in the conventions with which the published networks were trained."""

import math

import jax
import jax.numpy as jnp
import numpy as np

_A = -0.75  # of the cubic kernel; `jax.image.resize` has -0.5


def bicubic_matrix(source: int, target: int) -> np.ndarray:
  """Weights of bicubic interpolation along an axis, without antialiasing.

  Pixels are areas whose edges are aligned; beyond the border its pixel goes on.

  Args:
    source: pixels there are.
    target: pixels wanted.

  Returns:
    float64 `[target, source]`, rows of sum 1.

  Example:
    >>> from jaxmtl.models.prismer.grids import bicubic_matrix
    >>> bicubic_matrix(4, 2)[0].tolist()
    [0.5, 0.59375, -0.09375, 0.0]

  Reference: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, with
  a = -0.75.
  """
  places = (np.arange(target) + 0.5) * (source / target) - 0.5
  first = np.floor(places).astype(int)
  matrix = np.zeros((target, source))
  for step in range(-1, 3):
    distance = np.abs(places - (first + step))
    near = ((_A + 2) * distance - (_A + 3)) * distance**2 + 1
    far = ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
    index = np.clip(first + step, 0, source - 1)
    np.add.at(matrix, (np.arange(target), index), np.where(distance <= 1, near, far))
  return matrix


def resize_table(table: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Bicubic interpolation of a square table of position embeddings.

  Args:
    table: float `[side * side, D]`, rows first.
    size: height and width of the wanted grid.

  Returns:
    `[height * width, D]`, of the dtype of `table`.

  Raises:
    ValueError: if the table is not square.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.prismer.grids import resize_table
    >>> resize_table(jnp.ones((16, 3)), (6, 5)).shape
    (30, 3)
  """
  side = math.isqrt(len(table))
  if side * side != len(table):
    raise ValueError(f"a table of {len(table)} positions is not square: it cannot be resized")
  if size == (side, side):
    return table
  wide = jnp.promote_types(table.dtype, jnp.float32)
  rows, columns = (jnp.asarray(bicubic_matrix(side, wanted), wide) for wanted in size)
  maps = jnp.asarray(table, wide).reshape(side, side, -1)
  maps = jnp.einsum("hi,wj,ijd->hwd", rows, columns, maps, precision="highest")
  return maps.reshape(size[0] * size[1], -1).astype(table.dtype)


def resize_nearest(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
  """The pixels `floor(i * source / target)` along both axes, for maps of numbers of classes.

  Args:
    maps: `[B, H, W, ...]`.
    size: height and width wanted.

  Returns:
    `[B, *size, ...]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.prismer.grids import resize_nearest
    >>> resize_nearest(jnp.arange(5).reshape(1, 1, 5), (1, 2)).tolist()
    [[[0, 2]]]
  """
  for axis, wanted in ((1, size[0]), (2, size[1])):
    index = np.arange(wanted) * maps.shape[axis] // wanted
    maps = jnp.take(maps, index, axis=axis)
  return maps
