"""Residual networks, for small images and for large ones."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.backbone import Backbone
from jaxmtl.models.conv import Conv
from jaxmtl.models.initializers import Initializer, he_fan_out
from jaxmtl.models.normalization import batch_norm
from jaxmtl.models.pool import global_average, max_pool
from jaxmtl.models.residual import BasicBlock, Bottleneck, drop_channels


class CifarResNet(Backbone):
  """Residual network of depth `6n + 2` for 32x32 images: three stages of `n` basic blocks.

  A 3x3 stem of 16 channels, stages of 16, 32 and 64 channels (the last two start with stride 2),
  and a global average (8x8 on 32x32 images).

  Args:
    depth: number of weighted layers, `6n + 2` (the last one is the head's dense layer).
    width: multiplier of all channel counts.
    dtype: compute dtype; parameters and running statistics stay in float32.
    axis_name: mapped axis over which batch statistics are averaged while training.
    kernel_init: initialiser of the convolutions' kernels, see `models.create`.

  Returns:
    When called with images `[B, H, W, C]`, features `[B, 64 * width]`.

  Raises:
    ValueError: when called, if `depth` is not `6n + 2` with n >= 1.

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
  kernel_init: Initializer = he_fan_out

  def setup(self) -> None:
    """Make the stem and the blocks."""
    widths = [max(1, round(channels * self.width)) for channels in (16, 32, 64)]
    self.stem_conv = Conv(
      widths[0], (3, 3), use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype
    )
    self.stem_norm = batch_norm(None, self.dtype, self.axis_name)
    self.blocks = [
      [
        BasicBlock(
          features,
          2 if stage and i == 0 else 1,
          self.dtype,
          self.axis_name,
          kernel_init=self.kernel_init,
          name=f"stage{stage}_block{i}",
        )
        for i in range(size)
      ]
      for stage, (features, size) in enumerate(zip(widths, self.stage_sizes, strict=True))
    ]

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """Three stages of n blocks."""
    blocks, remainder = divmod(self.depth - 2, 6)
    if blocks < 1 or remainder:
      raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 32, 110, ...), got {self.depth}")
    return (blocks, blocks, blocks)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Convolve to 16 channels, normalise and rectify."""
    return nn.relu(self.stem_norm(self.stem_conv(images), use_running_average=not train))

  def block(self, stage: int, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Run one residual block."""
    return self.blocks[stage][index](x, train)

  def readout(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Average the map: features `[B, 64 * width]`."""
    return global_average(x)


class ResNet(Backbone):
  """Residual network for large images, with dilation for dense prediction.

  A 7x7 stem of 64 channels with stride 2 and a 3x3 max-pool with stride 2, then four stages of 64,
  128, 256 and 512 channels (times 4 with bottlenecks), and a global average. Below output stride
  32, the last stages keep their resolution: instead of striding by 2 they double the dilation,
  which takes effect after the stage's first 3x3 convolution.

  Args:
    sizes: number of blocks of each stage.
    bottleneck: whether blocks are bottlenecks, not basic ones.
    groups: number of groups of a bottleneck's 3x3 convolution.
    group_width: channels of each group in the first stage (64 and one group: the plain network).
    output_stride: stride of the last map: 32, 16 or 8; of small images 8.
    small_images: whether the stem is one 3x3 convolution and keeps the resolution, so that the last
      map has an eighth of it.
    pool: height and width of the windows whose averages are the features, side by side; None for
      one average of the whole map.
    dropout: rate at which whole channels are zero in training between a basic block's convolutions
      and features before the heads, and half of it behind a stem for small images: the strong
      regularisation of Kurin et al.
    width: multiplier of all channel counts.
    dtype: compute dtype; parameters and running statistics stay in float32.
    axis_name: mapped axis over which batch statistics are averaged while training.
    kernel_init: initialiser of the convolutions' kernels, see `models.create`.
    remat: whether what a block computes is computed again in the backward pass, so that of each
      its output alone is kept: for large images. It takes more time; gradients are the same.

  Returns:
    When called with images `[B, H, W, C]`, features `[B, 512 * width]`, with bottlenecks
    `[B, 2048 * width]`.

  Raises:
    ValueError: when called, if `output_stride` is another number, or if bottlenecks are to have
      dropout, or a map is smaller than `pool`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import ResNet
    >>> init = ResNet(sizes=(1, 1, 1, 1), width=0.25).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 64, 64, 3)))[0].shape
    (2, 512)

  References: He et al., "Deep Residual Learning for Image Recognition", 2016, table 1; Xie et al.,
  "Aggregated Residual Transformations for Deep Neural Networks", 2017; Chen et al., "Rethinking
  Atrous Convolution for Semantic Image Segmentation", 2017, section 3; for small images and with
  dropout, Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning",
  2022, as their program has it for CelebA.
  """

  sizes: Sequence[int] = (3, 4, 6, 3)
  bottleneck: bool = True
  groups: int = 1
  group_width: int = 64
  output_stride: int = 32
  small_images: bool = False
  pool: int | None = None
  dropout: float = 0.0
  width: float = 1.0
  dtype: Any = None
  axis_name: str | None = None
  kernel_init: Initializer = he_fan_out
  remat: bool = False

  def setup(self) -> None:
    """Make the stem and the blocks."""
    if self.output_stride not in (8, 16, 32):
      raise ValueError(f"output_stride must be 8, 16 or 32, got {self.output_stride}")
    if self.bottleneck and self.dropout:
      raise ValueError(f"dropout is for basic blocks, got {self.dropout} with bottleneck=True")
    if len(self.sizes) != 4:
      raise ValueError(f"sizes must be the blocks of four stages, got {self.sizes}")
    widths = [max(1, round(channels * self.width)) for channels in (64, 128, 256, 512)]
    size = 3 if self.small_images else 7
    self.stem_conv = Conv(
      widths[0],
      (size, size),
      strides=1 if self.small_images else 2,
      padding=size // 2,
      use_bias=False,
      kernel_init=self.kernel_init,
      dtype=self.dtype,
    )
    self.stem_norm = batch_norm(None, self.dtype, self.axis_name)
    self.stem_drop, self.drop = drop_channels(self.dropout / 2), nn.Dropout(self.dropout)
    blocks = []
    stride, dilation = 1 if self.small_images else 4, 1
    for stage, (channels, size) in enumerate(zip(widths, self.sizes, strict=True)):
      strides, before = 1, dilation
      if stage and stride < self.output_stride:
        strides, stride = 2, 2 * stride
      elif stage:
        dilation *= 2
      blocks.append(
        [
          self._block(
            channels, strides if i == 0 else 1, before if i == 0 else dilation, dilation, stage, i
          )
          for i in range(size)
        ]
      )
    self.blocks = blocks

  def _block(
    self, channels: int, strides: int, first: int, dilation: int, stage: int, index: int
  ) -> nn.Module:
    """One block of a stage of `channels` channels."""
    options: dict[str, Any] = {
      "strides": strides,
      "dtype": self.dtype,
      "axis_name": self.axis_name,
      "first_dilation": first,
      "kernel_init": self.kernel_init,
      "name": f"stage{stage}_block{index}",
    }
    kind: Any = Bottleneck if self.bottleneck else BasicBlock
    if self.remat:
      kind = nn.remat(kind, static_argnums=(2,))  # `train`, the module counted too
    if not self.bottleneck:
      return kind(channels, dilation=dilation, dropout=self.dropout, **options)
    width = channels * self.group_width // 64 * self.groups
    return kind(4 * channels, width=width, groups=self.groups, **options)

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """Number of blocks of each stage."""
    return tuple(self.sizes)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Convolve and pool to a quarter of the resolution; of small images keep it."""
    x = nn.relu(self.stem_norm(self.stem_conv(images), use_running_average=not train))
    if self.small_images:
      return self.stem_drop(x, deterministic=not train)
    return max_pool(x, 3, strides=2, padding=1)

  def block(self, stage: int, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Run one residual block."""
    return self.blocks[stage][index](x, train)

  def readout(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Average the map: features `[B, 512 * width]`, or four times as many."""
    if self.pool is None:
      features = global_average(x)
    else:
      window = self.pool, self.pool
      if min(x.shape[1:3]) < self.pool:
        raise ValueError(f"maps must be at least of pool={self.pool} pixels, got {x.shape[1:3]}")
      features = nn.avg_pool(x, window, window).reshape(len(x), -1)
    return self.drop(features, deterministic=not train)
