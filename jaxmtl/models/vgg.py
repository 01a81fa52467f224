"""VGG with batch normalization, for small images."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.backbone import Backbone
from jaxmtl.models.conv import Conv
from jaxmtl.models.initializers import Initializer, he_fan_out
from jaxmtl.models.normalization import batch_norm
from jaxmtl.models.pool import global_average, max_pool

# Convolutions in each of the five stages, by depth (the papers' depth counts dense layers too).
STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)


class VGG(Backbone):
  """VGG with batch normalization for 32x32 images, without its dense layers.

  Stages have 64, 128, 256, 512 and 512 channels and each ends in a 2x2 max-pool. 32x32 images end
  on a 1x1 map; of larger images the last map is averaged. Convolutions have no bias: batch
  normalization's shift does its work.

  Args:
    stages: number of convolutions of each stage.
    width: multiplier of all channel counts (for quick runs and tests).
    final_pool: whether the last stage pools (multi-domain VGG-16 leaves it out).
    dtype: compute dtype; parameters and running statistics stay in float32.
    axis_name: mapped axis over which batch statistics are averaged while training.
    kernel_init: initialiser of the convolutions' kernels, see `models.create`.

  Returns:
    When called with images `[B, H, W, C]`, features `[B, 512 * width]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import VGG
    >>> init = VGG(width=0.5).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 32, 32, 3)))[0].shape
    (2, 256)

  Reference: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
  Recognition", 2015, table 1 (D and E), in the CIFAR form of "Binary Labels", experiments.
  """

  stages: Sequence[int] = STAGES[19]
  width: float = 1.0
  final_pool: bool = True
  dtype: Any = None
  axis_name: str | None = None
  kernel_init: Initializer = he_fan_out

  def setup(self) -> None:
    """Make the stages' layers."""
    self.convs = [
      [
        Conv(
          max(1, round(_WIDTHS[stage] * self.width)),
          (3, 3),
          use_bias=False,
          kernel_init=self.kernel_init,
          dtype=self.dtype,
          name=f"conv{stage}_{i}",
        )
        for i in range(depth)
      ]
      for stage, depth in enumerate(self.stages)
    ]
    self.norms = [
      [batch_norm(None, self.dtype, self.axis_name, f"norm{stage}_{i}") for i in range(depth)]
      for stage, depth in enumerate(self.stages)
    ]

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """Number of convolutions of each stage."""
    return tuple(self.stages)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Nothing: the first stage takes images."""
    return images

  def block(self, stage: int, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Convolve, normalise and rectify; a stage's last block pools."""
    x = self.norms[stage][index](self.convs[stage][index](x), use_running_average=not train)
    last = index + 1 == self.stages[stage]
    pools = last and (stage + 1 < len(self.stages) or self.final_pool)
    return max_pool(nn.relu(x)) if pools else nn.relu(x)

  def readout(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Average the map: features `[B, 512 * width]`."""
    return global_average(x)
