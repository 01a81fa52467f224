"""The text decoder: RoBERTa that looks at the image's tokens in every layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.layers import layer_norm
from jaxmtl.models.prismer.adaptor import EPSILON, Adaptor
from jaxmtl.models.prismer.attention import Attention, Pair
from jaxmtl.models.prismer.config import Config

_normal = nn.initializers.normal(0.02)
Cache = list[Pair]


def _same(x: jax.Array) -> jax.Array:
  """In the place of an adaptor that there is not."""
  return x


class DecoderLayer(nn.Module):
  """Self-attention, cross-attention, adaptor and perceptron, each normalised after its residual.

  Args:
    config: of the Prismer.
    cross: whether the layer has cross-attention and an adaptor; the last one has neither.

  Returns:
    When called with texts `[B, L, C]`, the image's tokens `[B, N, D]` and a mask, texts
    `[B, L, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config
    >>> from jaxmtl.models.prismer.text import DecoderLayer
    >>> init = DecoderLayer(Config.tiny()).init_with_output
    >>> x, tokens, mask = jnp.ones((2, 5, 32)), jnp.ones((2, 9, 32)), jnp.ones((2, 1, 5, 5), bool)
    >>> jax.eval_shape(init, jax.random.key(0), x, tokens, mask)[0].shape
    (2, 5, 32)

  References: Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach", 2019, section
  2; Liu, "Converging Pathways", 2024, section 6.3.
  """

  config: Config
  cross: bool = True

  def setup(self) -> None:
    """Make the parts."""
    c = self.config
    self.attention, self.attention_norm = self._attention(), layer_norm(c.dtype, EPSILON)
    if self.cross:
      self.cross_attention, self.cross_norm = self._attention(), layer_norm(c.dtype, EPSILON)
      self.adaptor = Adaptor(norm_first=False, dtype=c.dtype) if c.adaptors else _same
    self.mlp_in, self.mlp_out = (
      nn.Dense(n, dtype=c.dtype, kernel_init=_normal) for n in (c.text_mlp_width, c.text_width)
    )
    self.mlp_norm = layer_norm(c.dtype, EPSILON)
    self.drop = nn.Dropout(c.dropout)

  def _attention(self) -> Attention:
    c = self.config
    return Attention(
      c.text_width, c.text_heads, c.dropout, dtype=c.dtype, implementation=c.attention
    )

  def __call__(
    self, x: jax.Array, tokens: jax.Array, mask: jax.Array, train: bool = False
  ) -> jax.Array:
    """Whole texts `[B, L, C]`; `mask`, bool `[B, 1, L, L]`, says what a word may see."""
    return self._run(x, self.attention.keys_values(x), self.keys_values(tokens), mask, train)

  def keys_values(self, tokens: jax.Array) -> Pair | None:
    """Keys and values of the image's tokens, which every word looks at."""
    return self.cross_attention.keys_values(tokens) if self.cross else None

  def extend(
    self, x: jax.Array, kept: Pair, index: jax.Array | int, image: Pair | None, mask: jax.Array
  ) -> tuple[jax.Array, Pair]:
    """Further words `[n B, L, C]` of texts whose keys and values `[n B, S, heads, d]` are kept.

    Those of the words go there from `index` on; `mask`, bool `[n B, 1, L, S]`, says what a word may
    see. Each image has n texts, which lie side by side.
    """
    new = self.attention.keys_values(x)
    keys, values = (
      jax.lax.dynamic_update_slice_in_dim(old, part.astype(old.dtype), index, axis=1)
      for old, part in zip(kept, new, strict=True)
    )
    return self._run(x, (keys, values), image, mask, train=False), (keys, values)

  def _run(
    self, x: jax.Array, words: Pair, image: Pair | None, mask: jax.Array, train: bool
  ) -> jax.Array:
    still = not train
    y = self.attention.attend(x, words, mask, train)
    x = self.attention_norm(x + self.drop(y, deterministic=still))
    if image is not None:
      # Nothing masks the image: all texts of an image are one row of queries.
      y = x.reshape(image[0].shape[0], -1, x.shape[-1])
      y = self.cross_attention.attend(y, image, None, train).reshape(x.shape)
      x = self.adaptor(self.cross_norm(x + self.drop(y, deterministic=still)))
    y = self.mlp_out(jax.nn.gelu(self.mlp_in(x), approximate=False))
    return self.mlp_norm(x + self.drop(y, deterministic=still))


class TextDecoder(nn.Module):
  """Words to the logits of the next ones, given an image's tokens.

  Positions count the words that are no padding, from the one after the padding's own. The output's
  projection is the table of word embeddings, with a bias.

  Args:
    config: of the Prismer.

  Returns:
    When called as `Prismer.decode`, logits `[B, L, vocab_size]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config
    >>> from jaxmtl.models.prismer.text import TextDecoder
    >>> init, ids = TextDecoder(Config.tiny()).init_with_output, jnp.ones((2, 5), jnp.int32)
    >>> jax.eval_shape(init, jax.random.key(0), ids, ids, jnp.ones((2, 9, 32)))[0].shape
    (2, 5, 60)

  References: Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach", 2019; Liu,
  "Converging Pathways", 2024, section 6.3.
  """

  config: Config

  def setup(self) -> None:
    """Make the tables, the layers and the head."""
    c = self.config
    for name, rows in (("word", c.vocab_size), ("position", c.max_positions), ("token_type", 1)):
      table = self.param(f"{name}_embeddings", _normal, (rows, c.text_width), jnp.float32)
      setattr(self, name, table)
    self.embeddings_norm, self.drop = layer_norm(c.dtype, EPSILON), nn.Dropout(c.dropout)
    layer = nn.remat(DecoderLayer, static_argnums=(4,)) if c.remat else DecoderLayer
    self.layer = [layer(c) for _ in range(c.text_layers)]
    self.output_layer = layer(c, cross=False)
    self.lm_dense = nn.Dense(c.text_width, dtype=c.dtype, kernel_init=_normal)
    self.lm_norm = layer_norm(c.dtype, EPSILON)
    self.lm_bias = self.param("lm_bias", nn.initializers.zeros_init(), (c.vocab_size,), jnp.float32)

  def __call__(
    self, ids: jax.Array, mask: jax.Array, tokens: jax.Array, train: bool = False
  ) -> jax.Array:
    """Logits `[B, L, vocab_size]`; see `Prismer.decode`."""
    check_text(self.config, ids, mask, tokens)
    sees = (jnp.asarray(mask) > 0)[:, None, None, :] & jnp.tri(ids.shape[1], dtype=bool)
    x = self._embed(ids, jnp.cumsum(ids != self.config.pad_token, axis=1), train)
    for layer in (*self.layer, self.output_layer):
      x = layer(x, tokens, sees, train)
    return self._logits(x)

  def keys_values(self, tokens: jax.Array) -> list[Pair | None]:
    """Every layer's keys and values of the image's tokens `[B, N, D]`."""
    return [layer.keys_values(tokens) for layer in (*self.layer, self.output_layer)]

  def empty(self, count: int, length: int) -> Cache:
    """Every layer's place for the keys and values of `count` texts of `length` words."""
    c = self.config
    kernel = self.layer[0].attention.key.variables["params"]["kernel"]
    like = c.dtype or kernel.dtype
    shape = (count, length, c.text_heads, c.text_width // c.text_heads)
    return [(jnp.zeros(shape, like), jnp.zeros(shape, like)) for _ in range(c.text_layers + 1)]

  def extend(
    self,
    ids: jax.Array,
    counts: jax.Array,
    cache: Cache,
    index: jax.Array | int,
    image: list[Pair | None],
    mask: jax.Array,
    last: bool = False,
  ) -> tuple[jax.Array, Cache]:
    """Logits `[n B, L, vocab_size]` of further words, and what is kept with them.

    Args:
      ids: words `[n B, L]`.
      counts: number of words that are no padding, up to and with each, `[n B, L]`.
      cache: keys and values of the words before, from `empty` on.
      index: number of words before.
      image: from `keys_values`, for B images with n texts each.
      mask: bool `[n B, 1, L, S]`, the words of the cache that each may see.
      last: whether to give the logits of the last word alone, `[n B, 1, vocab_size]`.

    Returns:
      Logits and the new cache.
    """
    x, after = self._embed(ids, counts, train=False), []
    layers = (*self.layer, self.output_layer)
    for layer, kept, pair in zip(layers, cache, image, strict=True):
      x, kept = layer.extend(x, kept, index, pair, mask)
      after.append(kept)
    return self._logits(x[:, -1:] if last else x), after

  def _embed(self, ids: jax.Array, counts: jax.Array, train: bool) -> jax.Array:
    """Embeddings of words and their positions."""
    pad = self.config.pad_token
    padding = ids == pad
    positions = jnp.where(padding, pad, counts + pad)
    x = sum(
      # Padding is no word: its rows do not learn from being looked up.
      jnp.where(padding[..., None], jax.lax.stop_gradient(table[rows]), table[rows])
      for table, rows in ((self.word, ids), (self.position, positions))
    )
    (x,) = nn.dtypes.promote_dtype(x + self.token_type[0], dtype=self.config.dtype)
    return self.drop(self.embeddings_norm(x), deterministic=not train)

  def _logits(self, x: jax.Array) -> jax.Array:
    """Scores of all words, in float32 or wider: sums over them are next."""
    x = self.lm_norm(jax.nn.gelu(self.lm_dense(x), approximate=False))
    x, table = nn.dtypes.promote_dtype(x, self.word, dtype=self.config.dtype)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    scores = jnp.einsum("blc,vc->blv", x, table, preferred_element_type=wide)
    return scores + self.lm_bias.astype(wide)


def check_text(config: Config, ids: jax.Array, mask: jax.Array, tokens: jax.Array) -> None:
  """Raises unless texts and images fit each other and the model.

  Args:
    config: of the model.
    ids: words `[B, L]`.
    mask: the same shape.
    tokens: of images, `[B, N, C]`.

  Raises:
    ValueError: if they do not fit.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config
    >>> from jaxmtl.models.prismer.text import check_text
    >>> ids = jnp.ones((2, 50), jnp.int32)
    >>> check_text(Config.tiny(), ids, ids, jnp.ones((2, 9, 32)))
    Traceback (most recent call last):
    ValueError: ids must have at most 38 words, as there are 40 positions, got 50; cut the texts
  """
  if ids.ndim != 2 or not jnp.issubdtype(ids.dtype, jnp.integer):
    raise ValueError(f"ids must be integers [B, L], got {ids.dtype} of shape {ids.shape}")
  if mask.shape != ids.shape:
    raise ValueError(f"mask must have the shape of ids, {ids.shape}, got {mask.shape}")
  if tokens.ndim != 3 or tokens.shape[0] != ids.shape[0]:
    raise ValueError(
      f"tokens must be those of {ids.shape[0]} images, [B, N, C] from encode, got {tokens.shape}"
    )
  if ids.shape[1] > config.max_length:
    raise ValueError(
      f"ids must have at most {config.max_length} words, as there are {config.max_positions}"
      f" positions, got {ids.shape[1]}; cut the texts"
    )
