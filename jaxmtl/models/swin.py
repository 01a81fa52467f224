"""Swin Transformer: attention within windows that shift from block to block."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.models.backbone import Backbone
from jaxmtl.models.layers import (
  Mlp,
  PatchEmbed,
  dense_init,
  drop_path,
  drop_rates,
  layer_norm,
)
from jaxmtl.models.pool import global_average
from jaxmtl.models.relative import relative_positions
from jaxmtl.models.transformer import Attention

_EPSILON = 1e-5


class SwinBlock(nn.Module):
  """Window attention, then a perceptron, both residual with normalization first.

  A window that is larger than the map shrinks to it, using the centre of its table of biases; such
  windows do not shift. Maps that windows do not tile are padded with zeros.

  Args:
    num_heads: number of attention heads.
    window: height and width of the windows.
    shift: whether windows are shifted by half their size, around the map's edges, where a mask
      separates what does not adjoin.
    mlp_ratio: hidden units of the perceptron over the channels.
    dropout: rate within the branches.
    drop_path: rate at which whole branches are dropped.
    dtype: compute dtype.

  Returns:
    When called with maps `[B, H, W, C]`, maps `[B, H, W, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.swin import SwinBlock
    >>> init = SwinBlock(num_heads=2, window=3, shift=True).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 7, 5, 4)))[0].shape
    (2, 7, 5, 4)

  Reference: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
  2021, section 3.2.
  """

  num_heads: int
  window: int = 7
  shift: bool = False
  mlp_ratio: float = 4.0
  dropout: float = 0.0
  drop_path: float = 0.0
  dtype: Any = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map `[B, H, W, C]` to `[B, H, W, C]`."""
    drop = drop_path(self.drop_path, x.ndim)
    y = layer_norm(self.dtype, _EPSILON, "norm1")(x)
    x = x + drop(self._attend(y, train), deterministic=not train)
    y = layer_norm(self.dtype, _EPSILON, "norm2")(x)
    hidden = int(self.mlp_ratio * x.shape[-1])
    y = Mlp(hidden, self.dropout, self.dtype, name="mlp")(y, train)
    return x + drop(y, deterministic=not train)

  def _attend(self, x: jax.Array, train: bool) -> jax.Array:
    """Attention within the windows of maps `[B, H, W, C]`."""
    batch, height, width, channels = x.shape
    size = (min(self.window, height), min(self.window, width))
    shift = [self.window // 2 if self.shift and n > self.window else 0 for n in (height, width)]
    counts = (-(-height // size[0]), -(-width // size[1]))
    x = jnp.roll(x, (-shift[0], -shift[1]), (1, 2))
    rest = [c * s - n for c, s, n in zip(counts, size, (height, width), strict=True)]
    x = jnp.pad(x, ((0, 0), (0, rest[0]), (0, rest[1]), (0, 0)))
    x = x.reshape(batch, counts[0], size[0], counts[1], size[1], channels).swapaxes(2, 3)
    x = x.reshape(batch, counts[0] * counts[1], size[0] * size[1], channels)
    mask = _mask(counts, size, shift) if any(shift) else None
    attention = Attention(self.num_heads, dropout=self.dropout, dtype=self.dtype, name="attn")
    x = attention(x, train, relative_positions(*size, reach=(self.window, self.window)), mask)
    x = x.reshape(batch, *counts, *size, channels).swapaxes(2, 3)
    x = x.reshape(batch, counts[0] * size[0], counts[1] * size[1], channels)
    return jnp.roll(x[:, :height, :width], shift, (1, 2))


class PatchMerging(nn.Module):
  """Concatenate the channels of 2x2 pixels, normalise, and project to twice the channels.

  Args:
    dtype: compute dtype.

  Returns:
    When called with maps `[B, H, W, C]`, maps `[B, ceil(H / 2), ceil(W / 2), 2 C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.swin import PatchMerging
    >>> init = PatchMerging().init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 4, 3, 8)))[0].shape
    (2, 2, 2, 16)

  Reference: Liu et al., "Swin Transformer", 2021, section 3.1.
  """

  dtype: Any = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map `[B, H, W, C]` to `[B, ceil(H / 2), ceil(W / 2), 2 C]`."""
    x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    # The published weights' order: column within the 2x2 pixels, row, channel.
    x = x.transpose(0, 1, 3, 4, 2, 5).reshape(batch, height // 2, width // 2, 4 * channels)
    x = layer_norm(self.dtype, _EPSILON, "norm")(x)
    return nn.Dense(
      2 * channels, use_bias=False, dtype=self.dtype, kernel_init=dense_init, name="reduction"
    )(x)


class Swin(Backbone):
  """Swin Transformer: four stages of window attention, each at half the resolution of the last.

  The features are the mean of the normalised last map. No parameter depends on the images' size.

  Args:
    sizes: number of blocks of each stage.
    num_heads: number of attention heads of each stage.
    patch_size: height and width of the patches.
    width: number of channels of the first stage; every stage doubles them.
    window: height and width of the windows, in patches.
    mlp_ratio: hidden units of the perceptrons over the channels.
    dropout: rate after the embedding and in all branches.
    drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
    dtype: compute dtype; parameters stay in float32.

  Returns:
    When called with images `[B, H, W, C]`, features `[B, 8 width]`.

  Raises:
    ValueError: when called, if the patches do not tile the images.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import Swin
    >>> init = Swin(sizes=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), width=8, window=4).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 32, 32, 3)))[0].shape
    (2, 64)

  Reference: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
  2021, section 3.
  """

  sizes: Sequence[int] = (2, 2, 6, 2)
  num_heads: Sequence[int] = (3, 6, 12, 24)
  patch_size: int = 4
  width: int = 96
  window: int = 7
  mlp_ratio: float = 4.0
  dropout: float = 0.0
  drop_path: float = 0.0
  dtype: Any = None

  def setup(self) -> None:
    """Make the embedding, the blocks, the merging layers and the normalizations."""
    self.patch = PatchEmbed(self.width, self.patch_size, self.dtype)
    self.patch_norm = layer_norm(self.dtype, _EPSILON)
    self.patch_drop = nn.Dropout(self.dropout)
    rates = drop_rates(self.drop_path, self.sizes)
    self.merges = [
      PatchMerging(self.dtype, name=f"stage{stage}_merge") for stage in range(1, len(self.sizes))
    ]
    self.blocks = [
      [
        SwinBlock(
          self.num_heads[stage],
          self.window,
          i % 2 == 1,
          self.mlp_ratio,
          self.dropout,
          rates[stage][i],
          self.dtype,
          name=f"stage{stage}_block{i}",
        )
        for i in range(size)
      ]
      for stage, size in enumerate(self.sizes)
    ]
    self.norm = layer_norm(self.dtype, _EPSILON)

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """Number of blocks of each stage."""
    return tuple(self.sizes)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Embed and normalise patches: maps `[B, H / p, W / p, width]`."""
    return self.patch_drop(self.patch_norm(self.patch(images)), deterministic=not train)

  def block(self, stage: int, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Run one block; the first of every stage but the first one merges patches before."""
    if stage and index == 0:
      x = self.merges[stage - 1](x)
    return self.blocks[stage][index](x, train)

  def readout(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Normalise, then average the map."""
    return global_average(self.norm(x))


def _mask(counts: Sequence[int], size: Sequence[int], shift: Sequence[int]) -> np.ndarray:
  """Which pixels of a shifted map's windows adjoined before the shift, `[windows, 1, N, N]`."""
  regions = []
  for count, extent, by in zip(counts, size, shift, strict=True):
    region = np.zeros(count * extent, int)
    if by:
      region[-extent:], region[-by:] = 1, 2
    regions.append(region.reshape(count, extent))
  pairs = 3 * regions[0][:, None, :, None] + regions[1][None, :, None, :]
  pairs = pairs.reshape(counts[0] * counts[1], 1, -1)
  return pairs[..., :, None] == pairs[..., None, :]
