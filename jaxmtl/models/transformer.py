"""The layers of vision transformers and mixers: patches, perceptron, attention, pre-norm block."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.models.relative import Positions, check_positions

dense_init = nn.initializers.truncated_normal(0.02)


def layer_norm(dtype: Any, epsilon: float = 1e-6, name: str | None = None) -> nn.LayerNorm:
  """Layer normalization over the channels, its statistics in float32, in two passes.

  Args:
    dtype: Compute dtype of the output.
    epsilon: Added to the variance.
    name: Name of the module in its parent.

  Returns:
    The Linen module.

  Example:
    >>> from jaxmtl.models.transformer import layer_norm
    >>> layer_norm(None).epsilon
    1e-06
  """
  # One pass, Linen's default, cancels where the mean is large against the deviation.
  return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=False, name=name)


def spread(depth: int, stages: int = 4) -> tuple[int, ...]:
  """Split a uniform stack of blocks into stages as equal as can be.

  Args:
    depth: Number of blocks.
    stages: Number of stages.

  Returns:
    Number of blocks of each stage.

  Example:
    >>> from jaxmtl.models.transformer import spread
    >>> spread(12)
    (3, 3, 3, 3)
  """
  return tuple(depth * (i + 1) // stages - depth * i // stages for i in range(stages))


def drop_rates(rate: float, sizes: Sequence[int]) -> list[list[float]]:
  """Rates of stochastic depth that grow linearly from 0 to `rate`, by stage and block.

  Args:
    rate: Rate of the last block.
    sizes: Number of blocks of each stage.

  Returns:
    One list a stage.

  Example:
    >>> from jaxmtl.models.transformer import drop_rates
    >>> drop_rates(0.5, (1, 2))
    [[0.0], [0.25, 0.5]]

  Reference: Huang et al., "Deep Networks with Stochastic Depth", 2016, section 3.
  """
  rates = iter(np.linspace(0, rate, sum(sizes)).tolist())
  return [[next(rates) for _ in range(size)] for size in sizes]


def drop_path(rate: float, ndim: int) -> nn.Dropout:
  """Stochastic depth: drop a residual branch of whole images, scaling up the others."""
  return nn.Dropout(rate, broadcast_dims=tuple(range(1, ndim)))


class PatchEmbed(nn.Module):
  """One dense layer for every square patch of the images.

  The same as a convolution whose stride is its kernel's size, and with its parameters
  `kernel [p, p, C, width]` and `bias`, but one matrix product on every backend.

  Args:
    width: Number of output channels.
    patch_size: Height and width p of the patches.
    dtype: Compute dtype.
    kernel_init: Initialiser of the kernel.

  Returns:
    When called with images `[B, H, W, C]`, maps `[B, H / p, W / p, width]`.

  Raises:
    ValueError: When called, if the patches do not tile the images.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.transformer import PatchEmbed
    >>> init = PatchEmbed(8, 4).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 16, 8, 3)))[0].shape
    (2, 4, 2, 8)

  Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.1.
  """

  width: int
  patch_size: int = 16
  dtype: Any = None
  kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """Map images `[B, H, W, C]` to `[B, H / p, W / p, width]`."""
    batch, height, width, channels = images.shape
    p = self.patch_size
    if height % p or width % p:
      raise ValueError(f"images must be multiples of patch_size={p}, got {height}x{width}")
    kernel = self.param("kernel", self.kernel_init, (p, p, channels, self.width), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.width,), jnp.float32)
    images, kernel, bias = nn.dtypes.promote_dtype(images, kernel, bias, dtype=self.dtype)
    x = images.reshape(batch, height // p, p, width // p, p, channels).swapaxes(2, 3)
    return x.reshape(batch, height // p, width // p, -1) @ kernel.reshape(-1, self.width) + bias


class Mlp(nn.Module):
  """Two dense layers with a GELU between them.

  Args:
    hidden: Number of hidden units.
    dropout: Rate after either layer.
    dtype: Compute dtype.
    kernel_init: Initialiser of the first kernel.
    output_init: Initialiser of the second; None for the same.
    bias_init: Initialiser of the biases.

  Returns:
    When called with `[..., C]`, `[..., C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.transformer import Mlp
    >>> jax.eval_shape(Mlp(16).init_with_output, jax.random.key(0), jnp.ones((2, 4)))[0].shape
    (2, 4)
  """

  hidden: int
  dropout: float = 0.0
  dtype: Any = None
  kernel_init: Callable[..., jax.Array] = dense_init
  output_init: Callable[..., jax.Array] | None = None
  bias_init: Callable[..., jax.Array] = nn.initializers.zeros_init()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map `[..., C]` to `[..., C]`."""
    drop = nn.Dropout(self.dropout, deterministic=not train)
    options: dict[str, Any] = {"dtype": self.dtype, "bias_init": self.bias_init}
    h = nn.Dense(self.hidden, kernel_init=self.kernel_init, name="fc1", **options)(x)
    h = drop(nn.gelu(h, approximate=False))
    init = self.kernel_init if self.output_init is None else self.output_init
    return drop(nn.Dense(x.shape[-1], kernel_init=init, name="fc2", **options)(h))


class Attention(nn.Module):
  """Multi-head self-attention, optionally with a learned bias for every relative position.

  Args:
    num_heads: Number of heads; they divide the channels.
    key_bias: Whether keys have a bias like queries and values. It never changes the output, but
      weights of both kinds exist.
    dropout: Rate after the output's projection.
    dtype: Compute dtype; the softmax is taken in float32 or wider.
    output_init: Initialiser of the output's projection.

  Returns:
    When called with tokens `[..., N, C]`, tokens `[..., N, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.transformer import Attention
    >>> jax.eval_shape(Attention(2).init_with_output, jax.random.key(0), jnp.ones((2, 5, 4)))[0].shape
    (2, 5, 4)

  Reference: Vaswani et al., "Attention Is All You Need", 2017, section 3.2.
  """

  num_heads: int
  key_bias: bool = True
  dropout: float = 0.0
  dtype: Any = None
  output_init: Callable[..., jax.Array] = dense_init

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    train: bool = False,
    positions: Positions | None = None,
    mask: jax.Array | np.ndarray | None = None,
  ) -> jax.Array:
    """Attend among tokens `[..., N, C]`.

    `positions` names the row of the table of biases for every query and key; `mask`, bool
    `[..., 1, N, N]`, is True where a query may see a key.
    """
    width, zeros = x.shape[-1], nn.initializers.zeros_init()
    qkv = nn.Dense(
      3 * width, self.key_bias, dtype=self.dtype, kernel_init=dense_init, name="qkv"
    )(x)
    if not self.key_bias:
      query, value = (self.param(f"{k}_bias", zeros, (width,), jnp.float32) for k in "qv")
      bias = jnp.concatenate([query, jnp.zeros_like(query), value])
      qkv = qkv + bias.astype(qkv.dtype)
    q, k, v = jnp.split(qkv.reshape(*x.shape[:-1], 3 * self.num_heads, -1), 3, axis=-2)
    bias = None
    if positions is not None:
      name, shape = "relative_position_bias_table", (positions.rows, self.num_heads)
      check_positions(self, name, shape)
      table = self.param(name, dense_init, shape, jnp.float32)
      bias = jnp.moveaxis(table[positions.index], -1, 0)
    y = nn.dot_product_attention(
      q, k, v, bias, mask, force_fp32_for_softmax=qkv.dtype.itemsize < 4, dtype=qkv.dtype
    )
    y = nn.Dense(width, dtype=self.dtype, kernel_init=self.output_init, name="proj")(
      y.reshape(x.shape)
    )
    return nn.Dropout(self.dropout, deterministic=not train)(y)


class Block(nn.Module):
  """A transformer's block with normalization first: attention, then a perceptron, both residual.

  Args:
    num_heads: Number of attention heads.
    hidden: Hidden units of the perceptron.
    key_bias: As in `Attention`.
    layer_scale: Initial value of a learned factor for every channel of either branch; None for no
      such factor.
    depth: Position of the block, from 1, by which the branches' last kernels are initialised
      smaller, by `sqrt(2 depth)`; None for no such factor.
    dropout: Rate within the branches.
    drop_path: Rate at which whole branches are dropped.
    epsilon: Of the layer normalizations.
    dtype: Compute dtype.

  Returns:
    When called with tokens `[B, N, C]`, tokens `[B, N, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.transformer import Block
    >>> jax.eval_shape(Block(2, 8).init_with_output, jax.random.key(0), jnp.ones((2, 5, 4)))[0].shape
    (2, 5, 4)

  References: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.1; for the layer
  scale, Touvron et al., "Going deeper with Image Transformers", 2021, section 2.
  """

  num_heads: int
  hidden: int
  key_bias: bool = True
  layer_scale: float | None = None
  depth: int | None = None
  dropout: float = 0.0
  drop_path: float = 0.0
  epsilon: float = 1e-6
  dtype: Any = None

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool = False, positions: Positions | None = None
  ) -> jax.Array:
    """Map tokens `[B, N, C]` to tokens `[B, N, C]`."""
    smaller = 1 if self.depth is None else 1 / math.sqrt(2 * self.depth)
    output_init = nn.initializers.truncated_normal(0.02 * smaller)
    attention = Attention(
      self.num_heads,
      self.key_bias,
      self.dropout,
      self.dtype,
      output_init,
      name="attn",
    )
    mlp = Mlp(self.hidden, self.dropout, self.dtype, output_init=output_init, name="mlp")

    def add(x: jax.Array, y: jax.Array, number: int) -> jax.Array:
      if self.layer_scale is not None:
        init = nn.initializers.constant(self.layer_scale)
        gamma = self.param(f"gamma_{number}", init, y.shape[-1:], jnp.float32)
        y = y * gamma.astype(y.dtype)
      return x + drop_path(self.drop_path, x.ndim)(y, deterministic=not train)

    y = layer_norm(self.dtype, self.epsilon, "norm1")(x)
    x = add(x, attention(y, train, positions), 1)
    return add(x, mlp(layer_norm(self.dtype, self.epsilon, "norm2")(x), train), 2)
