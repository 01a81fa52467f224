"""Captions and names of classes behind a prefix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxmtl.data.language.cleaning import MAX_WORDS, clean_caption, first_words
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

CAPTION_PREFIX = "A picture of"
"""What stands before captions when they are fine-tuned; there is none in pre-training."""
CLASS_PREFIX = "A photo of a"
"""What stands before names of classes."""
_MAX_TOKENS = 30


def captions(
  tokenizer: Tokenizer,
  texts: Sequence[str],
  *,
  prefix: str = CAPTION_PREFIX,
  max_tokens: int = _MAX_TOKENS,
  length: int | None = None,
) -> Targets:
  """Captions to learn from: <s> prefix caption </s>, of which the prefix is not predicted.

  They are cleaned here. Longer ones are cut, at 30 words and at `max_tokens`, and a warning says
  how many were.

  Args:
    tokenizer: of the model.
    texts: captions.
    prefix: what stands before each; "" for none, as in pre-training.
    max_tokens: most pieces of a text, with <s> and </s>.
    length: to which all are padded; the longest one's where None. A program is compiled for each
      length.

  Returns:
    The `Targets`.

  Raises:
    ValueError: if a caption is empty once it is clean, or the prefix, `max_tokens` or `length` does
      not fit.

  Example:
    >>> from jaxmtl.data import language
    >>> tokenizer = language.Tokenizer.train(["A picture of a dog"] * 2, 300)
    >>> batch = language.captions(tokenizer, ["A dog .", "A dog and a dog"], length=20)
    >>> batch.ids.shape, tokenizer.decode(batch.ids[0])
    ((2, 20), 'A picture of a dog')
    >>> tokenizer.decode(batch.labels[0][batch.labels[0] >= 0])
    ' a dog'
  """
  if prefix != clean_caption(prefix):
    raise ValueError(
      f"prefix must be as it is when clean, {clean_caption(prefix)!r}, got {prefix!r}."
    )
  whole = [clean_caption(f"{prefix} {text}" if prefix else text, None) for text in texts]
  for i, text in enumerate(texts):
    if whole[i].strip() == prefix:
      raise ValueError(f"caption {i} is empty once it is clean: {text!r}; leave it out.")
  return _with_prefix(tokenizer, whole, prefix, MAX_WORDS, max_tokens, length)


def class_captions(
  tokenizer: Tokenizer,
  names: Sequence[str],
  *,
  prefix: str = CLASS_PREFIX,
  max_tokens: int = _MAX_TOKENS,
  length: int | None = None,
) -> Targets:
  """Classes to learn from: <s> prefix name </s>, names in small letters and not cleaned.

  Args:
    tokenizer: of the model.
    names: of the classes of the images.
    prefix: what stands before each; see `captions` for the rest.
    max_tokens: as there.
    length: as there.

  Returns:
    The `Targets`, of which the prefix is not predicted.

  Raises:
    ValueError: if a name is empty, or `max_tokens` or `length` does not fit.
  """
  check_filled("name", names)
  whole = [f"{prefix} {name.lower()}".strip() for name in names]
  return _with_prefix(tokenizer, whole, prefix, None, max_tokens, length)


def class_answers(
  tokenizer: Tokenizer, names: Sequence[str], *, length: int | None = None
) -> Prompts:
  """Names of classes, for `prismer.rank` behind `prompt`: " name" in small letters, then </s>.

  Args:
    tokenizer: of the model.
    names: of all classes.
    length: to which all are padded; the longest one's where None.

  Returns:
    The `Prompts`.

  Raises:
    ValueError: if a name is empty, or longer than `length`.
  """
  check_filled("name", names)
  return padded([[*tokenizer.encode(f" {n.lower()}"), END] for n in names], length)


def caption_texts(tokenizer: Tokenizer, ids: np.ndarray, start: int) -> list[str]:
  """Captions that were generated, with a capital and a full stop.

  Args:
    tokenizer: of the model.
    ids: what `prismer.generate` returned, `[B, L]`.
    start: P, the prompt's length, which is cut.

  Returns:
    The captions.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data import language
    >>> tokenizer = language.Tokenizer.train(["A picture of a dog"] * 2, 300)
    >>> batch = language.captions(tokenizer, ["a dog"])
    >>> start = language.prompt(tokenizer, "A picture of", 1).ids.shape[1]
    >>> language.caption_texts(tokenizer, batch.ids, start)
    ['A dog.']
  """
  return [f"{text.capitalize()}." for text in texts_behind(tokenizer, ids, start)]


def _with_prefix(
  tokenizer: Tokenizer,
  texts: Sequence[str],
  prefix: str,
  max_words: int | None,
  max_tokens: int,
  length: int | None,
) -> Targets:
  """<s> text </s>, labels behind the prefix, with which texts begin."""
  start = 1 + len(tokenizer.encode(prefix))
  if max_tokens < start + 2:
    raise ValueError(
      f"max_tokens must be at least {start + 2}, the prefix, a piece and two ends, got"
      f" {max_tokens}."
    )
  rows: list[list[int]] = []
  cut: list[str] = []
  for text in texts:
    kept = first_words(text, max_words)
    pieces = tokenizer.encode(kept)
    if kept != text or len(pieces) > max_tokens - 2:
      cut.append(text)
    rows.append([START, *pieces[: max_tokens - 2], END])
  tell_cut("captions", cut, len(texts), max_tokens)
  ids, mask = padded(rows, length)
  labels = np.where(mask > 0, ids, IGNORED)
  labels[:, :start] = IGNORED
  return Targets(ids, mask, labels)
