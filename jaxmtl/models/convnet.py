"""Four-layer convolutional network."""

from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.backbone import Backbone
from jaxmtl.models.conv import Conv
from jaxmtl.models.initializers import Initializer, he_fan_out
from jaxmtl.models.normalization import batch_norm
from jaxmtl.models.pool import global_average, max_pool


class ConvNet4(Backbone):
  """Four blocks of 3x3 convolution, batch normalization, ReLU and 2x2 pooling, then global average.

  A block pools only while its map has at least 2x2 pixels: 32x32 images end on 2x2 maps, 8x8 ones
  reach 1x1 after the third block, and the fourth block then works without pooling.

  Args:
    width: number of channels of every block, and of the features.
    dtype: compute dtype; parameters and running statistics stay in float32.
    axis_name: mapped axis over which batch statistics are averaged while training.
    kernel_init: initialiser of the convolutions' kernels, see `models.create`.

  Returns:
    When called with images `[B, H, W, C]`, features `[B, width]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import ConvNet4
    >>> init = ConvNet4(width=16).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 8, 8, 1)))[0].shape
    (2, 16)

  Reference: Liu, "Universal Representation Learning and Task-specific Adaptation", ch. 5 (MAXL).
  """

  width: int = 64
  dtype: Any = None
  axis_name: str | None = None
  kernel_init: Initializer = he_fan_out

  def setup(self) -> None:
    """Make the blocks' layers."""
    self.convs = [
      Conv(
        self.width,
        (3, 3),
        use_bias=False,
        kernel_init=self.kernel_init,
        dtype=self.dtype,
        name=f"conv{i}",
      )
      for i in range(4)
    ]
    self.norms = [batch_norm(None, self.dtype, self.axis_name, f"norm{i}") for i in range(4)]

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """Four stages of one block."""
    return (1, 1, 1, 1)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Nothing: the first stage takes images."""
    return images

  def block(self, stage: int, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Convolve, normalise, rectify, and pool maps of at least 2x2 pixels."""
    x = nn.relu(self.norms[stage](self.convs[stage](x), use_running_average=not train))
    return max_pool(x) if min(x.shape[1:3]) > 1 else x

  def readout(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Average the map: features `[B, width]`."""
    return global_average(x)
