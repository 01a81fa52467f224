"""VGG with batch normalization, for small images."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.conv import Conv
from jaxmtl.models.normalization import batch_norm, kernel_init
from jaxmtl.models.pool import global_average, max_pool

# Convolutions in each of the five stages, by depth (the papers' depth counts dense layers too).
STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
  """VGG with batch normalization for 32x32 images, without its dense layers.

  Stages have 64, 128, 256, 512 and 512 channels and each ends in a 2x2 max-pool. 32x32 images end
  on a 1x1 map; of larger images the last map is averaged. Kernels are drawn from
  N(0, 2 / (k^2 c_out)). Convolutions have no bias: batch normalization's shift does its work.

  Args:
    stages: Number of convolutions of each stage.
    width: Multiplier of all channel counts (for quick runs and tests).
    final_pool: Whether the last stage pools (multi-domain VGG-16 leaves it out).
    dtype: Compute dtype; parameters and running statistics stay in float32.
    axis_name: Mapped axis over which batch statistics are averaged while training.

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

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images `[B, H, W, C]` to features `[B, 512 * width]`."""
    x = images
    for stage, depth in enumerate(self.stages):
      channels = max(1, round(_WIDTHS[stage] * self.width))
      for i in range(depth):
        x = Conv(
          channels,
          (3, 3),
          use_bias=False,
          kernel_init=kernel_init,
          dtype=self.dtype,
          name=f"conv{stage}_{i}",
        )(x)
        x = nn.relu(batch_norm(train, self.dtype, self.axis_name, f"norm{stage}_{i}")(x))
      if stage + 1 < len(self.stages) or self.final_pool:
        x = max_pool(x)
    return global_average(x)
