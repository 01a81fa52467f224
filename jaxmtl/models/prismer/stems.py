"""Experts' labels as tokens: a small convolutional network for every kind of label."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.conv import Conv
from jaxmtl.models.initializers import initializer
from jaxmtl.models.normalization import batch_norm
from jaxmtl.models.resize import resize_aligned

_PICTURE = 3  # most channels of a label that is a picture rather than a map of features


class Stem(nn.Module):
  """Four convolutions from an expert's labels to one token for each of the image's patches.

  Labels are resized first, so that the tokens' grid is that of an image with as many pixels:
  pictures (depth, normals, edges: up to three channels) by 16 / patch, of which four convolutions
  of stride 2 remain; features of regions (64 channels) by 4 / patch, of which two do.

  Args:
    width: channels of the tokens, a multiple of 8.
    patch_size: of the vision transformer, in pixels.
    dtype: compute dtype.

  Returns:
    When called with labels `[B, H, W, C]`, maps `[B, H', W', width]`, for most sizes
    `H' = floor(H / patch)`.

  Raises:
    ValueError: when called, if the labels are smaller than a patch.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer.stems import Stem
    >>> init = Stem(32, 14).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 224, 224, 64)))[0].shape
    (2, 16, 16, 32)

  Reference: Liu, "Converging Pathways", 2024, section 6.3.
  """

  width: int
  patch_size: int
  dtype: Any = None

  @nn.compact
  def __call__(self, labels: jax.Array, train: bool = False) -> jax.Array:
    """Map labels `[B, H, W, C]` to tokens on a grid; `train` for the batch's statistics."""
    picture = labels.shape[-1] <= _PICTURE
    height, width = (side * (16 if picture else 4) // self.patch_size for side in labels.shape[1:3])
    if not height or not width:
      raise ValueError(
        f"labels of {labels.shape[1]} x {labels.shape[2]} pixels are smaller than a patch of"
        f" {self.patch_size}; resize them"
      )
    x = resize_aligned(labels, (height, width))
    for i, stride in enumerate((2, 2, 2, 2) if picture else (2, 2, 1, 1)):
      x = self._conv(f"conv_{i}", self.width >> (3, 2, 1, 0)[i], 3, stride)(x)
      x = jax.nn.relu(batch_norm(train, self.dtype, name=f"norm_{i}")(x))
    return self._conv("proj", self.width, 1, 1)(x)

  def _conv(self, name: str, features: int, size: int, stride: int) -> Conv:
    return Conv(
      features,
      (size, size),
      strides=stride,
      padding=size // 2,
      use_bias=False,
      dtype=self.dtype,
      param_dtype=jnp.float32,
      kernel_init=initializer("torch"),
      name=name,
    )
