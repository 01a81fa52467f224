"""Bilinear resizing of maps with aligned corners."""

import jax
import jax.numpy as jnp
import numpy as np


def resize_aligned(x: jax.Array, size: tuple[int, int]) -> jax.Array:
  r"""Bilinear interpolation in which the corners' centres stay where they are.

  .. math:: y_i = x\left( i \, \frac{n - 1}{m - 1} \right), \quad i = 0 \dots m - 1

  along both axes of a map, from n to m pixels, as segmentation networks resize their outputs
  (PyTorch's `align_corners=True`; `jax.image.resize` aligns edges instead).

  Args:
    x: maps, float `[B, H, W, C]`.
    size: height and width wanted.

  Returns:
    Maps `[B, *size, C]`, of the dtype of `x`; interpolated in float32 or wider.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models import resize_aligned
    >>> resize_aligned(jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1), (1, 5))[0, 0, :, 0].tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
  """
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  for axis, wanted in ((1, size[0]), (2, size[1])):
    if wide.shape[axis] != wanted:
      wide = _along(wide, axis, wanted)
  return wide.astype(x.dtype)


def _along(x: jax.Array, axis: int, wanted: int) -> jax.Array:
  """Two neighbours of each place, as slices of a known index: no product with a sparse matrix."""
  count = x.shape[axis]
  places = np.arange(wanted) * ((count - 1) / max(wanted - 1, 1))
  below = np.minimum(places.astype(int), max(count - 2, 0))
  share = places - below
  shape = [1] * x.ndim
  shape[axis] = wanted
  share = jnp.asarray(share.reshape(shape), x.dtype)
  above = np.minimum(below + 1, count - 1)
  low, high = (jnp.take(x, jnp.asarray(i), axis=axis) for i in (below, above))
  return low + share * (high - low)
