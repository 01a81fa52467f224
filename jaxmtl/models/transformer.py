"""Multi-head self-attention and the transformer's pre-norm block."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.models.layers import Mlp, dense_init, drop_path, layer_norm
from jaxmtl.models.relative import Positions, check_positions


class Attention(nn.Module):
  """Multi-head self-attention, optionally with a learned bias for every relative position.

  Args:
    num_heads: number of heads; they divide the channels.
    key_bias: whether keys have a bias like queries and values. It never changes the output, but
      weights of both kinds exist.
    dropout: rate after the output's projection.
    dtype: compute dtype; the softmax is taken in float32 or wider.
    output_init: initialiser of the output's projection.

  Returns:
    When called with tokens `[..., N, C]`, tokens `[..., N, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.transformer import Attention
    >>> init = Attention(2).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 5, 4)))[0].shape
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
    qkv = nn.Dense(3 * width, self.key_bias, dtype=self.dtype, kernel_init=dense_init, name="qkv")(
      x
    )
    if not self.key_bias:
      query, value = (self.param(f"{k}_bias", zeros, (width,), jnp.float32) for k in "qv")
      qkv = qkv + jnp.concatenate([query, jnp.zeros_like(query), value]).astype(qkv.dtype)
    q, k, v = jnp.split(qkv.reshape(*x.shape[:-1], 3 * self.num_heads, -1), 3, axis=-2)
    bias = None
    if positions is not None:
      name, shape = "relative_position_bias_table", (positions.rows, self.num_heads)
      check_positions(self, name, shape)
      table = self.param(name, dense_init, shape, jnp.float32)
      bias = jnp.moveaxis(table[positions.pairs], -1, 0)
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
    num_heads: number of attention heads.
    hidden: hidden units of the perceptron.
    key_bias: as in `Attention`.
    layer_scale: initial value of a learned factor for every channel of either branch; None for no
      such factor.
    depth: position of the block, from 1, by which the branches' last kernels are initialised
      smaller, by `sqrt(2 depth)`; None for no such factor.
    dropout: rate within the branches.
    drop_path: rate at which whole branches are dropped.
    epsilon: of the layer normalizations.
    dtype: compute dtype.

  Returns:
    When called with tokens `[B, N, C]`, tokens `[B, N, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.transformer import Block
    >>> init = Block(2, 8).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 5, 4)))[0].shape
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
