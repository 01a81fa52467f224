"""One crop, flip and RandAugment for an image and the labels of its experts, on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl.data.experts import crop, rand_augment
from jaxmtl.data.experts.layout import IMAGE, KINDS

Example = dict[str, jax.Array]
_SIZE = "size"


def augment(
  key: jax.Array,
  batch: Mapping[str, jax.Array],
  side: int,
  *,
  area: tuple[float, float] = (0.5, 1.0),
  ratio: tuple[float, float] = (3 / 4, 4 / 3),
  flip: bool = True,
  num_operations: int = 2,
  strength: float = 0.5,
  translate_labels: bool = True,
  mirror_normals: bool = True,
) -> Example:
  """Crops, mirrors and RandAugments images together with their labels, one draw an image.

  A rectangle is brought to `side` by `side`, the image with cubic interpolation, labels by the
  nearest pixel; mirrored with probability 1/2; then come operations of `rand_augment.OPERATIONS`,
  drawn with replacement. Geometry moves labels too; beyond the image is 0, or 255 where pixels are
  numbers of classes, objects or words. Colours change in the image alone.

  No shape depends on the draw: it runs under `jax.jit`, `jax.vmap` and in `jax.lax.scan`.

  Args:
    key: PRNG key.
    batch: `rgb` uint8 `[B, H, W, 3]` and labels uint8 `[B, H, W, C]` as `ExpertFiles` gives them;
      with `size`, int32 `[B, 2]`, the images fill only so much of the upper left corner. Other
      names, such as side tables, are left as they are.
    side: height and width of the outcome, in pixels.
    area: the least and the greatest share of the image that the rectangle has; (0.5, 1.5) in
      pre-training.
    ratio: the least and the greatest width over height.
    flip: whether to mirror.
    num_operations: of RandAugment, to an image.
    strength: of each, from 0 to 1.
    translate_labels: False for a fault of the published program: labels stay where they are when
      the image is translated.
    mirror_normals: False for another: the horizontal part of normals keeps its sign when the image
      is mirrored.

  Returns:
    The same names without `size`; maps uint8 `[B, side, side, C]`.

  Raises:
    TypeError: if a map is not of bytes.
    ValueError: if a shape does not fit, or an option is out of range.

  Example:
    >>> import functools, jax, jax.numpy as jnp
    >>> from jaxmtl.data import experts
    >>> batch = {"rgb": jnp.ones((2, 20, 24, 3), jnp.uint8), "edge": jnp.ones((2, 20, 24, 1), "u1")}
    >>> augment = functools.partial(experts.augment, side=16)  # to be compiled with the step
    >>> out = jax.eval_shape(augment, jax.random.key(0), batch)
    >>> out["rgb"].shape, out["edge"].dtype.name
    ((2, 16, 16, 3), 'uint8')

  References: Liu, "Converging Pathways", 2024, section 6.4, and its program; Cubuk et al.,
  "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space", 2020.
  """
  if side < 3 or num_operations < 0 or not 0 <= strength <= 1:
    raise ValueError(
      "side must be at least 3, num_operations at least 0, strength from 0 to 1, got"
      f" {side}, {num_operations}, {strength}."
    )
  if not (0 < area[0] <= min(area[1], 1) and 0 < ratio[0] <= ratio[1]):
    raise ValueError(
      f"area must start in (0, 1], area and ratio must not fall, got {area} and {ratio}."
    )

  def one(draws: jax.Array, size: jax.Array, example: Example) -> Example:
    of_box, of_flip, of_operations = jnp.split(draws, (crop.DRAWS, crop.DRAWS + 1))
    example = _cut(example, crop.random_box(of_box, size, area, ratio), side)
    if flip:
      example = mirrored(example, of_flip[0] < 0.5, mirror_normals)

    def operate(example: Example, own: jax.Array) -> tuple[Example, None]:
      done = rand_augment.draw(own)
      return rand_augment.apply(done, example, strength, translate_labels), None

    return jax.lax.scan(operate, example, of_operations.reshape(-1, 2))[0]

  # All at once: each call for random numbers takes a second to compile.
  shape = len(batch[IMAGE]), crop.DRAWS + 1 + 2 * num_operations
  return _each(one, batch, jax.random.uniform(key, shape))


def resize(batch: Mapping[str, jax.Array], side: int) -> Example:
  """All of each image and its labels at another size, for tests: images bicubic, labels nearest.

  Args:
    batch: as of `augment`.
    side: height and width of the outcome, in pixels.

  Returns:
    As of `augment`.

  Raises:
    TypeError: if a map is not of bytes.
    ValueError: if a shape does not fit.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.data import experts
    >>> experts.resize({"rgb": jnp.ones((2, 20, 24, 3), jnp.uint8)}, 16)["rgb"].shape
    (2, 16, 16, 3)
  """
  return _each(lambda size, example: _cut(example, crop.whole(size), side), batch)


def mirrored(example: Example, flip: jax.Array, mirror_normals: bool = True) -> Example:
  """One image with its labels, left and right exchanged where asked for.

  Args:
    example: maps `[H, W, C]` by name.
    flip: whether to, bool.
    mirror_normals: whether normals, of the form (n + 1) / 2, turn too; pixels of three zeros have
      none.
  """
  found = {}
  for name, values in example.items():
    new = values[:, ::-1]
    if name == "normal" and mirror_normals:
      turned = new.at[..., 0].set(255 - new[..., 0])
      new = jnp.where((new > 0).any(-1, keepdims=True), turned, new)
    found[name] = jnp.where(flip, new, values)
  return found


def _cut(example: Example, box: crop.Box, side: int) -> Example:
  return {
    name: (crop.bicubic if name == IMAGE else crop.nearest)(values, box, side)
    for name, values in example.items()
  }


def _each(function: Callable[..., Example], batch: Mapping[str, jax.Array], *keys: Any) -> Example:
  """A function of one image's maps for each of a batch."""
  image = batch[IMAGE]
  if image.ndim != 4 or image.shape[-1] != 3:
    raise ValueError(f"rgb must be [batch, height, width, 3], got shape {image.shape}.")
  maps = {name: batch[name] for name in (IMAGE, *KINDS) if name in batch}
  for name, values in maps.items():
    if values.dtype != jnp.uint8:
      raise TypeError(f"{name} must be uint8, got {values.dtype}; labels are looked up after this.")
    channels = 3 if name == IMAGE else KINDS[name].channels
    if values.shape != (*image.shape[:3], channels):
      wanted = (*image.shape[:3], channels)
      raise ValueError(f"{name} must have shape {wanted}, as the image, got {values.shape}.")
  sizes = batch.get(_SIZE)
  if sizes is None:
    sizes = jnp.broadcast_to(jnp.array(image.shape[1:3], jnp.int32), (len(image), 2))
  found = jax.vmap(function)(*keys, sizes, maps)
  return {k: v for k, v in batch.items() if k not in maps and k != _SIZE} | found
