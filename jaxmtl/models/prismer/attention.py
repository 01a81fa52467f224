"""Multi-head attention whose keys and values can be kept."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Pair = tuple[jax.Array, jax.Array]


class Attention(nn.Module):
  r"""Multi-head attention of tokens to themselves or to others.

  .. math:: \mathrm{out}\left(\mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{d}}\right) V\right)

  for each head, of d channels. `keys_values` and `attend` are its two halves: for decoding, which
  keeps keys and values.

  Args:
    width: channels of the queries and of the output.
    num_heads: number of heads; they divide the channels.
    dropout: rate of the attention weights in training.
    kernel_init: initialiser of the projections of queries, keys and values.
    out_init: initialiser of the output's projection.
    dtype: compute dtype; the softmax is taken in float32 or wider.
    implementation: of `jax.nn.dot_product_attention`. Training with dropout and float64, which it
      does not know, are computed without it.

  Returns:
    When called with tokens `[B, N, width]` and, for cross-attention, others `[B, M, C]`, tokens
    `[B, N, width]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer.attention import Attention
    >>> init = Attention(4, 2).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 5, 4)), jnp.ones((2, 7, 3)))[0].shape
    (2, 5, 4)

  Reference: Vaswani et al., "Attention Is All You Need", 2017, section 3.2.
  """

  width: int
  num_heads: int
  dropout: float = 0.0
  kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)
  out_init: nn.initializers.Initializer = nn.initializers.normal(0.02)
  dtype: Any = None
  implementation: Any = None

  def setup(self) -> None:
    """Make the four projections."""
    self.query, self.key, self.value = (
      nn.Dense(self.width, dtype=self.dtype, kernel_init=self.kernel_init) for _ in range(3)
    )
    self.out = nn.Dense(self.width, dtype=self.dtype, kernel_init=self.out_init)

  def __call__(
    self,
    x: jax.Array,
    context: jax.Array | None = None,
    mask: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """Attend from tokens `x` to `context`, or to themselves; `mask` as in `attend`."""
    return self.attend(x, self.keys_values(x if context is None else context), mask, train)

  def keys_values(self, context: jax.Array) -> Pair:
    """Keys and values `[B, M, heads, d]` of tokens `[B, M, C]`."""
    return self._heads(self.key(context)), self._heads(self.value(context))

  def attend(
    self, x: jax.Array, pair: Pair, mask: jax.Array | None = None, train: bool = False
  ) -> jax.Array:
    """Attend from tokens `[B, N, width]` to keys and values.

    `mask`, bool `[B, 1, N, M]`, is True where a token may see a key.
    """
    q, k, v = nn.dtypes.promote_dtype(self._heads(self.query(x)), *pair, dtype=self.dtype)
    if q.dtype == jnp.float64 or (train and self.dropout):
      y = nn.dot_product_attention(
        q,
        k,
        v,
        mask=mask,
        broadcast_dropout=False,
        dropout_rng=self.make_rng("dropout") if train and self.dropout else None,
        dropout_rate=self.dropout,
        deterministic=not train,
        force_fp32_for_softmax=q.dtype.itemsize < 4,
      )
    else:
      y = jax.nn.dot_product_attention(q, k, v, mask=mask, implementation=self.implementation)
    return self.out(y.reshape(*x.shape[:-1], self.width))

  def _heads(self, x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:-1], self.num_heads, -1)
