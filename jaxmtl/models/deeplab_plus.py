"""DeepLabV3+: a pyramid joined with an early map, a classifier, and a head of representations."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.architecture import HEAD
from jaxmtl.models.conv import Conv
from jaxmtl.models.deeplab import ASPP, RATES, conv_norm
from jaxmtl.models.resize import resize_aligned


class PixelHead(nn.Module):
  """A 3x3 convolution with batch normalization and ReLU, and a 1x1 convolution.

  Args:
    outputs: channels of the output.
    features: channels within.
    dtype: compute dtype; the output is in float32.
    axis_name: mapped axis over which batch statistics are averaged while training.

  Returns:
    When called with maps `[B, H, W, C]`, maps `[B, H, W, outputs]`.
  """

  outputs: int
  features: int = 256
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map `[B, H, W, C]` to `[B, H, W, outputs]`."""
    x = conv_norm(self, x, train, self.features, "mix", 3)
    return Conv(self.outputs, (1, 1), name="last")(x.astype(jnp.float32))


class DeepLabV3Plus(nn.Module):
  """Classes at a quarter of the image's resolution, and representations for `contrast.reco_loss`.

  The last stage's map goes through a pyramid, is resized to the first stage's, and joined with 48
  channels of that one. Classifier and representation head read both. The representation head is
  of use in training alone: `drop_heads(variables, "representation")` removes its variables, and
  `dimension=None` builds the network that is left, whose classes are the same.

  Args:
    backbone: of `models.create`, a ResNet or another one whose first map is the largest; ReCo's is
      `resnet101` with `output_stride=16`.
    num_classes: outputs of the classifier.
    dimension: of a representation; None for no representation head.
    features: channels of pyramid and heads.
    low_features: channels of the first stage's map where it is joined.
    rates: dilation of the pyramid; None for those of the backbone's `output_stride`.
    dtype: compute dtype; outputs are in float32.
    axis_name: mapped axis over which batch statistics are averaged while training.

  Returns:
    When called with images `[B, H, W, C]`, a dict: `classes` `[B, H / 4, W / 4, num_classes]` and,
    with a representation head, `representation` `[B, H / 4, W / 4, dimension]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl import models
    >>> backbone = models.create("resnet18", width=0.25, output_stride=16)
    >>> net = models.DeepLabV3Plus(backbone, 19, dimension=32, features=16)
    >>> init = net.init_with_output
    >>> outputs, _ = jax.eval_shape(init, jax.random.key(0), jnp.ones((1, 64, 96, 3)))
    >>> outputs["classes"].shape, outputs["representation"].shape
    ((1, 16, 24, 19), (1, 16, 24, 32))

  Reference: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
  Segmentation", 2018, section 3; Liu, Zhi, Johns and Davison, "Bootstrapping Semantic Segmentation
  with Regional Contrast", 2022, section 4.
  """

  backbone: nn.Module
  num_classes: int
  dimension: int | None = 256
  features: int = 256
  low_features: int = 48
  rates: Sequence[int] | None = None
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
    """Map images `[B, H, W, C]` to classes and representations of their pixels."""
    maps = self.backbone.maps(images, train)
    first, last = maps[0], maps[-1]
    rates = RATES[getattr(self.backbone, "output_stride", 32)] if self.rates is None else self.rates
    wide = ASPP(self.features, tuple(rates), self.dtype, self.axis_name, name="aspp")(last, train)
    wide = resize_aligned(wide, first.shape[1:3])
    low = conv_norm(self, first, train, self.low_features, "low")
    joined = jnp.concatenate([low, wide.astype(low.dtype)], axis=-1)
    # What both heads read, for those who ask for intermediates.
    self.sow("intermediates", "decoder", joined)

    def head(outputs: int, name: str) -> jax.Array:
      made = PixelHead(outputs, self.features, self.dtype, self.axis_name, name=HEAD + name)
      return made(joined, train)

    found = {"classes": head(self.num_classes, "classes")}
    if self.dimension is not None:
      found["representation"] = head(self.dimension, "representation")
    return found
