"""Texts as batches of one length: what Prismer goes on with, chooses from and learns from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxmtl.data.language.cleaning import MAX_WORDS
from jaxmtl.data.language.tokenizer import PAD, START, Tokenizer

IGNORED = -100


class Prompts(NamedTuple):
  """Texts to go on with or to choose from, as `prismer.generate` and `prismer.rank` take them.

  Attributes:
    ids: int32 `[B, L]`, padded on the right with 1.
    mask: int32 `[B, L]`, 1 where there is a piece of the text, 0 where padding.
  """

  ids: np.ndarray
  mask: np.ndarray


class Targets(NamedTuple):
  """Texts to learn from.

  Attributes:
    ids: int32 `[B, L]`.
    mask: int32 `[B, L]`, 0 where padding.
    labels: int32 `[B, L]`, the ids, and -100 where none is to be predicted.
  """

  ids: np.ndarray
  mask: np.ndarray
  labels: np.ndarray


def prompt(tokenizer: Tokenizer, prefix: str, count: int) -> Prompts:
  """The same beginning for each image, <s> prefix, for `prismer.generate` or `prismer.rank`.

  Args:
    tokenizer: of the model.
    prefix: "A picture of" for captions, "A photo of a" for classes, "" for <s> alone.
    count: B, the number of images.

  Returns:
    The `Prompts`, without padding.

  Example:
    >>> from jaxmtl.data import language
    >>> tokenizer = language.Tokenizer.train(["A picture of a dog"] * 2, 300)
    >>> language.prompt(tokenizer, "", 3).ids.tolist()
    [[0], [0], [0]]
  """
  return padded([[START, *tokenizer.encode(prefix)]] * count, None)


def same_lengths(mask: np.ndarray, batch_size: int) -> list[np.ndarray]:
  """Rows in batches of prompts of one length, so that nothing need be padded.

  Args:
    mask: of `questions`, `[N, L]`.
    batch_size: most rows of a batch.

  Returns:
    Indices int64 of each batch, shortest prompts first; rows of a batch are in their order.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data.language import same_lengths
    >>> mask = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 0], [1, 1, 0]])
    >>> [rows.tolist() for rows in same_lengths(mask, 2)]
    [[0, 2], [3], [1]]
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
  lengths = np.asarray(mask).sum(axis=1)
  found = (np.flatnonzero(lengths == n) for n in np.unique(lengths))
  return [rows[i : i + batch_size] for rows in found for i in range(0, len(rows), batch_size)]


def padded(rows: Sequence[Sequence[int]], length: int | None) -> Prompts:
  """Rows of numbers in one array, and where they are."""
  if not rows:
    raise ValueError("there must be at least one text, got none.")
  longest = max(map(len, rows))
  length = longest if length is None else length
  if length < longest:
    raise ValueError(
      f"length must be at least {longest}, the longest text's number of pieces, got {length}."
    )
  mask = np.arange(length) < np.array([len(row) for row in rows])[:, None]
  ids = np.full(mask.shape, PAD, np.int32)
  ids[mask] = np.concatenate([np.asarray(row, np.int32) for row in rows])
  return Prompts(ids, mask.astype(np.int32))


def texts_behind(tokenizer: Tokenizer, ids: np.ndarray, start: int) -> list[str]:
  """What stands behind the first `start` numbers of each row."""
  return [tokenizer.decode(row[start:]).strip() for row in np.asarray(ids)]


def check_filled(name: str, texts: Sequence[str]) -> None:
  """Raises a ValueError if a text is empty."""
  for i, text in enumerate(texts):
    if not text.strip():
      raise ValueError(f"{name} {i} is empty; leave it out.")


def tell_cut(name: str, cut: Sequence[str], count: int, max_tokens: int) -> None:
  """Warns how many texts were cut."""
  if cut:
    warnings.warn(
      f"{len(cut)} of {count} {name} are longer than {MAX_WORDS} words or {max_tokens} pieces, and "
      f"were cut, the first is {cut[0]!r}.",
      stacklevel=4,  # who called captions or questions_and_answers
    )
