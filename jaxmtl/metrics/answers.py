"""Answers against those of ten people: VQA's accuracy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np

_DIGITS = dict(
  zip(
    ("none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    (0, 0, *range(1, 11)),
    strict=True,
  )
)
_ARTICLES = frozenset(("a", "an", "the"))
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_NOT = (
  *("ain", "aren", "can", "couldn", "didn", "doesn", "don", "hadn", "hasn", "haven", "isn"),
  *("mightn", "mustn", "needn", "oughtn", "shan", "shouldn", "wasn", "weren", "won", "wouldn"),
)
_HAVE = ("could", "might", "must", "should", "would", "not", "i", "they", "we", "what", "where")
_WHO = ("somebody", "someone", "something", "that", "there", "they", "who", "you")
# Left out are words that mean something without the apostrophe, such as "well", "wed" or "its".
_CONTRACTED = (
  *(f"{word}'t" for word in _NOT),
  *(f"{word}'t've" for word in ("couldn", "hadn", "mightn", "shouldn", "wouldn")),
  *(f"{word}'ve" for word in (*_HAVE, "who", "you")),
  *(f"{word}'{end}" for word in _WHO for end in ("d", "ll", "d've")),
  *(f"{word}'s" for word in ("he", "how", "she", "somebody", "someone", "something", "that")),
  *(f"{word}'s" for word in ("there", "what", "when", "where", "who", "why")),
  *(f"{word}'re" for word in ("there", "they", "what", "why", "you")),
  *(f"{word}'d" for word in ("he", "how", "it", "where")),
  *(f"{word}'ll" for word in ("how", "it", "what", "why")),
  *(f"{word}'d've" for word in ("he", "i", "it", "she", "we")),
  *("i'm", "ma'am", "o'clock", "'twas", "y'all", "y'all'll", "y'all'd've", "'ow's'at"),
)


def _without(word: str) -> Iterator[str]:
  """A contraction with some of its apostrophes, not all."""
  parts = word.split("'")
  for signs in itertools.product(("'", ""), repeat=len(parts) - 1):
    if "" in signs:
      yield "".join(itertools.chain(*itertools.zip_longest(parts, signs, fillvalue="")))


_APOSTROPHES = {short: word for word in _CONTRACTED for short in _without(word)}


def normalize_answer(text: str) -> str:
  """An answer as VQA compares it: "Two dogs." and "2 dogs" are the same.

  In small letters; without articles, punctuation (but for apostrophes, colons and decimal points)
  and spaces around; with digits for the numbers up to ten, 0 for "none", and apostrophes in
  contractions that lack them. Signs become spaces; where one stands beside a space, or the answer
  has a number such as 3,000, all its like are dropped instead.

  Args:
    text: an answer.

  Returns:
    Its normal form.

  Example:
    >>> from jaxmtl.metrics import normalize_answer
    >>> [normalize_answer(text) for text in ("The two dogs.", "dont know", "black/white", "3,000")]
    ['2 dogs', "don't know", 'black white', '3000']

  Reference: Antol et al., "VQA: Visual Question Answering", 2015, and the evaluation of its site.
  """
  before = text.replace("\n", " ").replace("\t", " ").strip()
  number = _IN_NUMBER.search(before)
  after = before
  for sign in _PUNCTUATION:
    dropped = number or f"{sign} " in before or f" {sign}" in before
    after = after.replace(sign, "" if dropped else " ")
  words = [str(_DIGITS.get(w, w)) for w in _FULL_STOP.sub("", after).lower().split()]
  return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answers: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
  r"""How right each answer is; the accuracy of a set is the mean.

  .. math:: \frac{1}{m} \sum_{j=1}^{m} \min(n_j / 3, 1)

  with n_j the number of people, the j-th left out, who gave the same answer once both are in their
  normal form. (The site's program compares answers as they are where all ten people agree.)

  Args:
    answers: one for each question.
    references: ten for each question; at least four, without which none is wholly right.

  Returns:
    Float64 `[N]` in [0, 1].

  Raises:
    ValueError: if there is no answer, numbers of answers and questions differ, or a question has
      fewer than four references.

  Example:
    >>> from jaxmtl.metrics import vqa_accuracy
    >>> vqa_accuracy(["Two.", "red"], [["2"] * 9 + ["3"], ["red"] * 2 + ["blue"] * 8]).tolist()
    [1.0, 0.6]

  Reference: Antol et al., "VQA: Visual Question Answering", 2015, section 3.
  """
  if not answers or len(answers) != len(references):
    raise ValueError(
      "there must be an answer for each question, and at least one, got "
      f"{len(answers)} answers and references of {len(references)} questions."
    )
  found = np.zeros(len(answers))
  for i, (answer, people) in enumerate(zip(answers, references, strict=True)):
    if len(people) < 4 or isinstance(people, str):
      raise ValueError(
        f"references must be four answers or more a question, got {people!r} at {i}."
      )
    own, m = normalize_answer(answer), len(people)
    same = sum(normalize_answer(person) == own for person in people)
    # Without one of those who agree, and without one of the others.
    found[i] = (same * min((same - 1) / 3, 1) + (m - same) * min(same / 3, 1)) / m
  return found
