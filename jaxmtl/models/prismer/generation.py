"""Texts for images: greedy and beam search."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.models.prismer.config import Config
from jaxmtl.models.prismer.decoding import Kept, Reader, Variables, check_prompt
from jaxmtl.models.prismer.model import Prismer

# Of the beams that are as yet copies of the first: far below, and finite.
_LAST = -1e9


def generate(
  model: Prismer,
  variables: Variables,
  tokens: jax.Array,
  ids: jax.Array,
  mask: jax.Array,
  *,
  num_beams: int = 3,
  max_length: int = 20,
  min_length: int = 8,
  length_penalty: float = 1.0,
) -> jax.Array:
  r"""Continue prompts to texts, by beam search with a cache, in one compiled program.

  Texts are rated by

  .. math:: \frac{1}{l^{\alpha}} \sum_t \log p(y_t \mid y_{<t}, \text{image})

  with l their length with the prompt and without the end, of which only what follows the prompt has
  a probability. In every step the best 2 `num_beams` continuations of the open texts are looked at:
  one that ends is kept if it is among the first `num_beams`; the best others stay open. An image is
  done when `num_beams` texts are kept and the worst of them is no worse than the best of the step
  at its length; at `max_length` the open ones count too. With one beam, the best word is taken each
  time.

  Args:
    model: the Prismer.
    variables: its variables.
    tokens: of images, `[B, N, C]`, from `encode`.
    ids: prompts `[B, P]`, integers, beginning with <s>; padded ones go on behind the padding.
    mask: 0 where prompts are padded, `[B, P]`.
    num_beams: number of texts that are open at a time.
    max_length: most words of a text, with the prompt.
    min_length: words, with the prompt, before which a text does not end.
    length_penalty: alpha; larger ones favour longer texts, negative ones shorter ones.

  Returns:
    Texts `[B, max_length]` with their prompts, int32; the end, if there is room for it, and padding
    follow.

  Raises:
    ValueError: if shapes do not fit, prompts leave no room within `max_length`, or there are fewer
      words in the vocabulary than two for each beam.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config, Prismer, generate
    >>> from jaxmtl.models.prismer.convert import shapes
    >>> from flax.traverse_util import unflatten_dict
    >>> config = Config.tiny(experts={})
    >>> tokens, ids = jnp.ones((2, 16, 32)), jnp.zeros((2, 1), jnp.int32)
    >>> call = lambda variables: generate(Prismer(config), variables, tokens, ids, ids + 1)
    >>> jax.eval_shape(call, unflatten_dict(shapes(config))).shape
    (2, 20)

  Reference: Liu, "Converging Pathways", 2024, section 6.4, and the release's search, that of
  `transformers` 4.26.
  """
  tokens, ids, mask = jnp.asarray(tokens), jnp.asarray(ids), jnp.asarray(mask)
  check_prompt(model, tokens, ids, mask)
  config = model.config
  if num_beams < 1 or 2 * num_beams > config.vocab_size:
    raise ValueError(
      f"num_beams must be from 1 to {config.vocab_size // 2}, half the vocabulary, got {num_beams}"
    )
  if not ids.shape[1] < max_length <= config.max_length:
    raise ValueError(
      f"max_length must be more than the prompt's {ids.shape[1]} words and at most"
      f" {config.max_length}, got {max_length}"
    )
  if num_beams == 1:
    return _greedy(model, variables, tokens, ids, mask, max_length, int(min_length))
  return _beam(
    *(model, variables, tokens, ids, mask, max_length),
    *(int(min_length), float(length_penalty), num_beams),
  )


class _Greedy(NamedTuple):
  length: jax.Array
  texts: jax.Array  # [B, S]
  done: jax.Array  # [B]
  kept: Kept


@functools.partial(jax.jit, static_argnames=("model", "max_length"))
def _greedy(
  model: Prismer,
  variables: Variables,
  tokens: jax.Array,
  ids: jax.Array,
  mask: jax.Array,
  max_length: int,
  min_length: jax.Array,
) -> jax.Array:
  """The best word each time."""
  config, reader = model.config, Reader.of(model, variables, tokens)
  _, kept = reader.start(ids, mask, max_length, last=False)

  def step(state: _Greedy) -> _Greedy:
    log_p, kept = _next(reader, config, state.kept, state.texts, state.length, min_length)
    word = jnp.where(state.done, config.pad_token, log_p.argmax(axis=-1)).astype(jnp.int32)
    texts = _put(state.texts, word, state.length)
    return _Greedy(state.length + 1, texts, state.done | (word == config.end_token), kept)

  state = _Greedy(
    jnp.asarray(ids.shape[1], jnp.int32),
    _texts(config, ids, max_length),
    jnp.zeros(ids.shape[0], bool),
    kept,
  )
  return jax.lax.while_loop(lambda s: (s.length < max_length) & ~s.done.all(), step, state).texts


class _Beams(NamedTuple):
  """Open texts, and the kept ones, best first."""

  length: jax.Array
  texts: jax.Array  # [B, K, S]
  sums: jax.Array  # [B, K]
  done: jax.Array  # [B]
  kept: Kept
  ended: jax.Array  # [B, K, S]
  scores: jax.Array  # [B, K], -inf where there is none
  lengths: jax.Array  # [B, K]


@functools.partial(jax.jit, static_argnames=("model", "max_length", "num_beams"))
def _beam(
  model: Prismer,
  variables: Variables,
  tokens: jax.Array,
  ids: jax.Array,
  mask: jax.Array,
  max_length: int,
  min_length: jax.Array,
  penalty: jax.Array,
  num_beams: int,
) -> jax.Array:
  """The best of the texts that `generate` says."""
  config, reader = model.config, Reader.of(model, variables, tokens)
  _, kept = reader.start(ids, mask, max_length, last=False)
  batch = ids.shape[0]

  def step(state: _Beams) -> _Beams:
    texts = state.texts.reshape(batch * num_beams, -1)
    log_p, kept = _next(reader, config, state.kept, texts, state.length, min_length)
    sums = state.sums[..., None] + log_p.reshape(batch, num_beams, -1)
    best, index = jax.lax.top_k(sums.reshape(batch, -1), 2 * num_beams)
    beam, word = index // config.vocab_size, (index % config.vocab_size).astype(jnp.int32)
    ends = word == config.end_token
    norm = state.length.astype(best.dtype) ** penalty
    # Texts that end now, if they are among the best, and where the image is not done.
    closes = ends[:, :num_beams] & ~state.done[:, None]
    state = _keep(
      state,
      _rows(state.texts, beam[:, :num_beams]),
      jnp.where(closes, best[:, :num_beams] / norm, -jnp.inf),
    )
    full = jnp.isfinite(state.scores).all(axis=1)
    done = state.done | (full & (state.scores[:, -1] >= best[:, 0] / norm))
    # Each text ends in one way, so at least `num_beams` of the continuations do not.
    order = jnp.argsort(ends, axis=1, stable=True)[:, :num_beams]
    beam, word, sums = (jnp.take_along_axis(x, order, axis=1) for x in (beam, word, best))
    texts = _put(_rows(state.texts, beam), word, state.length)
    return state._replace(
      length=state.length + 1, texts=texts, sums=sums, done=done, kept=kept.pick(beam)
    )

  def copies(x: jax.Array) -> jax.Array:
    return jnp.broadcast_to(x[:, None], (batch, num_beams, *x.shape[1:]))

  texts = copies(_texts(config, ids, max_length))
  wide = jax.eval_shape(lambda: _next(reader, config, kept, texts[:, 0], 1, 0)[0]).dtype
  state = _Beams(
    length=jnp.asarray(ids.shape[1], jnp.int32),
    texts=texts,
    sums=jnp.full((batch, num_beams), _LAST, wide).at[:, 0].set(0),
    done=jnp.zeros(batch, bool),
    kept=kept.pick(jnp.zeros((batch, num_beams), jnp.int32)),
    ended=texts,
    scores=jnp.full((batch, num_beams), -jnp.inf, wide),
    lengths=jnp.zeros((batch, num_beams), jnp.int32),
  )
  state = jax.lax.while_loop(lambda s: (s.length < max_length) & ~s.done.all(), step, state)
  last = state.sums / state.length.astype(wide) ** penalty
  state = _keep(state, state.texts, jnp.where(state.done[:, None], -jnp.inf, last))
  best, length = state.ended[:, 0], state.lengths[:, :1]
  places = jnp.arange(max_length)
  after = jnp.where(places == length, config.end_token, config.pad_token)
  return jnp.where(places < length, best, after)


def _keep(state: _Beams, texts: jax.Array, scores: jax.Array) -> _Beams:
  """The best of the kept texts and of new ones, all of the present length."""
  scores = jnp.concatenate([state.scores, scores], axis=1)
  lengths = jnp.concatenate([state.lengths, jnp.full_like(state.lengths, state.length)], axis=1)
  scores, index = jax.lax.top_k(scores, state.scores.shape[1])
  return state._replace(
    ended=_rows(jnp.concatenate([state.ended, texts], axis=1), index),
    scores=scores,
    lengths=jnp.take_along_axis(lengths, index, axis=1),
  )


def _next(
  reader: Reader,
  config: Config,
  kept: Kept,
  texts: jax.Array,
  length: jax.Array | int,
  min_length: jax.Array | int,
) -> tuple[jax.Array, Kept]:
  """Log-probabilities `[n B, V]` of the word behind texts, of which the last word is read now."""
  word = jax.lax.dynamic_slice_in_dim(texts, length - 1, 1, axis=1)
  logits, kept = reader.read(kept, word, length - 1)
  log_p = jax.nn.log_softmax(logits[:, 0])
  is_end = jnp.arange(config.vocab_size) == config.end_token
  return jnp.where(is_end & (length < min_length), -jnp.inf, log_p), kept


def _texts(config: Config, ids: jax.Array, length: int) -> jax.Array:
  """Prompts with room for what follows."""
  room = ((0, 0), (0, length - ids.shape[1]))
  return jnp.pad(ids.astype(jnp.int32), room, constant_values=config.pad_token)


def _put(texts: jax.Array, word: jax.Array, index: jax.Array) -> jax.Array:
  """Texts `[..., S]` with words `[...]` in place `index`."""
  return jnp.where(jnp.arange(texts.shape[-1]) == index, word[..., None], texts)


def _rows(texts: jax.Array, index: jax.Array) -> jax.Array:
  """The texts of `[B, n, S]` that `index [B, m]` names."""
  return jnp.take_along_axis(texts, index[..., None], axis=1)
