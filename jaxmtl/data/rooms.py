"""Rooms: images made up, with class, depth and normal of every pixel, to learn without a download.

Furnished rooms are drawn at random and cast with light, shadow and texture, so that shading tells
of shape, and shape of class. As with a real sensor, some pixels have no label and some no depth.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmtl.data.furnished_room import ROOM_CLASSES, scene_of
from jaxmtl.data.ray_casting import cast

VOID = -1
_AT_ONCE = 20
_GLASS = [ROOM_CLASSES.index(name) for name in ("window", "tv")]


class RoomImages(NamedTuple):
  """Rooms and what is where in them.

  Attributes:
    image: uint8 `[N, H, W, 3]`.
    segmentation: int8 `[N, H, W]`, in the order of `ROOM_CLASSES`, -1 where there is no label.
    depth: float32 `[N, H, W, 1]`, metres along the camera's axis, 0 where there is none.
    normal: float32 `[N, H, W, 3]`, unit, x to the right, y up, z towards the camera; 0 where there
      is none.
  """

  image: np.ndarray
  segmentation: np.ndarray
  depth: np.ndarray
  normal: np.ndarray


def rooms(num_images: int = 500, size: tuple[int, int] = (96, 128), seed: int = 0) -> RoomImages:
  """Draws rooms; the first images are the same however many follow.

  Args:
    num_images: how many.
    size: height and width in pixels.
    seed: of all of it. Images of unlike seeds are of unlike rooms.

  Returns:
    The images and their labels.

  Raises:
    ValueError: if a size or the number is not positive.

  Example:
    >>> from jaxmtl.data import rooms
    >>> made = rooms(2, (12, 16))
    >>> made.image.shape, made.depth.shape, made.normal.dtype.name
    ((2, 12, 16, 3), (2, 12, 16, 1), 'float32')
  """
  if num_images < 1 or min(size) < 1:
    raise ValueError(f"num_images and size must be positive, got {num_images} and {size}.")
  parts = []
  for first in range(0, num_images, _AT_ONCE):
    numbers = range(first, first + _AT_ONCE)  # the last call is as large: one program for all
    scenes = [scene_of(np.random.default_rng([seed, i])) for i in numbers]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *scenes)
    with _on_the_host():
      found = {k: np.asarray(v) for k, v in _cast_all(stacked, *size).items()}
    parts.append([_sensed(found, stacked, j, seed, i) for j, i in enumerate(numbers)])
  images = [one for part in parts for one in part][:num_images]
  return RoomImages(*(np.stack(leaves) for leaves in zip(*images, strict=True)))


def _on_the_host() -> contextlib.AbstractContextManager[Any]:
  """The CPU, where JAX has one.

  Accelerators round otherwise, and a training that began beside one would find other images, and
  begin anew, where it goes on without.
  """
  try:
    return jax.default_device(jax.local_devices(backend="cpu")[0])
  except RuntimeError:  # JAX_PLATFORMS leaves it out
    return contextlib.nullcontext()


@functools.partial(jax.jit, static_argnums=(1, 2))
def _cast_all(scenes: Any, height: int, width: int) -> dict[str, jax.Array]:
  return jax.vmap(lambda scene: cast(scene, height, width))(scenes)


def _sensed(
  found: dict[str, np.ndarray], scenes: dict[str, Any], j: int, seed: int, number: int
) -> tuple[np.ndarray, ...]:
  """One image as sensors and people see it: noise, pixels without depth, pixels without label."""
  rng = np.random.default_rng([seed, number, 1])
  image, depth, facing = (found[k][j] for k in ("image", "depth", "facing"))
  normal = found["normal"][j]
  normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
  surface = found["surface"][j]
  noisy = image + rng.normal(size=image.shape) * 0.02
  classes = scenes["label"][j]
  label = classes[surface]
  # Depth comes from a projected pattern: none from glass and screens, at grazing angles, beside
  # edges, where the projector does not reach, and here and there.
  glass = np.isin(label, _GLASS) & (rng.random() < 0.7)
  edge = np.zeros(depth.shape, bool)
  edge[:, 1:] = np.abs(np.diff(depth, axis=1)) > 0.08 * depth[:, 1:]
  shadow = edge | np.roll(edge, -1, axis=1) | np.roll(edge, -2, axis=1)
  missing = glass | (facing < 0.1) | shadow | (rng.random(depth.shape) < 0.01)
  # People leave out what is between things, and now and then a thing.
  change = np.zeros(depth.shape, bool)
  change[1:] |= surface[1:] != surface[:-1]
  change[:, 1:] |= surface[:, 1:] != surface[:, :-1]
  unsure = (change & (rng.random(depth.shape) < 0.7)) | scenes["unlabelled"][j][surface]
  return (
    np.round(255 * np.clip(noisy, 0, 1)).astype(np.uint8),
    np.where(unsure, VOID, label).astype(np.int8),
    np.where(missing, 0, depth).astype(np.float32)[..., None],
    np.where(missing[..., None], 0, normal).astype(np.float32),
  )
