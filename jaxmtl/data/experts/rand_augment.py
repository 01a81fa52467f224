"""RandAugment of an image together with the labels of its experts, compiled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.data.experts.layout import IMAGE, KINDS

OPERATIONS = (
  *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"),
  *("autocontrast", "equalize", "brightness", "sharpness"),
)
"""Ten operations, all as likely; the last two do nothing at strength 0.5."""
# At strength 1; of the image's side, and degrees.
_SHEAR, _TRANSLATE, _ROTATE = 0.3, 0.33, 30.0
_LEAST, _MOST = 0.1, 1.9  # factor of brightness and sharpness at strengths 0 and 1
_LUT = 256
_PLAIN = (1, 0, 0, 0, 1, 0)


class Operation(NamedTuple):
  """What is done to one image.

  Attributes:
    number: in `OPERATIONS`, int32.
    sign: of a shear, a translation or a rotation, 1 or -1, int32.
  """

  number: jax.Array
  sign: jax.Array


def draw(draws: jax.Array) -> Operation:
  """Draws an operation.

  Args:
    draws: two numbers at random in [0, 1), float32 `[2]`.
  """
  number = jnp.floor(draws[0] * len(OPERATIONS)).astype(jnp.int32)
  return Operation(number, jnp.where(draws[1] < 0.5, 1, -1))


def apply(
  done: Operation,
  example: Mapping[str, jax.Array],
  strength: float = 0.5,
  translate_labels: bool = True,
) -> dict[str, jax.Array]:
  """One operation: geometry moves all maps, by the nearest pixel, colours are the image's alone.

  What comes from beyond is 0, or 255 where pixels are numbers.

  Args:
    done: the operation, as drawn.
    example: `rgb` and experts' labels, uint8 `[S, S, C]`.
    strength: from 0 to 1.
    translate_labels: whether labels follow a translation; False is a fault of the published
      program, which moved them by a fraction of a pixel.

  Returns:
    The same names, shapes and types.
  """
  side = example[IMAGE].shape[0]
  move = OPERATIONS.index("translate_x"), OPERATIONS.index("translate_y")
  moved = (done.number == move[0]) | (done.number == move[1])
  source = _source(done, strength, side)
  found = {}
  for name, values in example.items():
    fill = 0 if name == IMAGE else KINDS[name].fill
    new = _pulled(values, source, fill)
    stays = moved if name != IMAGE and not translate_labels else jnp.zeros((), bool)
    found[name] = jnp.where(stays, values, new)
  found[IMAGE] = _coloured(done.number, found[IMAGE], strength)
  return found


def _source(done: Operation, strength: float, side: int) -> tuple[jax.Array, jax.Array]:
  """Column and row, float `[S, S]`, where each pixel comes from."""
  # The coefficients of x' = a x + b y + c, y' = d x + e y + f, one row an operation.
  sign = done.sign.astype(jnp.float32)
  shear, shift = sign * strength * _SHEAR, sign * strength * _TRANSLATE * side
  turn = math.radians(strength * _ROTATE)
  cos, sin = math.cos(turn), sign * math.sin(turn)
  middle = side / 2
  rows: dict[str, tuple[Any, ...]] = {
    "shear_x": (1, shear, 0, 0, 1, 0),
    "shear_y": (1, 0, 0, shear, 1, 0),
    "translate_x": (1, 0, shift, 0, 1, 0),
    "translate_y": (1, 0, 0, 0, 1, shift),
    # Around the middle.
    "rotate": (cos, -sin, middle * (1 - cos + sin), sin, cos, middle * (1 - cos - sin)),
  }
  table = jnp.array([rows.get(name, _PLAIN) for name in OPERATIONS], jnp.float32)
  a, b, c, d, e, f = table[done.number]
  x, y = jnp.arange(side) + 0.5, (jnp.arange(side) + 0.5)[:, None]
  return a * x + b * y + c, d * x + e * y + f


def _pulled(values: jax.Array, source: tuple[jax.Array, jax.Array], fill: int) -> jax.Array:
  side = values.shape[0]
  column, row = (jnp.floor(place).astype(jnp.int32) for place in source)
  inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
  found = values[jnp.clip(row, 0, side - 1), jnp.clip(column, 0, side - 1)]
  return jnp.where(inside[..., None], found, jnp.array(fill, values.dtype))


def _coloured(number: jax.Array, image: jax.Array, strength: float) -> jax.Array:
  factor = _LEAST + strength * (_MOST - _LEAST)
  channels = jnp.moveaxis(image, -1, 0).reshape(image.shape[-1], -1)
  counts = jax.vmap(lambda x: jnp.zeros(_LUT, jnp.int32).at[x.astype(jnp.int32)].add(1))(channels)
  found = image
  for name, table in (("autocontrast", _stretched), ("equalize", _equalized)):
    changed = jax.vmap(lambda counts, x, table=table: table(counts)[x.astype(jnp.int32)])(
      counts, channels
    )
    changed = jnp.moveaxis(changed.reshape(image.shape[-1], *image.shape[:-1]), 0, -1)
    found = jnp.where(number == OPERATIONS.index(name), changed, found)
  if abs(factor - 1) > 1e-6:
    plain = image.astype(jnp.float32)
    for name, other in (("brightness", jnp.zeros_like(plain)), ("sharpness", _smooth(plain))):
      changed = jnp.clip(other + factor * (plain - other), 0, 255).astype(jnp.uint8)
      found = jnp.where(number == OPERATIONS.index(name), changed, found)
  return found


def _stretched(counts: jax.Array) -> jax.Array:
  """The table of grey levels that takes the darkest pixel to 0 and the lightest to 255."""
  there = counts > 0
  low, high = there.argmax(), _LUT - 1 - there[::-1].argmax()
  levels = jnp.arange(_LUT)
  # Whole numbers: 255 / (high - low) in float32 would be cut to another level.
  stretched = (levels - low) * 255 // jnp.maximum(high - low, 1)
  return jnp.where(high > low, jnp.clip(stretched, 0, 255), levels).astype(jnp.uint8)


def _equalized(counts: jax.Array) -> jax.Array:
  """The table of grey levels that makes all of them about as frequent."""
  last = counts[_LUT - 1 - (counts > 0)[::-1].argmax()]
  step = (counts.sum() - last) // 255
  below = jnp.cumsum(counts) - counts
  table = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, 255)
  return jnp.where(step > 0, table, jnp.arange(_LUT)).astype(jnp.uint8)


def _smooth(image: jax.Array) -> jax.Array:
  """Each pixel's surroundings, itself five times; the border as it is."""
  size = image.shape
  total = 4 * image[1:-1, 1:-1]
  for row in range(3):
    for column in range(3):
      total += image[row : row + size[0] - 2, column : column + size[1] - 2]
  return image.at[1:-1, 1:-1].set(jnp.floor(total / 13 + 0.5))
