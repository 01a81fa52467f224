"""Questions, and answers behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxmtl.data.language.cleaning import clean_question
from jaxmtl.data.language.prompts import (
  IGNORED,
  Prompts,
  Targets,
  check_filled,
  padded,
  tell_cut,
  texts_behind,
)
from jaxmtl.data.language.tokenizer import END, START, Tokenizer

_MAX_TOKENS = 35


def questions(
  tokenizer: Tokenizer,
  texts: Sequence[str],
  *,
  max_tokens: int = _MAX_TOKENS,
  length: int | None = None,
) -> Prompts:
  """Questions to answer: <s> question, without an end. They are cleaned here.

  Answers depend on how much a question is padded, so that `length` should be what it was in
  training, or questions of one length should be asked together: `same_lengths`.

  Args:
    tokenizer: of the model.
    texts: questions.
    max_tokens: most pieces of a question, with <s>; longer ones are cut, and a warning says how
      many were.
    length: to which all are padded; the longest one's where None.

  Returns:
    The `Prompts`.

  Raises:
    ValueError: if a question is empty once it is clean, or `max_tokens` or `length` does not fit.

  Example:
    >>> from jaxmtl.data import language
    >>> tokenizer = language.Tokenizer.train(["What is it?"] * 2, 300)
    >>> asked = language.questions(tokenizer, ["what is it"])
    >>> tokenizer.decode(asked.ids[0]), asked.mask.all().item()
    ('What is it?', True)
  """
  rows: list[list[int]] = []
  cut: list[str] = []
  for i, text in enumerate(texts):
    whole, clean = clean_question(text, None), clean_question(text)
    if not whole:
      raise ValueError(f"question {i} is empty once it is clean: {text!r}; leave it out.")
    row = [START, *tokenizer.encode(clean)]
    if len(row) > max_tokens or whole != clean:
      cut.append(text)
    rows.append(row[:max_tokens])
  tell_cut("questions", cut, len(texts), max_tokens)
  return padded(rows, length)


def questions_and_answers(
  tokenizer: Tokenizer,
  asked: Sequence[str],
  answered: Sequence[str],
  *,
  max_tokens: int = _MAX_TOKENS,
  length: int | None = None,
  answer_length: int | None = None,
) -> Targets:
  """Questions with answers to learn from: those of `questions`, then those of `answers`.

  Each of the two is padded, so that padding stands between them.

  Args:
    tokenizer: of the model.
    asked: questions.
    answered: one answer each.
    max_tokens: most pieces of a question, with <s>.
    length: to which questions are padded; the longest one's where None.
    answer_length: to which answers are padded; the longest one's where None.

  Returns:
    The `Targets`, of which only answers and their ends are predicted.

  Raises:
    ValueError: as `questions` and `answers`, or if numbers of questions and answers differ.

  Example:
    >>> from jaxmtl.data import language
    >>> tokenizer = language.Tokenizer.train(["What is it? A dog"] * 2, 300)
    >>> batch = language.questions_and_answers(tokenizer, ["what is it"], ["dog"], length=9)
    >>> tokenizer.decode(batch.ids[0])
    'What is it? Dog'
    >>> (batch.labels[0, :9] == -100).all().item(), int(batch.labels[0, -1])
    (True, 2)
  """
  if len(asked) != len(answered):
    raise ValueError(
      f"there must be one answer for each question, got {len(answered)} for {len(asked)}."
    )
  question = questions(tokenizer, asked, max_tokens=max_tokens, length=length)
  answer = answers(tokenizer, answered, length=answer_length)
  labels = np.where(answer.mask > 0, answer.ids, IGNORED)
  return Targets(
    np.concatenate([question.ids, answer.ids], axis=1),
    np.concatenate([question.mask, answer.mask], axis=1),
    np.concatenate([np.full_like(question.ids, IGNORED), labels], axis=1),
  )


def answers(tokenizer: Tokenizer, texts: Sequence[str], *, length: int | None = None) -> Prompts:
  """Answers to questions, for `prismer.rank`: " Answer" with a capital, then </s>.

  Args:
    tokenizer: of the model.
    texts: answers; they are not cleaned.
    length: to which all are padded; the longest one's where None.

  Returns:
    The `Prompts`.

  Raises:
    ValueError: if an answer is empty, or longer than `length`.
  """
  check_filled("answer", texts)
  return padded([[*tokenizer.encode(f" {t.capitalize()}"), END] for t in texts], length)


def answer_texts(tokenizer: Tokenizer, ids: np.ndarray, start: int) -> list[str]:
  """Answers that were generated, in small letters.

  Args:
    tokenizer: of the model.
    ids: what `prismer.generate` returned, `[B, L]`.
    start: P, the prompt's length with its padding, which is cut.

  Returns:
    The answers.
  """
  return [text.lower() for text in texts_behind(tokenizer, ids, start)]
