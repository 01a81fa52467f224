"""Pooling by slices and reductions, fast on every backend."""

import functools

import jax
import jax.numpy as jnp


def max_pool(
  x: jax.Array, window: int = 2, strides: int | None = None, padding: int = 0
) -> jax.Array:
  """Maximum over square windows; rows and columns left over are dropped.

  The gradient goes in shares that sum to one to the elements that attain the maximum, so that it is
  a subgradient at ties too (`nn.max_pool` gives all of it to the first of them). Ties are common
  only where a ReLU left several zeros, and there the ReLU's own gradient is zero. Written as
  maxima of slices: the gradient of `nn.max_pool` is a `select_and_scatter`, which XLA's CPU backend
  runs many times slower, and that of `jnp.max` divides by the number of elements equal to the
  maximum, which is 0 / 0 where XLA computes the elements again with other rounding.

  Args:
    x: maps, float `[B, H, W, C]`.
    window: height and width of the windows.
    strides: distance between windows; None for `window`, so that they do not overlap.
    padding: pixels added to every side, which are never a maximum.

  Returns:
    Maps `[B, (H + 2 padding - window) // strides + 1, ..., C]`.

  Raises:
    ValueError: if a map is smaller than the window.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models import max_pool
    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
  """
  batch, height, width, channels = x.shape
  strides = window if strides is None else strides
  if min(height, width) + 2 * padding < window:
    raise ValueError(f"max_pool needs maps of at least {window}x{window}, got {height}x{width}")
  if strides == window and not padding:
    rows, columns = height // window, width // window
    x = x[:, : rows * window, : columns * window]
    x = x.reshape(batch, rows, window, columns, window, channels)
    # Axis by axis, so that a window of n x n takes 2 (n - 1) maxima.
    x = functools.reduce(jnp.maximum, [x[:, :, i] for i in range(window)])
    return functools.reduce(jnp.maximum, [x[:, :, :, i] for i in range(window)])
  for axis in (1, 2):
    pads = [(0, 0)] * 4
    pads[axis] = (padding, padding)
    x = jnp.pad(x, pads, constant_values=-jnp.inf)
    last = x.shape[axis] - window
    starts = [slice(i, last + i + 1, strides) for i in range(window)]
    parts = [x[:, s] if axis == 1 else x[:, :, s] for s in starts]
    x = functools.reduce(jnp.maximum, parts)
  return x


def global_average(x: jax.Array) -> jax.Array:
  """Mean over the map, taken in float32: `[B, H, W, C]` to `[B, C]` in the dtype of `x`.

  Args:
    x: maps, float `[B, H, W, C]`, or tokens `[B, N, C]`.

  Returns:
    Features `[B, C]`, of the dtype of `x`.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models import global_average
    >>> global_average(jnp.ones((2, 4, 4, 3))).shape
    (2, 3)
  """
  return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)), dtype=jnp.float32).astype(x.dtype)
