"""Residual networks for small images."""

from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.conv import Conv
from jaxmtl.models.normalization import batch_norm, kernel_init
from jaxmtl.models.pool import global_average


class BasicBlock(nn.Module):
  """Two 3x3 convolutions with batch normalization and a shortcut.

  The shortcut is the identity, or a 1x1 convolution with batch normalization where the shape
  changes.

  Args:
    features: Number of output channels.
    strides: Stride of the first convolution and of the shortcut.
    dtype: Compute dtype.
    axis_name: Mapped axis over which batch statistics are averaged while training.

  Returns:
    When called with `[B, H, W, C]`, maps `[B, H / strides, W / strides, features]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.resnet import BasicBlock
    >>> init = BasicBlock(8, strides=2).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 8, 8, 4)))[0].shape
    (2, 4, 4, 8)

  Reference: He et al., "Deep Residual Learning for Image Recognition", 2016, section 3.3.
  """

  features: int
  strides: int = 1
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map `[B, H, W, C]` to `[B, H / strides, W / strides, features]`."""

    def conv_norm(x: jax.Array, size: int, strides: int, name: str) -> jax.Array:
      x = Conv(
        self.features,
        (size, size),
        strides=strides,
        # One pixel on every side, not "SAME", which with stride 2 pads only bottom and right.
        padding=size // 2,
        use_bias=False,
        kernel_init=kernel_init,
        dtype=self.dtype,
        name=f"conv_{name}",
      )(x)
      return batch_norm(train, self.dtype, self.axis_name, f"norm_{name}")(x)

    y = nn.relu(conv_norm(x, 3, self.strides, "0"))
    y = conv_norm(y, 3, 1, "1")
    if self.strides != 1 or x.shape[-1] != self.features:
      x = conv_norm(x, 1, self.strides, "shortcut")
    return nn.relu(x + y)


class CifarResNet(nn.Module):
  """Residual network of depth `6n + 2` for 32x32 images: three stages of `n` basic blocks.

  A 3x3 stem of 16 channels, stages of 16, 32 and 64 channels (the last two start with stride 2),
  and a global average (8x8 on 32x32 images).

  Args:
    depth: Number of weighted layers, `6n + 2` (the last one is the head's dense layer).
    width: Multiplier of all channel counts.
    dtype: Compute dtype; parameters and running statistics stay in float32.
    axis_name: Mapped axis over which batch statistics are averaged while training.

  Returns:
    When called with images `[B, H, W, C]`, features `[B, 64 * width]`.

  Raises:
    ValueError: When called, if `depth` is not `6n + 2` with n >= 1.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import CifarResNet
    >>> init = CifarResNet(depth=20).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 32, 32, 3)))[0].shape
    (2, 64)

  Reference: He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2.
  """

  depth: int = 32
  width: float = 1.0
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images `[B, H, W, C]` to features `[B, 64 * width]`."""
    blocks, remainder = divmod(self.depth - 2, 6)
    if blocks < 1 or remainder:
      raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 32, 110, ...), got {self.depth}")
    widths = [max(1, round(channels * self.width)) for channels in (16, 32, 64)]
    x = Conv(
      widths[0],
      (3, 3),
      use_bias=False,
      kernel_init=kernel_init,
      dtype=self.dtype,
      name="stem_conv",
    )(images)
    x = nn.relu(batch_norm(train, self.dtype, self.axis_name, "stem_norm")(x))
    for stage, features in enumerate(widths):
      for i in range(blocks):
        strides = 2 if stage and i == 0 else 1
        block = BasicBlock(
          features, strides, self.dtype, self.axis_name, name=f"stage{stage}_block{i}"
        )
        x = block(x, train)
    return global_average(x)
