"""Answers of a list, ranked by their likelihood."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxmtl.losses import token_cross_entropy
from jaxmtl.losses.validity import check_share
from jaxmtl.models.prismer.decoding import Reader, Variables, check_prompt
from jaxmtl.models.prismer.model import Prismer


def rank(
  model: Prismer,
  variables: Variables,
  tokens: jax.Array,
  ids: jax.Array,
  mask: jax.Array,
  answer_ids: jax.Array,
  answer_mask: jax.Array,
  *,
  k: int = 16,
  smoothing: float = 0.1,
) -> tuple[jax.Array, jax.Array]:
  r"""Which answer of a closed list is the likeliest.

  The k answers whose first words are the likeliest are read in full and rated by

  .. math:: \frac{1}{n} \sum_{t=1}^{n} (1 - \epsilon) \log p(y_t \mid y_{<t}, x)
            + \frac{\epsilon}{V} \sum_v \log p(v \mid y_{<t}, x)

  over their n words, the end included: with epsilon = 0 the mean log-likelihood of the thesis, with
  0.1, as the release has it, minus the loss of training.

  Args:
    model: the Prismer.
    variables: its variables.
    tokens: of images, `[B, N, C]`, from `encode`.
    ids: prompts, such as questions, `[B, P]`, beginning with <s>; may be padded on the right.
    mask: 0 where prompts are padded, `[B, P]`.
    answer_ids: answers `[A, L]`, each with its end, then padding; the same for all prompts.
    answer_mask: 0 where answers are padded, `[A, L]`.
    k: number of answers that are rated; all, if there are fewer. Cost grows with k, and an answer
      with an unlikely first word is never found.
    smoothing: epsilon in [0, 1].

  Returns:
    The best answer's number, int32 `[B]`, and scores `[B, A]`, -inf for those that are not rated.

  Raises:
    ValueError: if shapes do not fit, texts are too long, there are no answers, or `k` or
      `smoothing` is out of range.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config, Prismer, rank
    >>> from jaxmtl.models.prismer.convert import shapes
    >>> from flax.traverse_util import unflatten_dict
    >>> config, answers = Config.tiny(experts={}), jnp.full((5, 3), 2)
    >>> prompt = jnp.zeros((2, 1), jnp.int32), jnp.ones((2, 1)), answers, answers > 1
    >>> call = lambda v: rank(Prismer(config), v, jnp.ones((2, 16, 32)), *prompt)
    >>> [x.shape for x in jax.eval_shape(call, unflatten_dict(shapes(config)))]
    [(2,), (2, 5)]

  Reference: Liu, "Converging Pathways", 2024, section 6.4.
  """
  tokens, ids, mask = jnp.asarray(tokens), jnp.asarray(ids), jnp.asarray(mask)
  answer_ids, answer_mask = jnp.asarray(answer_ids), jnp.asarray(answer_mask)
  check_prompt(model, tokens, ids, mask)
  if answer_ids.ndim != 2 or not answer_ids.size or answer_mask.shape != answer_ids.shape:
    raise ValueError(
      "answer_ids and answer_mask must have one shape [A, L], with at least one answer, got"
      f" {answer_ids.shape} and {answer_mask.shape}"
    )
  length = ids.shape[1] + answer_ids.shape[1]
  if length > model.config.max_length:
    raise ValueError(
      f"ids and answer_ids must have at most {model.config.max_length} words together, got {length}"
    )
  if k < 1:
    raise ValueError(f"k must be at least 1, got {k}")
  check_share("smoothing", smoothing)
  return _rank(
    *(model, variables, tokens, ids, mask, answer_ids, answer_mask),
    *(min(k, len(answer_ids)), float(smoothing)),
  )


@functools.partial(jax.jit, static_argnames=("model", "k"))
def _rank(
  model: Prismer,
  variables: Variables,
  tokens: jax.Array,
  ids: jax.Array,
  mask: jax.Array,
  answer_ids: jax.Array,
  answer_mask: jax.Array,
  k: int,
  smoothing: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  (batch, prompt), (count, length) = ids.shape, answer_ids.shape
  reader = Reader.of(model, variables, tokens)
  logits, kept = reader.start(ids, mask, prompt + length, last=True)
  _, chosen = jax.lax.top_k(logits[:, answer_ids[:, 0]], k)
  words = answer_ids[chosen].reshape(batch * k, length)
  counts = (answer_mask[chosen] > 0).reshape(batch * k, length)
  kept = kept.pick(jnp.zeros((batch, k), jnp.int32))
  kept = kept._replace(sees=kept.sees.at[:, prompt:].set(counts))
  after, _ = reader.read(kept, words, prompt)
  # The prompt's last word predicts the first of the answer.
  logits = jnp.concatenate([jnp.repeat(logits, k, axis=0)[:, None], after], axis=1)
  labels = jnp.where(counts, words, -100)
  labels = jnp.pad(labels, ((0, 0), (1, 0)), constant_values=-100)
  losses = token_cross_entropy(logits, labels, label_smoothing=smoothing)
  rated = (-losses / jnp.maximum(counts.sum(axis=1), 1)).reshape(batch, k)
  scores = jnp.full((batch, count), -jnp.inf, rated.dtype)
  scores = scores.at[jnp.arange(batch)[:, None], chosen].set(rated)
  return scores.argmax(axis=1).astype(jnp.int32), scores
