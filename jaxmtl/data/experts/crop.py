"""A rectangle of an image brought to a square, as Pillow does it, but compiled."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

_A = -0.5  # of Pillow's cubic kernel
_TRIES = 10
DRAWS = 2 * _TRIES + 2
"""Uniform numbers that `random_box` needs."""


class Box(NamedTuple):
  """A rectangle within an image.

  Attributes:
    corner: its first row and column, int32 `[2]`.
    extent: its height and width, int32 `[2]`, at least 1.
  """

  corner: jax.Array
  extent: jax.Array


def whole(size: jax.Array) -> Box:
  """All of an image.

  Args:
    size: height and width, int32 `[2]`.
  """
  return Box(jnp.zeros_like(size), size)


def random_box(
  draws: jax.Array, size: jax.Array, area: tuple[float, float], ratio: tuple[float, float]
) -> Box:
  """A rectangle at random: the first of ten that lies within the image.

  Where none does, the largest in the middle whose ratio is allowed.

  Args:
    draws: numbers at random in [0, 1), float32 `[DRAWS]`.
    size: height and width of the image, int32 `[2]`.
    area: the least and the greatest share of the image's area; what is above 1 never fits.
    ratio: the least and the greatest width over height, all as likely by their logarithm.

  Reference: Szegedy et al., "Going Deeper with Convolutions", 2015, section 6.
  """
  of_area, of_ratio, of_corner = jnp.split(draws, (_TRIES, 2 * _TRIES))
  height, width = size[0], size[1]
  pixels = (height * width).astype(jnp.float32)
  target = pixels * (area[0] + of_area * (area[1] - area[0]))
  low, high = jnp.log(jnp.asarray(ratio, jnp.float32))
  drawn = jnp.exp(low + of_ratio * (high - low))
  tries = jnp.stack([jnp.sqrt(target / drawn), jnp.sqrt(target * drawn)], axis=1)
  tries = jnp.round(tries).astype(jnp.int32)
  fits = ((tries > 0) & (tries <= size)).all(1)
  middle = jnp.stack(
    [
      jnp.minimum(height, jnp.round(width / ratio[0]).astype(jnp.int32)),
      jnp.minimum(width, jnp.round(height * ratio[1]).astype(jnp.int32)),
    ]
  )
  extent = jnp.where(fits.any(), tries[fits.argmax()], jnp.maximum(middle, 1))
  corner = jnp.floor(of_corner * (size - extent + 1)).astype(jnp.int32)
  return Box(jnp.where(fits.any(), corner, (size - extent) // 2), extent)


def bicubic(image: jax.Array, box: Box, side: int) -> jax.Array:
  """A rectangle by cubic interpolation, smoothed where it becomes smaller.

  Args:
    image: uint8 `[H, W, C]`.
    box: the rectangle.
    side: height and width of the outcome.

  Returns:
    uint8 `[side, side, C]`; Pillow's to one grey level, which rounds between the two axes.

  Reference: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, with
  a = -0.5.
  """
  rows, columns = (
    _weights(image.shape[axis], box.corner[axis], box.extent[axis], side) for axis in (0, 1)
  )
  values = jnp.einsum(
    "ph,qw,hwc->pqc", rows, columns, image.astype(jnp.float32), precision="highest"
  )
  return jnp.clip(jnp.round(values), 0, 255).astype(jnp.uint8)


def nearest(label: jax.Array, box: Box, side: int) -> jax.Array:
  """A rectangle by the nearest pixel.

  Args:
    label: `[H, W, C]`.
    box: the rectangle.
    side: height and width of the outcome.

  Returns:
    The label's type, `[side, side, C]`.
  """
  steps = 2 * jnp.arange(side) + 1
  rows, columns = (box.corner[axis] + steps * box.extent[axis] // (2 * side) for axis in (0, 1))
  return label[rows[:, None], columns]


def _weights(source: int, corner: jax.Array, extent: jax.Array, side: int) -> jax.Array:
  """float32 `[side, source]`: the kernel around each place, within the rectangle alone."""
  scale = extent / side
  places = corner + (jnp.arange(side) + 0.5) * scale
  index = jnp.arange(source)
  x = jnp.abs(index + 0.5 - places[:, None]) / jnp.maximum(scale, 1)
  near = ((_A + 2) * x - (_A + 3)) * x**2 + 1
  far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
  weights = jnp.where(x < 1, near, jnp.where(x < 2, far, 0))
  weights = jnp.where((index >= corner) & (index < corner + extent), weights, 0)
  return weights / weights.sum(1, keepdims=True)
