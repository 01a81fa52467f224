"""Captions and questions as the released program writes them."""

from __future__ import annotations

import re

MAX_WORDS = 30
_SIGNS = re.compile(r"[.!\"()*#:;~]")
_SPACES = re.compile(r"\s{2,}")


def clean_caption(text: str, max_words: int | None = MAX_WORDS) -> str:
  r"""A caption with a capital, without most signs, of at most 30 words.

  The first letter is upper case, all others lower; `. ! " ( ) * # : ; ~` become spaces, several
  spaces one. A cleaned caption stays as it is.

  Args:
    text: the caption, with its prefix where it has one.
    max_words: how many words are kept; None for all.

  Returns:
    The cleaned text, which may be empty.

  Example:
    >>> from jaxmtl.data.language import clean_caption
    >>> clean_caption('A picture of  A man in a "Nike" shirt .')
    'A picture of a man in a nike shirt'

  Reference: the release of Prismer, which cleans captions and questions in these two ways.
  """
  text = _SPACES.sub(" ", _SIGNS.sub(" ", text.capitalize()))
  return first_words(text.rstrip("\n").strip(" "), max_words)


def clean_question(text: str, max_words: int | None = MAX_WORDS) -> str:
  """A question with a capital, without most signs, of at most 30 words, that ends in "?".

  As in `clean_caption`, but several spaces stay, and count as words.

  Args:
    text: the question.
    max_words: how many words are kept; None for all.

  Returns:
    The cleaned text, empty if nothing but "?" was left.

  Example:
    >>> from jaxmtl.data.language import clean_question
    >>> clean_question("what is the man's name.")
    "What is the man's name?"
  """
  text = first_words(_SIGNS.sub(" ", text.capitalize()).strip(), max_words)
  if not text.strip("? "):
    return ""
  return text if text.endswith("?") else f"{text}?"


def first_words(text: str, count: int | None) -> str:
  """What stands before the space number `count`; all, if that is None."""
  return " ".join(text.split(" ")[:count])
