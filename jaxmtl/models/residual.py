"""Residual blocks."""

from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.conv import Conv
from jaxmtl.models.initializers import Initializer, he_fan_out
from jaxmtl.models.normalization import batch_norm


class _Residual(nn.Module):
  """What both blocks share: convolutions with batch normalization, and the shortcut."""

  features: int
  strides: int = 1
  dtype: Any = None
  axis_name: str | None = None
  first_dilation: int = 1
  kernel_init: Initializer = he_fan_out

  def conv_norm(
    self,
    x: jax.Array,
    train: bool,
    name: str,
    size: int,
    features: int,
    strides: int = 1,
    dilation: int = 1,
    groups: int = 1,
  ) -> jax.Array:
    """Convolve by a square kernel without bias, then normalise."""
    x = Conv(
      features,
      (size, size),
      strides=strides,
      # The same on every side, not "SAME", which with stride 2 pads only bottom and right.
      padding=size // 2 * dilation,
      kernel_dilation=dilation,
      feature_group_count=groups,
      use_bias=False,
      kernel_init=self.kernel_init,
      dtype=self.dtype,
      name=f"conv_{name}",
    )(x)
    return batch_norm(train, self.dtype, self.axis_name, f"norm_{name}")(x)

  def add_shortcut(self, x: jax.Array, y: jax.Array, train: bool) -> jax.Array:
    """Add the block's input `x` to its result `y`, projected where the shapes differ."""
    if self.strides != 1 or x.shape[-1] != y.shape[-1]:
      x = self.conv_norm(x, train, "shortcut", 1, y.shape[-1], self.strides)
    return nn.relu(x + y)


def drop_channels(rate: float) -> nn.Dropout:
  """Zero whole channels of maps `[B, H, W, C]` at this rate, an image's own each."""
  return nn.Dropout(rate, broadcast_dims=(1, 2))


class BasicBlock(_Residual):
  """Two 3x3 convolutions with batch normalization and a shortcut.

  The shortcut is the identity, or a 1x1 convolution with batch normalization where the shape
  changes.

  Args:
    features: number of output channels.
    strides: stride of the first convolution and of the shortcut.
    dtype: compute dtype.
    axis_name: mapped axis over which batch statistics are averaged while training.
    first_dilation: distance between kernel taps of the first convolution.
    kernel_init: initialiser of the kernels.
    dilation: distance between kernel taps of the second.
    dropout: rate at which whole channels are zero between the convolutions, in training.

  Returns:
    When called with `[B, H, W, C]`, maps `[B, H / strides, W / strides, features]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.residual import BasicBlock
    >>> init = BasicBlock(8, strides=2).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 8, 8, 4)))[0].shape
    (2, 4, 4, 8)

  Reference: He et al., "Deep Residual Learning for Image Recognition", 2016, section 3.3.
  """

  dilation: int = 1
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map `[B, H, W, C]` to `[B, H / strides, W / strides, features]`."""
    y = self.conv_norm(x, train, "0", 3, self.features, self.strides, self.first_dilation)
    y = drop_channels(self.dropout)(nn.relu(y), deterministic=not train)
    y = self.conv_norm(y, train, "1", 3, self.features, dilation=self.dilation)
    return self.add_shortcut(x, y, train)


class Bottleneck(_Residual):
  """1x1, 3x3 and 1x1 convolutions with batch normalization and a shortcut; the 3x3 one strides.

  Args:
    features: number of output channels.
    strides: stride of the 3x3 convolution and of the shortcut.
    dtype: compute dtype.
    axis_name: mapped axis over which batch statistics are averaged while training.
    first_dilation: distance between kernel taps of the 3x3 convolution, the first and only one.
    kernel_init: initialiser of the kernels.
    width: number of channels of the 3x3 convolution.
    groups: number of its groups.

  Returns:
    When called with `[B, H, W, C]`, maps `[B, H / strides, W / strides, features]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.residual import Bottleneck
    >>> init = Bottleneck(16, strides=2, width=8, groups=4).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 8, 8, 4)))[0].shape
    (2, 4, 4, 16)

  References: He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.1, with the
  stride on the 3x3 convolution; Xie et al., "Aggregated Residual Transformations for Deep Neural
  Networks", 2017, figure 3 (c).
  """

  width: int = 64
  groups: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map `[B, H, W, C]` to `[B, H / strides, W / strides, features]`."""
    y = nn.relu(self.conv_norm(x, train, "0", 1, self.width))
    y = self.conv_norm(
      y, train, "1", 3, self.width, self.strides, self.first_dilation, groups=self.groups
    )
    y = self.conv_norm(nn.relu(y), train, "2", 1, self.features)
    return self.add_shortcut(x, y, train)
