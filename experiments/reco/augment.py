"""How images are changed before each step: labelled ones, the teacher's, the student's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from experiments.reco.config import SegmentationOptions
from experiments.reco.methods import SEGMENTATION
from jaxmtl import data

Batch = Any


def normalised(image: jax.Array) -> jax.Array:
  """Images as the network takes them: ImageNet's channels."""
  unit = image.astype(jnp.float32) / (255 if image.dtype == jnp.uint8 else 1)
  mean, std = (jnp.array(x, jnp.float32) for x in (data.IMAGENET_MEAN, data.IMAGENET_STD))
  return (unit - mean) / std


def labelled(key: jax.Array, batch: Batch, options: SegmentationOptions) -> Batch:
  """Scaled, cropped, mirrored with their labels; in other colours."""
  of_place, of_colour = jax.random.split(key)
  found = data.joint_augment(
    of_place,
    {"image": batch["image"], SEGMENTATION: batch[SEGMENTATION].astype(jnp.int32)},
    scale_range=options.scale_range,
    crop=options.crop,
    sizes=batch.get("size"),
    signed=False,
  )
  return {**found, "image": normalised(coloured(of_colour, found["image"], options))}


def unlabelled(key: jax.Array, batch: Batch, options: SegmentationOptions) -> Batch:
  """Cropped alone, in 0 .. 1: what the teacher sees."""
  return data.joint_augment(
    key,
    {"image": batch["image"]},
    crop=options.crop,
    sizes=batch.get("size"),
    flip=False,
    signed=False,
  )


def student(
  key: jax.Array,
  batch: data.PseudoLabelled,
  mixing: str,
  num_classes: int,
  options: SegmentationOptions,
) -> Batch:
  """Scaled and cropped with the teacher's labels, mixed, mirrored, in other colours.

  Args:
    key: for all draws.
    batch: what the teacher saw and said.
    mixing: of images with the next ones.
    num_classes: of the labels.
    options: of the changes.
  """
  of_place, of_mix, of_flip, of_colour = jax.random.split(key, 4)
  names = ("image", "label", "confidence")
  placed = data.joint_augment(
    of_place,
    dict(zip(names, batch, strict=True)),
    scale_range=options.scale_range,
    flip=False,
    signed=False,
  )
  found = data.PseudoLabelled(*(placed[name] for name in names))
  if mixing == "classmix":
    found = data.classmix(of_mix, found, num_classes)
  elif mixing != "mean_teacher":
    found = {"cutout": data.cutout, "cutmix": data.cutmix}[mixing](of_mix, found)
  image = coloured(of_colour, found.image, options)
  mirrored = jax.random.bernoulli(of_flip, 0.5, (len(image),))

  def turn(x: jax.Array) -> jax.Array:
    return jnp.where(mirrored.reshape(-1, *[1] * (x.ndim - 1)), x[:, :, ::-1], x)

  return {
    "image": normalised(turn(image)),
    SEGMENTATION: turn(found.label),
    "confidence": turn(found.confidence),
  }


def coloured(key: jax.Array, image: jax.Array, options: SegmentationOptions) -> jax.Array:
  """In other colours, and less sharp."""
  of_jitter, of_blur = jax.random.split(key)
  if options.jitter:
    image = data.color_jitter(of_jitter, image)
  return data.gaussian_blur(of_blur, image) if options.blur else image
