"""One scene of coloured digits on textured ground, and what is where in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxmtl._extras import Optional

if TYPE_CHECKING:
  from PIL import Image
else:
  Image = Optional("PIL.Image", "data", __name__)

COLORS = {
  "red": (0.95, 0.2, 0.2),
  "green": (0.2, 0.85, 0.25),
  "blue": (0.3, 0.45, 1.0),
  "yellow": (0.95, 0.9, 0.2),
  "pink": (1.0, 0.5, 0.85),
  "cyan": (0.25, 0.9, 0.95),
  "white": (1.0, 1.0, 1.0),
}
"""What digits are written with, red, green and blue in 0 .. 1; the ground is darker than all."""
_SIDES = (0.3, 0.6)  # of a digit, in the image's
_TURN = 15.0
_SHADE, _NOISE = 0.06, 0.03
_SOLID = 0.5  # share of ink from which a pixel is the digit's
_SEEN = 0.6  # share of a digit's pixels that no other may hide
_OVERLAP = 0.008  # of the image's pixels, from which one covers another
_NEAR = 0.3  # of the image's side, at most so far from the digit before are half of them
_TRIES = 50
_TEXTURES = 32


class Digit(NamedTuple):
  """A digit in a scene.

  Attributes:
    digit: 0 to 9.
    color: one of `COLORS`.
    side: height and width of what it is drawn in, in pixels.
    row: of its middle, in pixels.
    column: of its middle.
  """

  digit: int
  color: str
  side: int
  row: float
  column: float


class Scene(NamedTuple):
  """A picture and what is in it.

  Attributes:
    rgb: uint8 `[S, S, 3]`.
    owner: int8 `[S, S]`, the digit that is seen at each pixel, by its place in `digits`; -1 for the
      ground.
    boxes: int `[digits, 4]`, first row, first column, last row and last column of each one's
      pixels, hidden ones too, the last ones excluded.
    digits: from the farthest to the nearest.
    covers: pairs of a nearer digit and one that it hides in part.
  """

  rgb: np.ndarray
  owner: np.ndarray
  boxes: np.ndarray
  digits: tuple[Digit, ...]
  covers: tuple[tuple[int, int], ...]


def textures(side: int) -> np.ndarray:
  """Waves of two directions each, from which grounds are mixed: float32 `[32, 2 side, 2 side]`."""
  rng = np.random.default_rng(0)
  rows, columns = np.mgrid[: 2 * side, : 2 * side].astype(np.float32) / side
  found = np.zeros((_TEXTURES, *rows.shape), np.float32)
  for texture in found:
    for _ in range(2):
      angle, cycles, phase = rng.uniform(0, np.pi), rng.uniform(1.5, 7), rng.random()
      along = np.float32(np.cos(angle)) * columns + np.float32(np.sin(angle)) * rows
      texture += np.sin(2 * np.pi * (np.float32(cycles) * along + np.float32(phase)))
  return found


def draw_scene(
  rng: np.random.Generator,
  glyphs: np.ndarray,
  classes: np.ndarray,
  grounds: np.ndarray,
  most: int,
) -> Scene:
  """Draws a scene of one digit to `most`, of different colours, each to be seen well.

  Args:
    rng: for all draws.
    glyphs: uint8 `[N, h, w]`, of which digits are taken.
    classes: their digits, `[N]`.
    grounds: by `textures`.
    most: digits.
  """
  side = grounds.shape[1] // 2
  count = int(rng.integers(1, most + 1))
  which = rng.integers(len(glyphs), size=count)
  colors = [list(COLORS)[i] for i in rng.permutation(len(COLORS))[:count]]
  inks = [_ink(rng, glyphs[i], side) for i in which]
  corners, solid = _places(rng, inks, side)
  image = _ground(rng, grounds, side)
  owner = np.full((side, side), -1, np.int8)
  digits, boxes = [], []
  for i, (ink, (top, left)) in enumerate(zip(inks, corners, strict=True)):
    extent = len(ink)
    color = np.array(COLORS[colors[i]], np.float32) - 0.08 * rng.random(3, np.float32)
    part = image[top : top + extent, left : left + extent]
    part += ink[..., None] * (color - part)
    owner[solid[i]] = i
    rows, columns = (np.flatnonzero(solid[i].any(axis)) for axis in (1, 0))
    boxes.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
    middle = (boxes[-1][0] + boxes[-1][2]) / 2, (boxes[-1][1] + boxes[-1][3]) / 2
    digits.append(Digit(int(classes[which[i]]), colors[i], extent, *map(float, middle)))
  image += _NOISE * rng.standard_normal(image.shape, np.float32)
  least = _OVERLAP * side * side
  covers = tuple(
    (near, far)
    for far in range(count)
    for near in range(far + 1, count)
    if (solid[near] & solid[far]).sum() > least
  )
  rgb = np.clip(255 * image + 0.5, 0, 255).astype(np.uint8)
  return Scene(rgb, owner, np.array(boxes), tuple(digits), covers)


def _ink(rng: np.random.Generator, glyph: np.ndarray, side: int) -> np.ndarray:
  """Shares of ink, float32, of one digit in its square."""
  extent = max(8, round(side * rng.uniform(*_SIDES)))
  drawn = Image.fromarray(glyph).resize((extent, extent), Image.Resampling.BICUBIC)
  turned = drawn.rotate(rng.uniform(-_TURN, _TURN), Image.Resampling.BILINEAR)
  # Steeper than the enlarged strokes, so that their colour is seen.
  return np.clip((np.asarray(turned, np.float32) / 255 - 0.25) * 2, 0, 1)


def _places(
  rng: np.random.Generator, inks: list[np.ndarray], side: int
) -> tuple[list[tuple[int, int]], list[np.ndarray]]:
  """Corners, and the pixels of each digit, of the first try in which all can be seen."""
  best: tuple[float, list[tuple[int, int]], list[np.ndarray]] = (-1.0, [], [])
  for _ in range(_TRIES):
    corners: list[tuple[int, int]] = []
    solid: list[np.ndarray] = []
    for ink in inks:
      corner = rng.integers(0, side - len(ink) + 1, 2).astype(float)
      if corners and rng.random() < 0.5:
        corner = corners[-1] + side * rng.uniform(-_NEAR, _NEAR, 2)
      top, left = np.clip(corner, 0, side - len(ink)).astype(int).tolist()
      corners.append((top, left))
      mask = np.zeros((side, side), bool)
      mask[top : top + len(ink), left : left + len(ink)] = ink > _SOLID
      solid.append(mask)
    hidden, seen = np.zeros((side, side), bool), 1.0
    for mask in solid[::-1]:
      seen = min(seen, (mask & ~hidden).sum() / max(mask.sum(), 1))
      hidden |= mask
    if seen > best[0]:
      best = seen, corners, solid
    if seen >= _SEEN:
      break
  return best[1], best[2]


def _ground(rng: np.random.Generator, grounds: np.ndarray, side: int) -> np.ndarray:
  """A dark colour with two textures at random places: float32 `[S, S, 3]`."""
  image = np.empty((side, side, 3), np.float32)
  image[:] = 0.35 * rng.random(3, np.float32)
  for which in rng.integers(len(grounds), size=2):
    top, left = rng.integers(0, side + 1, 2)
    wave = grounds[which, top : top + side, left : left + side]
    image += wave[..., None] * rng.uniform(-_SHADE, _SHADE, 3).astype(np.float32)
  return image
