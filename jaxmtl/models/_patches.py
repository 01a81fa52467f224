"""Convolution as slices and one matrix product, for the CPU."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

Pads = tuple[tuple[int, int], tuple[int, int]]

# Measured on a CPU, forward and backward under vmap over seeds in a scan: up to this many channels,
# tiles of 2x2 outputs take .75 to .95 of the plain form's time; from 128 channels on they lose.
_TILED_CHANNELS = 64


def matmul_conv(
  x: jax.Array,
  kernel: jax.Array,
  strides: tuple[int, int],
  pads: Pads,
  dilation: tuple[int, int],
) -> jax.Array:
  """Concatenate shifted maps along the channels, then one matrix product.

  With few channels, the patches' memory traffic outweighs the products. There one row of the matrix
  serves a tile of 2x2 outputs: 4x4 patches for 3x3 kernels hold 4/9 of the numbers, at the price of
  products with zeros (16/9 as many) in a matrix product that is wide enough to be efficient.
  """
  kh, kw, channels, features = kernel.shape
  rows, columns = output_size(x.shape, kernel.shape, strides, pads, dilation)
  x, zero = _pad(x, *pads), jnp.zeros((), x.dtype)
  dense = strides == dilation == (1, 1)
  narrow = max(channels, features) <= _TILED_CHANNELS
  if dense and narrow and (kh, kw) == (3, 3) and rows % 2 == columns % 2 == 0:
    kernels = [
      lax.pad(kernel, zero, ((a, 1 - a, 0), (b, 1 - b, 0), (0, 0, 0), (0, 0, 0)))
      for a in (0, 1)
      for b in (0, 1)
    ]
    tiles = (rows // 2, columns // 2)
    patches = _patches(x, (4, 4), tiles, (2, 2), (1, 1))
    y = patches @ jnp.stack(kernels, axis=3).reshape(16 * channels, 4 * features)
    y = y.reshape(x.shape[0], *tiles, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(x.shape[0], rows, columns, features)
  patches = _patches(x, (kh, kw), (rows, columns), strides, dilation)
  return patches @ kernel.reshape(kh * kw * channels, features)


def kernel_gradient(
  x: jax.Array,
  cotangent: jax.Array,
  size: tuple[int, int],
  strides: tuple[int, int],
  pads: Pads,
  dilation: tuple[int, int],
) -> jax.Array:
  """The gradient for a kernel of `size`, from the cotangent of the convolution's output.

  Patches as in `matmul_conv`, times the cotangent; or, where that takes less memory, shifts along
  the rows only, times copies of the cotangent that are shifted along the columns.
  """
  (kh, kw), channels, features = size, x.shape[-1], cotangent.shape[-1]
  _, rows, columns, _ = cotangent.shape
  x = _pad(x, *pads)
  if strides == (1, 1) and kh * kw * channels > kw * channels + kh * features:
    x = _patches(x, (1, kw), (x.shape[1], columns), strides, dilation)
    shifts = [(i * dilation[0], (kh - 1 - i) * dilation[0]) for i in range(kh)]
    cotangent = jnp.concatenate([_pad(cotangent, shift, (0, 0)) for shift in shifts], axis=-1)
    product = _product(x, cotangent).reshape(kw, channels, kh, features)
    return product.transpose(2, 0, 1, 3)
  patches = _patches(x, size, (rows, columns), strides, dilation)
  return _product(patches, cotangent).reshape(kh, kw, channels, features)


def output_size(
  x: Sequence[int],
  kernel: Sequence[int],
  strides: tuple[int, int],
  pads: Pads,
  dilation: tuple[int, int],
) -> tuple[int, int]:
  """Height and width of the output, from the shapes of the operands."""
  height, width = (
    (n + sum(pair) - d * (k - 1) - 1) // step + 1
    for n, pair, d, k, step in zip(x[1:3], pads, dilation, kernel[:2], strides, strict=True)
  )
  return height, width


def _pad(x: jax.Array, rows: tuple[int, int], columns: tuple[int, int]) -> jax.Array:
  zero = jnp.zeros((), x.dtype)
  return lax.pad(x, zero, ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)))


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
  """The sum over all pixels of the products of their channels, `[C, O]`."""
  x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
  return lax.dot_general(x, y, (((0,), (0,)), ((), ())))


def _patches(
  x: jax.Array,
  size: tuple[int, int],
  count: tuple[int, int],
  strides: tuple[int, int],
  dilation: tuple[int, int],
) -> jax.Array:
  """Patches `[B, *count, size[0] * size[1] * C]` of padded maps."""

  def tap(i: int, j: int) -> jax.Array:
    top, left = i * dilation[0], j * dilation[1]
    bottom, right = (
      start + (n - 1) * step + 1 for start, n, step in zip((top, left), count, strides, strict=True)
    )
    return lax.slice(
      x, (0, top, left, 0), (x.shape[0], bottom, right, x.shape[3]), (1, *strides, 1)
    )

  taps = [tap(i, j) for i in range(size[0]) for j in range(size[1])]
  return taps[0] if len(taps) == 1 else jnp.concatenate(taps, axis=-1)
