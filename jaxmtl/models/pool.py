"""Pooling without windows that overlap: reshapes and reductions, fast on every backend."""

import functools

import jax
import jax.numpy as jnp


def max_pool(x: jax.Array, window: int = 2) -> jax.Array:
  """Maximum over non-overlapping square windows; rows and columns left over are dropped.

  The gradient goes in shares that sum to one to the elements that attain the maximum, so that it is
  a subgradient at ties too (`nn.max_pool` gives all of it to the first of them). Ties are common
  only where a ReLU left several zeros, and there the ReLU's own gradient is zero. Written as
  maxima of slices: the gradient of `nn.max_pool` is a `select_and_scatter`, which XLA's CPU backend
  runs many times slower, and that of `jnp.max` divides by the number of elements equal to the
  maximum, which is 0 / 0 where XLA computes the elements again with other rounding.

  Args:
    x: Maps, float `[B, H, W, C]`.
    window: Height and width of the windows, and their stride.

  Returns:
    Maps `[B, H // window, W // window, C]`.

  Raises:
    ValueError: If a map is smaller than the window.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models import max_pool
    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
  """
  batch, height, width, channels = x.shape
  rows, columns = height // window, width // window
  if not rows or not columns:
    raise ValueError(f"max_pool needs maps of at least {window}x{window}, got {height}x{width}")
  x = x[:, : rows * window, : columns * window]
  x = x.reshape(batch, rows, window, columns, window, channels)
  # Axis by axis, so that a window of n x n takes 2 (n - 1) maxima.
  x = functools.reduce(jnp.maximum, [x[:, :, i] for i in range(window)])
  return functools.reduce(jnp.maximum, [x[:, :, :, i] for i in range(window)])


def global_average(x: jax.Array) -> jax.Array:
  """Mean over the map, taken in float32: `[B, H, W, C]` to `[B, C]` in the dtype of `x`.

  Args:
    x: Maps, float `[B, H, W, C]`.

  Returns:
    Features `[B, C]`, of the dtype of `x`.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models import global_average
    >>> global_average(jnp.ones((2, 4, 4, 3))).shape
    (2, 3)
  """
  return jnp.mean(x, axis=(1, 2), dtype=jnp.float32).astype(x.dtype)
