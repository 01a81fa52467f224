"""Vision transformers: ViT, and BEiT's form of it."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.backbone import Backbone
from jaxmtl.models.layers import PatchEmbed, dense_init, drop_rates, layer_norm, spread
from jaxmtl.models.pool import global_average
from jaxmtl.models.relative import check_positions, relative_positions
from jaxmtl.models.transformer import Block


class _Tokens(nn.Module):
  """The class token, then one token a patch, plus their position embeddings."""

  width: int
  patch_size: int
  absolute: bool
  dropout: float
  dtype: Any

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images `[B, H, W, C]` to tokens `[B, 1 + N, width]`."""
    x = PatchEmbed(self.width, self.patch_size, self.dtype, name="patch")(images)
    x = x.reshape(x.shape[0], -1, self.width)
    init = nn.initializers.normal(1e-6) if self.absolute else dense_init
    token = self.param("cls_token", init, (1, 1, self.width), jnp.float32).astype(x.dtype)
    x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1)
    if self.absolute:
      shape = (1, x.shape[1], self.width)
      check_positions(self, "pos_embed", shape)
      x = x + self.param("pos_embed", dense_init, shape, jnp.float32).astype(x.dtype)
    return nn.Dropout(self.dropout, deterministic=not train)(x)


class ViT(Backbone):
  """Vision transformer: pre-norm blocks over a class token and one token for every patch.

  Four stages of equally many blocks, for architectures that join networks between stages. The
  features are the class token's after the last normalization. Position embeddings take the size of
  the images that the variables were initialised with; `load_pretrained` resizes them.

  Args:
    patch_size: height and width of the patches.
    width: number of channels.
    depth: number of blocks.
    num_heads: number of attention heads.
    mlp_ratio: hidden units of the perceptrons over `width`.
    dropout: rate after the embedding and in all branches.
    drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
    dtype: compute dtype; parameters stay in float32.

  Returns:
    When called with images `[B, H, W, C]`, features `[B, width]`.

  Raises:
    ValueError: when called, if the patches do not tile the images, or there are not as many as the
      variables were made for.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import ViT
    >>> init = ViT(patch_size=4, width=8, depth=4, num_heads=2).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 16, 16, 3)))[0].shape
    (2, 8)

  Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition
  at Scale", 2021, section 3.1.
  """

  patch_size: int = 16
  width: int = 768
  depth: int = 12
  num_heads: int = 12
  mlp_ratio: float = 4.0
  dropout: float = 0.0
  drop_path: float = 0.0
  dtype: Any = None

  def setup(self) -> None:
    """Make the embedding, the blocks and the normalization."""
    self._make(absolute=True)
    self.norm = layer_norm(self.dtype)

  def _make(self, absolute: bool, **options: Any) -> None:
    """The embedding and the blocks; `options` of the blocks."""
    self.embed = _Tokens(self.width, self.patch_size, absolute, self.dropout, self.dtype)
    rates = drop_rates(self.drop_path, self.stage_sizes)
    scaled, before = options.pop("scale_by_depth", False), 0
    blocks = []
    for stage, size in enumerate(self.stage_sizes):
      blocks.append(
        [
          Block(
            self.num_heads,
            int(self.mlp_ratio * self.width),
            depth=before + i + 1 if scaled else None,
            dropout=self.dropout,
            drop_path=rates[stage][i],
            dtype=self.dtype,
            name=f"stage{stage}_block{i}",
            **options,
          )
          for i in range(size)
        ]
      )
      before += size
    self.blocks = blocks

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """Four stages of as many blocks."""
    return spread(self.depth)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images to tokens `[B, 1 + N, width]`, the class token first."""
    return self.embed(images, train)

  def block(self, stage: int, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Run one block."""
    return self.blocks[stage][index](x, train)

  def as_map(self, x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Patches' tokens of images of `size` as maps `[B, H / p, W / p, width]`."""
    return x[:, 1:].reshape(-1, *(n // self.patch_size for n in size), x.shape[-1])

  def readout(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Normalise; the class token is the feature."""
    return self.norm(x)[:, 0]


class BEiT(ViT):
  """BEiT's vision transformer: relative position biases, layer scale, and averaged patches.

  Every block has its own table of biases for the relative positions of patches (and for the class
  token's) instead of position embeddings, keys have no bias, and learned factors scale the
  branches. The features are the normalised mean of the patches' tokens.

  Args:
    layer_scale: initial value of the branches' factors.
    image_size: height and width of the images; None for any square ones.

  Other arguments, the value and what is raised are as in `ViT`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import BEiT
    >>> init = BEiT(patch_size=4, width=8, depth=4, num_heads=2).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 16, 16, 3)))[0].shape
    (2, 8)

  Reference: Bao et al., "BEiT: BERT Pre-Training of Image Transformers", 2022, section 2 and
  appendix.
  """

  layer_scale: float = 0.1
  image_size: Sequence[int] | None = None

  def setup(self) -> None:
    """Make the embedding, the blocks and the normalization."""
    self._make(absolute=False, key_bias=False, layer_scale=self.layer_scale, scale_by_depth=True)
    self.fc_norm = layer_norm(self.dtype)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images to tokens `[B, 1 + N, width]`, the class token first."""
    size = images.shape[1:3]
    if self.image_size is None and size[0] != size[1]:
      raise ValueError(f"images of {size[0]}x{size[1]} need image_size={size}")
    if self.image_size is not None and tuple(self.image_size) != size:
      raise ValueError(f"image_size={tuple(self.image_size)}, got images of {size[0]}x{size[1]}")
    return self.embed(images, train)

  def block(self, stage: int, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Run one block."""
    if self.image_size is None:
      height = width = math.isqrt(x.shape[1] - 1)
    else:
      height, width = (n // self.patch_size for n in self.image_size)
    positions = relative_positions(height, width, class_token=True)
    return self.blocks[stage][index](x, train, positions)

  def readout(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Average the patches' tokens, then normalise."""
    return self.fc_norm(global_average(x[:, 1:]))
