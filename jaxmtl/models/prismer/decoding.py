"""Texts word by word: what was computed for the words before is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.models.prismer.model import Prismer
from jaxmtl.models.prismer.text import check_text

Variables = Mapping[str, Any]


class Kept(NamedTuple):
  """What further words of n texts for each of B images need of the words before.

  Attributes:
    cache: every layer's keys and values, `[n B, S, heads, d]`, with room for S words.
    counts: number of words so far that are no padding, int32 `[n B]`.
    sees: bool `[n B, S]`, the words that may be seen, among those that are there or will be.
  """

  cache: Any
  counts: jax.Array
  sees: jax.Array

  def pick(self, index: jax.Array) -> Kept:
    """Other texts in the place of these: `index [B, m]` of the n of each image."""
    batch, count = index.shape

    def choose(x: jax.Array) -> jax.Array:
      x = x.reshape(batch, -1, *x.shape[1:])
      x = jnp.take_along_axis(x, index.reshape(batch, count, *(1,) * (x.ndim - 2)), axis=1)
      return x.reshape(batch * count, *x.shape[2:])

    return jax.tree.map(choose, self)


class Reader(NamedTuple):
  """The text decoder before some images.

  Attributes:
    model: the Prismer.
    variables: its variables.
    image: every layer's keys and values of the images' tokens.
  """

  model: Prismer
  variables: Variables
  image: Any

  @classmethod
  def of(cls, model: Prismer, variables: Variables, tokens: jax.Array) -> Reader:
    """Look at the tokens `[B, N, C]` of images once."""
    image = model.apply(variables, tokens, method=lambda m, x: m.text_decoder.keys_values(x))
    return cls(model, variables, image)

  def read(
    self, kept: Kept, ids: jax.Array, index: jax.Array | int, last: bool = False
  ) -> tuple[jax.Array, Kept]:
    """Logits `[n B, L, V]` at words `[n B, L]`, or at the `last`; `index` words were before."""
    counts = kept.counts[:, None] + jnp.cumsum(
      ids != self.model.config.pad_token, axis=1, dtype=jnp.int32
    )
    places = jnp.arange(kept.sees.shape[1])
    earlier = places <= index + jnp.arange(ids.shape[1])[:, None]
    mask = (kept.sees[:, None, :] & earlier)[:, None]
    logits, cache = self.model.apply(
      self.variables,
      *(ids, counts, kept.cache, index, self.image, mask),
      method=lambda m, *args: m.text_decoder.extend(*args, last=last),
    )
    return logits, Kept(cache, counts[:, -1], kept.sees)

  def start(self, ids: jax.Array, mask: jax.Array, length: int, last: bool) -> tuple[Any, Kept]:
    """Read prompts `[B, P]`, with room for texts of `length` words.

    Without its `last` word, which is then read as the first of what follows. Gives the logits at
    the last word that was read, `[B, V]`, or None if there was none.
    """
    batch, prompt = ids.shape
    sees = jnp.pad(jnp.asarray(mask) > 0, ((0, 0), (0, length - prompt)), constant_values=True)
    cache = self.model.apply(self.variables, method=lambda m: m.text_decoder.empty(batch, length))
    kept = Kept(cache, jnp.zeros(batch, jnp.int32), sees)
    words = ids if last else ids[:, :-1]
    if not words.shape[1]:
      return None, kept
    logits, kept = self.read(kept, words, 0, last=True)
    return logits[:, 0], kept


def check_prompt(model: Prismer, tokens: jax.Array, ids: jax.Array, mask: jax.Array) -> None:
  """Raises unless prompts are `[B, P]` with a word each, and tokens those of B images.

  Args:
    model: the Prismer.
    tokens: of images.
    ids: words.
    mask: of the words.

  Raises:
    ValueError: if they do not fit.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config, Prismer
    >>> from jaxmtl.models.prismer.decoding import check_prompt
    >>> ids = jnp.zeros((2, 0), jnp.int32)
    >>> check_prompt(Prismer(Config.tiny()), jnp.ones((2, 9, 32)), ids, ids)
    Traceback (most recent call last):
    ValueError: ids must hold a prompt of at least one word, <s>, got shape (2, 0)
  """
  check_text(model.config, ids, mask, tokens)
  if not ids.shape[1]:
    raise ValueError(f"ids must hold a prompt of at least one word, <s>, got shape {ids.shape}")
