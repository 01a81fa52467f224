"""Digits scattered on textured ground, with the class of every pixel, without a download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.data.embedded import digits

if TYPE_CHECKING:
  from PIL import Image
else:
  Image = Optional("PIL.Image", "data", __name__)

DIGIT_CLASSES = (
  *("ground", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
)
"""The eleven classes of `digit_scenes`, in their order."""
VOID = -1
_PARTS = ("train", "validation", "test")
# Shares of ink: above, a pixel is the digit's; between, it is neither's, as at any blurred edge.
_INK, _EDGE = 0.5, 0.2
# Of the shorter side of the image, the digits' side.
_SIDES = (0.45, 0.8)
_TURN = 20.0
# Least distance of a digit's colour from the ground's, of three channels in 0 .. 1.
_APART = 0.6
_NOISE = 0.04


class DigitScenes(NamedTuple):
  """Scenes and what is where in them.

  Attributes:
    image: uint8 `[N, H, W, 3]`.
    segmentation: int8 `[N, H, W]`, in the order of `DIGIT_CLASSES`, -1 at edges.
    order: int8 `[N, H, W]`, 0 for the ground, then digits from the farthest to the nearest.
  """

  image: np.ndarray
  segmentation: np.ndarray
  order: np.ndarray


def digit_scenes(
  num_images: int = 500,
  size: tuple[int, int] = (48, 64),
  seed: int = 0,
  *,
  part: Literal["train", "validation", "test"] = "train",
  most: int = 5,
) -> DigitScenes:
  """Draws scenes of two digits or more; nearer ones hide those behind.

  Ink and ground have any colours, the ground waves of any direction: what tells a digit is its
  form. No sample of scikit-learn's digits is in two parts.

  Args:
    num_images: how many; the first ones are the same however many follow.
    size: height and width in pixels, at least 8 each.
    seed: of all of it.
    part: whose digits are used.
    most: digits in a scene, at least 2.

  Returns:
    The scenes.

  Raises:
    ValueError: if a number is out of range, or the part is not known.

  Example:
    >>> from jaxmtl.data import digit_scenes
    >>> made = digit_scenes(2, (24, 32))
    >>> made.image.shape, made.segmentation.dtype.name, int(made.order.max()) >= 2
    ((2, 24, 32, 3), 'int8', True)
  """
  if num_images < 1 or min(size) < 8 or most < 2:
    raise ValueError(
      f"num_images must be at least 1, size 8 each way, most 2, got {num_images}, {size}, {most}."
    )
  if part not in _PARTS:
    raise ValueError(f"part must be train, validation or test, got {part!r}.")
  number = _PARTS.index(part)
  source = digits()[number]
  glyphs, classes = source.images[..., 0], source.labels
  found = [
    _scene(np.random.default_rng([seed, number, i]), glyphs, classes, size, most)
    for i in range(num_images)
  ]
  return DigitScenes(*(np.stack(leaves) for leaves in zip(*found, strict=True)))


def _scene(
  rng: np.random.Generator,
  glyphs: np.ndarray,
  classes: np.ndarray,
  size: tuple[int, int],
  most: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  color = 0.5 * rng.random(3)
  image = _ground(rng, color, size)
  labels, order = np.zeros(size, np.int8), np.zeros(size, np.int8)
  for place in range(1, rng.integers(2, most + 1) + 1):
    which = rng.integers(len(glyphs))
    ink = _whole(rng, glyphs[which], size)
    image += ink[..., None] * (_other_color(rng, color) - image)
    solid = ink > _INK
    labels = np.where(solid, classes[which] + 1, np.where(ink > _EDGE, VOID, labels))
    order = np.where(solid, place, order)
  image += _NOISE * rng.standard_normal(image.shape)
  return (
    np.clip(np.round(255 * image), 0, 255).astype(np.uint8),
    labels.astype(np.int8),
    order.astype(np.int8),
  )


def _ground(rng: np.random.Generator, color: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """A colour with waves of three directions."""
  rows, columns = np.mgrid[: size[0], : size[1]] / min(size)
  image = np.broadcast_to(color, (*size, 3)).copy()
  for _ in range(3):
    angle, cycles = rng.uniform(0, np.pi), rng.uniform(1, 6)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    wave = np.sin(2 * np.pi * (cycles * along + rng.random()))
    image += wave[..., None] * rng.uniform(-0.1, 0.1, 3)
  return image


def _other_color(rng: np.random.Generator, color: np.ndarray) -> np.ndarray:
  """Any that can be told from the ground's."""
  while True:
    found = 0.5 + 0.5 * rng.random(3)
    if np.linalg.norm(found - color) > _APART:
      return found


def _whole(rng: np.random.Generator, glyph: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The ink of one digit, somewhere in an empty image."""
  side = max(8, round(min(size) * rng.uniform(*_SIDES)))
  drawn = Image.fromarray(glyph).resize((side, side), Image.Resampling.BICUBIC)
  turned = drawn.rotate(rng.uniform(-_TURN, _TURN), Image.Resampling.BILINEAR)
  ink = np.zeros(size)
  top, left = (rng.integers(0, extent - side + 1) for extent in size)
  ink[top : top + side, left : left + side] = np.asarray(turned) / 255
  return ink
