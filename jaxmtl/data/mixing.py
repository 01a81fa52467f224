"""Unlabelled images mixed with each other, and their pseudo-labels: CutOut, CutMix, ClassMix."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import guards

VOID = -1


class PseudoLabelled(NamedTuple):
  """Images with what a teacher says of them.

  Attributes:
    image: float `[B, H, W, C]`.
    label: integer classes `[B, H, W]`; void is -1.
    confidence: float `[B, H, W]`, the teacher's probability of the label.
  """

  image: jax.Array
  label: jax.Array
  confidence: jax.Array


def cutout(key: jax.Array, batch: PseudoLabelled) -> PseudoLabelled:
  """Black out half of each image: its pixels become 0, their label void, the confidence 0.

  The box has half of the image's area; its width is uniform from W / 2 + 1 to W - 1, its height
  what is left of the area, its place uniform.

  Args:
    key: for the draws.
    batch: images with pseudo-labels.

  Returns:
    The batch, every image with a box of its own.

  Raises:
    ValueError: if shapes do not fit.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.data import PseudoLabelled, cutout
    >>> ones = jnp.ones((2, 6, 8))
    >>> batch = PseudoLabelled(ones[..., None], ones.astype(int), ones)
    >>> out = cutout(jax.random.key(0), batch)
    >>> bool(((out.label == -1) == (out.image[..., 0] == 0)).all())
    True

  Reference: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with
  Cutout", 2017; the box is that of Liu, Zhi, Johns and Davison, "Bootstrapping Semantic
  Segmentation with Regional Contrast", 2022.
  """
  inside = _boxes(key, _checked(batch).label.shape)
  return PseudoLabelled(
    jnp.where(inside[..., None], 0, batch.image),
    jnp.where(inside, VOID, batch.label),
    jnp.where(inside, 0, batch.confidence),
  )


def cutmix(key: jax.Array, batch: PseudoLabelled) -> PseudoLabelled:
  """Put a box of the next image, with labels and confidence, in place of each image's.

  Args:
    key: for the draws; boxes are those of `cutout`.
    batch: images with pseudo-labels; the last one's next is the first.

  Returns:
    The batch.

  Raises:
    ValueError: if shapes do not fit.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.data import PseudoLabelled, cutmix
    >>> label = jnp.arange(2)[:, None, None] * jnp.ones((2, 6, 8), int)
    >>> out = cutmix(jax.random.key(0), PseudoLabelled(label[..., None] * 1.0, label, label * 1.0))
    >>> bool((out.label[0] == 1).any()), bool((out.label == out.image[..., 0]).all())
    (True, True)

  Reference: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
  Localizable Features", 2019.
  """
  return _onto_next(_boxes(key, _checked(batch).label.shape), batch)


def classmix(key: jax.Array, batch: PseudoLabelled, num_classes: int) -> PseudoLabelled:
  """Put half of each image's classes onto the next image.

  Half, rounded down, of the classes that its pseudo-labels have, void as one of them, is drawn; the
  image keeps these pixels, and takes the next one's elsewhere.

  Args:
    key: for the draws.
    batch: images with pseudo-labels; the last one's next is the first.
    num_classes: above the highest label.

  Returns:
    The batch.

  Raises:
    ValueError: if shapes do not fit, or there is less than one class.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.data import PseudoLabelled, classmix
    >>> label = jnp.array([[[0, 1]], [[2, 2]]])
    >>> batch = PseudoLabelled(label[..., None] * 1.0, label, jnp.ones((2, 1, 2)))
    >>> sorted(classmix(jax.random.key(0), batch, 3).label[0, 0].tolist())[-1]
    2

  Reference: Olsson, Tranheden, Pinto and Svensson, "ClassMix: Segmentation-Based Data Augmentation
  for Semi-Supervised Learning", 2021, section 3.
  """
  _checked(batch)
  if num_classes < 1:
    raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
  if (
    not guards.is_traced(batch.label)
    and (highest := int(np.asarray(batch.label).max())) >= num_classes
  ):
    raise ValueError(f"label must be below num_classes, {num_classes}, got {highest}.")
  # The last place is void's.
  place = jnp.where(batch.label < 0, num_classes, batch.label)
  is_class = place[..., None] == jnp.arange(num_classes + 1)
  present = is_class.any(axis=(1, 2))
  drawn = jax.random.uniform(key, present.shape)
  rank = jnp.argsort(jnp.argsort(jnp.where(present, drawn, 2.0), axis=1), axis=1)
  chosen = rank < present.sum(1, keepdims=True) // 2
  keeps = (is_class & chosen[:, None, None]).any(-1)
  return _onto_next(~keeps, batch)


def _onto_next(taken: jax.Array, batch: PseudoLabelled) -> PseudoLabelled:
  """The next image where `taken`, `[B, H, W]`."""

  def mixed(x: jax.Array) -> jax.Array:
    where = taken.reshape(taken.shape + (1,) * (x.ndim - taken.ndim))
    return jnp.where(where, jnp.roll(x, -1, axis=0), x)

  return PseudoLabelled(*map(mixed, batch))


def _boxes(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """A box of half of the area in each image, bool `[B, H, W]`."""
  count, height, width = shape
  area = height * width // 2
  of_width, of_top, of_left = jax.random.split(key, 3)
  # At the least, one column is outside.
  least = min(width // 2 + 1, width - 1)
  wide = jax.random.randint(of_width, (count,), least, max(width, least + 1))
  high = jnp.minimum(area // jnp.maximum(wide, 1), height)
  top = jax.random.randint(of_top, (count,), 0, height - high + 1)
  left = jax.random.randint(of_left, (count,), 0, width - wide + 1)

  def within(start: jax.Array, length: jax.Array, size: int) -> jax.Array:
    place = jnp.arange(size)
    return (place >= start[:, None]) & (place < (start + length)[:, None])

  return within(top, high, height)[:, :, None] & within(left, wide, width)[:, None, :]


def _checked(batch: PseudoLabelled) -> PseudoLabelled:
  if not isinstance(batch, PseudoLabelled):
    raise TypeError(f"batch must be a PseudoLabelled, got {type(batch).__name__}.")
  image, label, confidence = batch
  if image.ndim != 4 or image.shape[:3] != label.shape or label.shape != confidence.shape:
    raise ValueError(
      "batch must be images [B, H, W, C] with label and confidence [B, H, W], got shapes "
      f"{image.shape}, {label.shape} and {confidence.shape}."
    )
  if not jnp.issubdtype(label.dtype, jnp.signedinteger):
    raise ValueError(f"label must be signed integer classes, got dtype {label.dtype}.")
  return batch
