"""Convolutions dilated so far that most of a kernel's taps lie beside the map.

DeepLab's pyramid dilates by 12, 24 and 36 pixels on maps of 16x20 or 36x48: of nine taps eight see
little but padding. What a tap sees is known while tracing, so that the rest need not be computed.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmtl.models._patches import Pads, output_size

# A product a tap reads and adds more than one product of all: it pays where that much is left out.
_SHARE = 0.7

Span = tuple[int, int]


def without_idle_taps(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads, dilation: tuple[int, int]
) -> tuple[jax.Array, Pads]:
  """The kernel without its outer rows and columns that see padding alone, and the pads for it."""
  sizes = output_size(x.shape, kernel.shape, strides, pads, dilation)
  kept, new = [], []
  for axis in (0, 1):
    taps, (before, after), rate = kernel.shape[axis], pads[axis], dilation[axis]
    last = strides[axis] * (sizes[axis] - 1)
    seen = [tap for tap in range(taps) if -last <= rate * tap - before < x.shape[1 + axis]] or [0]
    kept.append(slice(seen[0], seen[-1] + 1))
    new.append((before - rate * seen[0], after - rate * (taps - 1 - seen[-1])))
  if min(pad for pair in new for pad in pair) < 0:
    return kernel, pads  # taps that lie beside the map on one side alone
  return kernel[kept[0], kept[1]], (new[0], new[1])


def tap_conv(x: jax.Array, kernel: jax.Array, pads: Pads, dilation: tuple[int, int]) -> jax.Array:
  """A convolution without strides as one matrix product a tap, of the pixels that it sees."""
  kh, kw, _, features = kernel.shape
  rows, columns = output_size(x.shape, kernel.shape, (1, 1), pads, dilation)
  # As a convolution does, it adds in float32 what is bfloat16.
  exact = jnp.promote_types(x.dtype, jnp.float32)
  y = jnp.zeros((x.shape[0], rows, columns, features), exact)
  for i in range(kh):
    top, bottom = _seen(dilation[0] * i - pads[0][0], x.shape[1], rows)
    down = dilation[0] * i - pads[0][0]
    for j in range(kw):
      left, right = _seen(dilation[1] * j - pads[1][0], x.shape[2], columns)
      if bottom <= top or right <= left:
        continue
      along = dilation[1] * j - pads[1][0]
      part = x[:, top + down : bottom + down, left + along : right + along]
      part = jnp.matmul(part, kernel[i, j], preferred_element_type=exact)
      edges = ((0, 0, 0), (top, rows - bottom, 0), (left, columns - right, 0), (0, 0, 0))
      y = y + lax.pad(part, jnp.zeros((), exact), edges)
  return y.astype(x.dtype)


def mostly_idle(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads, dilation: tuple[int, int]
) -> bool:
  """Whether `tap_conv` is worth while: few of the products are not with padding."""
  if strides != (1, 1) or max(dilation) == 1:
    return False
  sizes = output_size(x.shape, kernel.shape, strides, pads, dilation)
  share = 1.0
  for axis in (0, 1):
    seen = [
      _seen(dilation[axis] * tap - pads[axis][0], x.shape[1 + axis], sizes[axis])
      for tap in range(kernel.shape[axis])
    ]
    share *= sum(max(0, end - start) for start, end in seen) / (len(seen) * sizes[axis])
  return share <= _SHARE


def _seen(offset: int, size: int, outputs: int) -> Span:
  """Which outputs a tap has a pixel for, of so many, on a map of that size."""
  return max(0, -offset), min(outputs, size - offset)
