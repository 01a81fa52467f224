"""One scale, crop and flip for an image and all that is known of its pixels, on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

KINDS = {
  "image": "image",
  **dict.fromkeys(("segmentation", "seg", "label", "part", "part_seg"), "label"),
  "depth": "depth",
  **dict.fromkeys(("disparity", "disp"), "disparity"),
  "normal": "normal",
  "noise": "noise",
  "confidence": "confidence",
}
"""How maps of the usual names are treated."""
# What is beyond the image where the crop is larger; images are reflected.
_PAD = {"label": -1, "disparity": -1, "depth": 0, "normal": 0, "noise": 0, "confidence": 0}


class ScaleRange(NamedTuple):
  """Scales between two, all as likely.

  Attributes:
    low: the smallest.
    high: the largest.
  """

  low: float
  high: float


Scales = ScaleRange | tuple[float, ...]


class Draw(NamedTuple):
  """What is done to one image.

  Attributes:
    size: height and width before, int32 `[2]`.
    scale: s, float32.
    resized: height and width after scaling, int32 `[2]`.
    corner: row and column of the crop in the scaled and padded image, int32 `[2]`.
    flip: whether it is mirrored, bool.
  """

  size: jax.Array
  scale: jax.Array
  resized: jax.Array
  corner: jax.Array
  flip: jax.Array


def joint_augment(
  key: jax.Array,
  batch: Mapping[str, jax.Array],
  *,
  scales: Sequence[float] = (1.0,),
  scale_range: tuple[float, float] | None = None,
  crop: tuple[int, int] | None = None,
  sizes: jax.typing.ArrayLike | None = None,
  flip: bool = True,
  signed: bool = True,
  kinds: Mapping[str, str] | None = None,
) -> dict[str, jax.Array]:
  r"""Scale, crop and mirror images with their label maps, one draw an image.

  A scale s of a list, one crop and one flip are drawn for each image and hold for all its maps. By
  kind, in this order:

  ========== ======== ================= ============= ==========
  kind       scaled   padded            after scaling mirrored
  ========== ======== ================= ============= ==========
  image      bilinear by reflection     2x - 1
  noise      bilinear with 0
  label      nearest  with -1
  confidence nearest  with 0
  depth      nearest  with 0            d / s
  disparity  nearest  with -1           d s
  normal     nearest  with 0                          x negated
  ========== ======== ================= ============= ==========

  Padding, where the crop is larger than the scaled image, is on the right and at the bottom. A
  disparity below 0, which is none, becomes -1. Nearest is that of PyTorch: pixel i of n shows pixel
  floor(i m / n) of m. Images that a scale makes smaller are not smoothed before.

  Pixels of the crop alone are computed, from where they come from; no shape depends on the draw,
  so that it runs under `jax.jit`, `jax.vmap` and in `jax.lax.scan`.

  Args:
    key: PRNG key.
    batch: maps by name, `[B, H, W, C]`, all but images and normals also `[B, H, W]`; images uint8,
      or float in 0 .. 1; labels signed integers, -1 where void; all else float.
    scales: from which s is drawn, each > 0.
    scale_range: instead of `scales`, the smallest and the largest s, between which all are as
      likely; (0.5, 1.5) in ReCo.
    crop: height and width of the outcome; None: those of the batch.
    sizes: height and width of each image, integers `[B, 2]`, where the batch has them in its upper
      left corner and something else beyond; None: they fill it.
    flip: whether to mirror with probability 1/2.
    signed: whether images become -1 .. 1; 0 .. 1 otherwise.
    kinds: of maps by name, where a name is not a usual one (`segmentation`, `seg`, `label`, `part`,
      `part_seg`, `depth`, `disparity`, `disp`, `normal`, `noise`, `confidence`, `image`).

  Returns:
    The same names, with height and width of the crop: images and all numbers
    float32, labels as they were.

  Raises:
    TypeError: if a map's dtype does not fit its kind.
    ValueError: if a kind is not known, shapes do not fit, or an option is out of range.

  Example:
    >>> import functools, jax, jax.numpy as jnp
    >>> from jaxmtl.data import joint_augment
    >>> batch = {
    ...   "image": jnp.full((2, 6, 8, 3), 255, jnp.uint8),
    ...   "segmentation": jnp.zeros((2, 6, 8), jnp.int32),
    ...   "depth": jnp.full((2, 6, 8, 1), 3.0),
    ... }
    >>> augment = jax.jit(functools.partial(joint_augment, scales=(1.5,), crop=(6, 8)))
    >>> out = augment(jax.random.key(0), batch)
    >>> out["image"].max().item(), out["depth"].max().item(), out["segmentation"].shape
    (1.0, 2.0, (2, 6, 8))

  Reference:
    Liu, James, Davison and Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships", 2022,
    section 5.1, and its program.
  """
  kind_of = _checked(batch, {**KINDS, **(kinds or {})})
  count, *size = next(iter(batch.values())).shape[:3]
  out_size = tuple(size) if crop is None else tuple(crop)
  if len(out_size) != 2 or min(out_size) < 1:
    raise ValueError(f"crop must be height and width, at least 1 each, got {crop}.")
  if scale_range is None:
    if not isinstance(scales, Sequence) or not len(scales) or min(scales) <= 0:
      raise ValueError(f"scales must be a list of at least one, all above 0, got {scales!r}.")
    chosen: Scales = tuple(scales)
  else:
    if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
      raise ValueError(
        f"scale_range must be the smallest and the largest scale, above 0, got {scale_range}."
      )
    chosen = ScaleRange(*scale_range)

  if sizes is not None and jnp.shape(sizes) != (count, 2):
    raise ValueError(f"sizes must be [batch, 2], {(count, 2)}, got shape {jnp.shape(sizes)}.")

  def one(key: jax.Array, own: Any, example: dict[str, jax.Array]) -> dict[str, jax.Array]:
    drawn = draw(key, (size[0], size[1]) if own is None else own, chosen, out_size, flip)
    found = {
      name: apply(drawn, values, kind_of[name], out_size) for name, values in example.items()
    }
    return {
      name: 2 * values - 1 if signed and kind_of[name] == "image" else values
      for name, values in found.items()
    }

  own = None if sizes is None else jnp.asarray(sizes, jnp.int32)
  return jax.vmap(one)(jax.random.split(key, count), own, dict(batch))


def signed_image(image: jax.Array) -> jax.Array:
  """Images as `joint_augment` leaves them, without any change of place: 2x - 1, to measure on.

  Args:
    image: `[..., C]`, uint8, or float in 0 .. 1.

  Returns:
    float32 in -1 .. 1, the same shape.

  Raises:
    TypeError: if it is of another dtype.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.data import signed_image
    >>> signed_image(jnp.array([0, 255], jnp.uint8)).tolist()
    [-1.0, 1.0]
  """
  _check_dtype("image", image, "image")
  return 2 * _unit(image) - 1


def draw(
  key: jax.Array,
  size: tuple[int, int] | jax.Array,
  scales: Scales,
  crop: tuple[int, int],
  flip: bool,
) -> Draw:
  """Draws for one image.

  Args:
    key: PRNG key.
    size: height and width of the image, known or int32 `[2]`.
    scales: from which, or between which, one is drawn.
    crop: height and width of the outcome.
    flip: whether to mirror with probability 1/2.
  """
  of_scale, of_corner, of_flip = jax.random.split(key, 3)
  if isinstance(scales, ScaleRange):
    scale = jax.random.uniform(of_scale, (), jnp.float32, scales.low, scales.high)
  else:
    which = jax.random.randint(of_scale, (), 0, len(scales))
    scale = jnp.array(scales, jnp.float32)[which]
  if isinstance(size, tuple) and not isinstance(scales, ScaleRange):
    # Sizes in Python's numbers: in float32, 10 * .7 would be cut to another whole number.
    found = [[max(1, int(side * scale)) for side in size] for scale in scales]
    resized = jnp.array(found, jnp.int32)[which]
  else:
    # What is nearer to the next whole number than scales have decimals is that number.
    cut = jnp.array(size, jnp.float32) * scale + 5e-4
    resized = jnp.maximum(cut.astype(jnp.int32), 1)
  room = jnp.maximum(resized - jnp.array(crop, jnp.int32), 0)
  corner = jax.random.randint(of_corner, (2,), 0, room + 1)
  mirrored = jax.random.bernoulli(of_flip) if flip else jnp.zeros((), bool)
  return Draw(jnp.array(size, jnp.int32), scale, resized, corner, mirrored)


def apply(drawn: Draw, values: jax.Array, kind: str, crop: tuple[int, int]) -> jax.Array:
  """What was drawn, done to one map of the image.

  Args:
    drawn: by `draw`.
    values: `[H, W]` or `[H, W, C]`.
    kind: see `joint_augment`.
    crop: height and width of the outcome, as given to `draw`.
  """
  height, width = crop
  columns = jnp.where(drawn.flip, width - 1 - jnp.arange(width), jnp.arange(width))
  at = jnp.arange(height) + drawn.corner[0], columns + drawn.corner[1]
  inside = (at[0] < drawn.resized[0])[:, None] & (at[1] < drawn.resized[1])
  inside = inside.reshape(inside.shape + (1,) * (values.ndim - 2))
  if kind == "image":
    sources = [_reflected(at[axis], drawn.resized[axis]) for axis in range(2)]
    return _bilinear(_unit(values), drawn, sources)
  if kind == "noise":
    found = _bilinear(values.astype(jnp.float32), drawn, at)
  else:
    found = _nearest(values, drawn, at)
  if kind == "label":
    return jnp.where(inside, found, jnp.array(_PAD[kind], found.dtype))
  found = found.astype(jnp.float32)
  if kind == "depth":
    found = found / drawn.scale
  if kind == "disparity":
    found = jnp.where(found < 0, -1, found * drawn.scale)
  if kind == "normal":
    found = jnp.where(drawn.flip, found * jnp.array([-1, 1, 1], jnp.float32), found)
  return jnp.where(inside, found, _PAD[kind])


def _nearest(values: jax.Array, drawn: Draw, at: Sequence[jax.Array]) -> jax.Array:
  rows, columns = (
    jnp.minimum(index * old // new, old - 1)
    for index, old, new in zip(at, drawn.size, drawn.resized, strict=True)
  )
  return values[rows[:, None], columns]


def _bilinear(values: jax.Array, drawn: Draw, at: Sequence[jax.Array]) -> jax.Array:
  """Between the four pixels around; pixels have their place in the middle, as in PyTorch."""
  for axis, index in enumerate(at):
    old, new = drawn.size[axis], drawn.resized[axis]
    # (index + 1/2) old / new - 1/2 in whole numbers of 1 / (2 new), so that nothing is rounded.
    place = jnp.clip((2 * index + 1) * old - new, 0, (old - 1) * 2 * new)
    below = place // (2 * new)
    share = (place % (2 * new) / (2 * new)).astype(jnp.float32)
    share = share.reshape((-1,) + (1,) * (values.ndim - 1 - axis))
    low, high = (_rows(values, jnp.minimum(i, old - 1), axis) for i in (below, below + 1))
    values = low + share * (high - low)
  return values


def _rows(values: jax.Array, index: jax.Array, axis: int) -> jax.Array:
  # The usual mode would ask of every index whether it is within.
  return jnp.take(values, index, axis, mode="clip")


def _reflected(index: jax.Array, size: jax.Array) -> jax.Array:
  """Where a pixel beyond the end comes from; the last pixel is not repeated."""
  period = jnp.maximum(2 * (size - 1), 1)
  index = index % period
  return jnp.minimum(index, jnp.where(size > 1, period - index, 0))


def _unit(image: jax.Array) -> jax.Array:
  found = image.astype(jnp.float32)
  return found / 255 if image.dtype == jnp.uint8 else found


def _checked(batch: Mapping[str, jax.Array], kinds: Mapping[str, str]) -> dict[str, str]:
  """The kind of each map."""
  known = ("image", *_PAD)
  if not batch:
    raise ValueError("batch must have at least one map, got none.")
  shape = next(iter(batch.values())).shape[:3]
  for name, values in batch.items():
    if kinds.get(name) not in known:
      got = f"got {kinds[name]!r}" if name in kinds else "which has none by its name"
      raise ValueError(
        f"kinds must say which of {', '.join(known)} the map {name!r} is, {got}; "
        f'for example kinds={{"{name}": "label"}}.'
      )
    _check_dtype(name, values, kinds[name])
    least = 4 if kinds[name] in ("image", "normal") else 3
    if not least <= values.ndim <= 4:
      form = "[B, H, W, C]" if least == 4 else "[B, H, W] or [B, H, W, C]"
      raise ValueError(
        f"{name} must be {form}, got shape {values.shape}; for a single image add a batch axis."
      )
    if values.shape[:3] != shape:
      raise ValueError(
        f"{name} must be of the batch, height and width of the first map, {shape}, got shape "
        f"{values.shape}."
      )
    if kinds[name] == "normal" and values.shape[3:] != (3,):
      raise ValueError(f"{name} must have 3 channels, got shape {values.shape}.")
  return {name: kinds[name] for name in batch}


def _check_dtype(name: str, values: jax.Array, kind: str) -> None:
  if kind == "image":
    fits, wanted = values.dtype == jnp.uint8, "uint8, or float in 0 .. 1"
  elif kind == "label":
    fits, wanted = jnp.issubdtype(values.dtype, jnp.signedinteger), "signed integers, -1 void"
  else:
    fits, wanted = False, "float"
  if not fits and not (kind != "label" and jnp.issubdtype(values.dtype, jnp.floating)):
    raise TypeError(f"{name} must be {wanted}, got {values.dtype}.")
