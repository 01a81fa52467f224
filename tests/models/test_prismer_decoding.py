"""Prismer's texts: the released program's, and with what is kept as without."""

import jax
import jax.numpy as jnp
import numpy as np
import prismer_goldens as goldens
import pytest

from jaxmtl.models import prismer
from jaxmtl.models.prismer.decoding import Reader

TINY = prismer.Config.tiny()
MODEL = prismer.Prismer(TINY)
# With a larger bias of the end, sentences end, and at different lengths.
BIAS = "text_decoder.lm_head.bias"
ENDING = goldens.STATE | {BIAS: goldens.STATE[BIAS] + goldens.FILE["eos_bias"] * np.eye(60)[2]}
QUESTIONS, QUESTION_MASK = (goldens.given(f"vqa_{name}")[:, :6] for name in ("ids", "mask"))
ANSWERS, ANSWER_MASK = (goldens.given(f"answer_{name}") for name in ("ids", "mask"))


@pytest.mark.parametrize(
  ("case", "options"),
  [
    ("caption", {}),
    ("ending", {}),
    ("long", {"min_length": 5, "length_penalty": 2.0}),
    ("greedy", {"num_beams": 1}),
    ("vqa", {"max_length": 16, "min_length": 8, "length_penalty": -1.0}),
  ],
)
def test_texts_are_those_of_the_released_program(case, options, x64):
  ids = QUESTIONS if case == "vqa" else goldens.given("caption_ids")[:, :3]
  mask = QUESTION_MASK if case == "vqa" else np.ones_like(ids)
  variables = goldens.variables(goldens.STATE if case == "caption" else ENDING)
  found = prismer.generate(
    *(MODEL, variables, jnp.asarray(goldens.want("tokens")), ids, mask), **options
  )
  np.testing.assert_array_equal(found, goldens.FILE[f"outputs/generate_{case}"])
  assert found.dtype == jnp.int32


@pytest.mark.parametrize(("smoothing", "case"), [(0.1, "rank_scores"), (0.0, "rank_scores_plain")])
def test_ranks_are_those_of_the_released_program(smoothing, case, x64):
  best, scores = prismer.rank(
    *(MODEL, goldens.variables(), jnp.asarray(goldens.want("tokens"))),
    *(QUESTIONS, QUESTION_MASK, ANSWERS, ANSWER_MASK),
    **{"k": 5, "smoothing": smoothing},
  )
  np.testing.assert_allclose(scores, goldens.want(case), rtol=1e-9)
  np.testing.assert_array_equal(best, goldens.want(case).argmax(axis=1))


@pytest.fixture(scope="module")
def variables():
  return prismer.convert(ENDING, TINY)


@pytest.fixture(scope="module")
def tokens():
  return jnp.asarray(goldens.want("tokens"), jnp.float32)


@jax.jit
def uncached(variables, ids, mask, tokens):
  return MODEL.apply(variables, ids, mask, tokens, method="decode")


def test_what_is_kept_changes_nothing(variables, tokens):
  """Word by word behind a prompt, over padding in between."""
  ids, mask = (jnp.asarray(goldens.given(f"vqa_{name}")) for name in ("ids", "mask"))

  @jax.jit
  def cached(variables):
    reader = Reader.of(MODEL, variables, tokens)
    first, kept = reader.start(ids[:, :4], mask[:, :4], ids.shape[1], last=True)
    kept = kept._replace(sees=mask > 0)

    def step(kept, index):
      word = jax.lax.dynamic_slice_in_dim(ids, index, 1, axis=1)
      logits, kept = reader.read(kept, word, index)
      return kept, logits[:, 0]

    _, rest = jax.lax.scan(step, kept, jnp.arange(4, ids.shape[1]))
    return jnp.concatenate([first[:, None], rest.swapaxes(0, 1)], axis=1)

  np.testing.assert_allclose(
    cached(variables), uncached(variables, ids, mask, tokens)[:, 3:], atol=1e-4, rtol=1e-5
  )


def test_all_ranks_are_likelihoods(variables, tokens):
  """With all answers rated, against whole texts read without a cache."""
  prompt = QUESTIONS, QUESTION_MASK, ANSWERS, ANSWER_MASK
  best, scores = prismer.rank(MODEL, variables, tokens, *prompt, k=100, smoothing=0)
  for question in range(3):
    pairs = zip((QUESTIONS, QUESTION_MASK), (ANSWERS, ANSWER_MASK), strict=True)
    ids, mask = (
      jnp.concatenate([jnp.tile(first[question], (12, 1)), second], axis=1)
      for first, second in pairs
    )
    logits = uncached(variables, ids, mask, jnp.tile(tokens[question], (12, 1, 1)))
    log_p = jax.nn.log_softmax(logits[:, 5:-1])
    each = jnp.take_along_axis(log_p, jnp.asarray(ANSWERS)[..., None], axis=-1)[..., 0]
    wanted = (each * ANSWER_MASK).sum(axis=1) / ANSWER_MASK.sum(axis=1)
    np.testing.assert_allclose(scores[question], wanted, rtol=1e-5)
    assert best[question] == wanted.argmax()


def test_an_image_alone_has_the_text_that_it_has_in_a_batch(x64):
  ids, tokens = goldens.given("caption_ids")[1:2, :3], jnp.asarray(goldens.want("tokens")[1:2])
  found = prismer.generate(MODEL, goldens.variables(ENDING), tokens, ids, np.ones_like(ids))
  np.testing.assert_array_equal(found, goldens.FILE["outputs/generate_ending"][1:2])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"num_beams": 0}, "num_beams must be from 1 to 30, half the vocabulary, got 0"),
    ({"max_length": 6}, "more than the prompt's 6 words and at most 38, got 6"),
    ({"max_length": 39}, "at most 38, got 39"),
    ({"ids": QUESTIONS[:, :0], "mask": QUESTIONS[:, :0]}, "prompt of at least one word"),
  ],
)
def test_bad_searches_are_named(changes, message, variables, tokens):
  options = {"ids": QUESTIONS, "mask": QUESTION_MASK, "tokens": tokens} | changes
  with pytest.raises(ValueError, match=message):
    prismer.generate(MODEL, variables, **options)


@pytest.mark.parametrize(
  ("answers", "k", "message"),
  [
    (ANSWERS, 0, "k must be at least 1"),
    (ANSWERS[:0], 1, "at least one answer"),
    (np.tile(ANSWERS, (1, 9)), 1, "at most 38 words together, got 42"),
  ],
)
def test_bad_lists_are_named(answers, k, message, variables, tokens):
  with pytest.raises(ValueError, match=message):
    prismer.rank(
      *(MODEL, variables, tokens, QUESTIONS, QUESTION_MASK, answers, answers > 1), **{"k": k}
    )
