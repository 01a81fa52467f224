"""Captions against those that people wrote: BLEU and CIDEr-D."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxmtl.metrics.caption_words import caption_words

_N = 4
# Keeps BLEU finite where no n-gram is right, or there is none; the evaluation server's.
_SMALL, _TINY = 1e-9, 1e-15
_SIGMA = 6.0

Grams = collections.Counter[tuple[str, ...]]


def bleu(
  captions: Sequence[str],
  references: Sequence[Sequence[str]],
  *,
  words_of: Callable[[str], list[str]] = caption_words,
) -> np.ndarray:
  r"""BLEU-1 to BLEU-4 of a set of captions.

  .. math:: e^{\min(0, 1 - r / c)} \left(\prod_{k=1}^{n} p_k\right)^{1/n}

  with p_k the share of n-grams of length k, over the set, that are in a reference of their image,
  each counted no more often than there; c the captions' words together, r those of the references
  that are next to them in length.

  Args:
    captions: one for each image.
    references: one or more for each image.
    words_of: splits a caption; `str.split` for captions that are split already.

  Returns:
    Float64 `[4]` in [0, 1]; papers give per cent.

  Raises:
    ValueError: if there is no caption, numbers of captions and images differ, or an image has no
      reference.

  Example:
    >>> from jaxmtl.metrics import bleu
    >>> bleu(["A dog runs fast."], [["A dog runs.", "The dog is running fast"]]).round(4).tolist()
    [1.0, 0.8165, 0.6934, 0.0001]

  Reference: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine
  Translation", 2002.
  """
  split = _split(captions, references, words_of)
  right, made = np.zeros(_N), np.zeros(_N)
  length = wanted = 0
  for caption, truths in split:
    most: Grams = collections.Counter()
    for truth in truths:
      most |= _grams(truth)
    for gram, count in _grams(caption).items():
      right[len(gram) - 1] += min(count, most[gram])
    made += [max(0, len(caption) - k) for k in range(_N)]
    length += len(caption)
    wanted += min((abs(len(truth) - len(caption)), len(truth)) for truth in truths)[1]
  shares = np.cumprod((right + _TINY) / (made + _SMALL)) ** (1 / np.arange(1, _N + 1))
  ratio = (length + _TINY) / (wanted + _SMALL)
  return shares * math.exp(min(0.0, 1 - 1 / ratio))


def cider_d(
  captions: Sequence[str],
  references: Sequence[Sequence[str]],
  *,
  words_of: Callable[[str], list[str]] = caption_words,
) -> np.ndarray:
  r"""CIDEr-D of each caption; that of a set is the mean.

  .. math:: \frac{10}{4 m} \sum_{n=1}^{4} \sum_{j=1}^{m} e^{-(l(c) - l(s_j))^2 / 2 \sigma^2}
            \frac{\min(g^n(c), g^n(s_j)) \cdot g^n(s_j)}{\|g^n(c)\| \|g^n(s_j)\|}

  with s_j the m references, l lengths, sigma = 6, and g^n(x) the counts of n-grams, each times the
  logarithm of how rare it is: of how many images there are for one in whose references it stands.
  So a caption's value depends on the whole set, and values of different sets cannot be compared.

  Args:
    captions: one for each image.
    references: one or more for each image.
    words_of: as of `bleu`.

  Returns:
    Float64 `[N]` from 0 to 10; papers give 100 times the mean.

  Raises:
    ValueError: as `bleu`, or if there is one image only, of which nothing is rare.

  Example:
    >>> from jaxmtl.metrics import cider_d
    >>> truths = [["A dog runs"], ["A cat is asleep"]]
    >>> cider_d(["A dog runs.", "A cat sat"], truths).round(3).tolist()
    [7.5, 2.013]

  Reference: Vedantam, Zitnick and Parikh, "CIDEr: Consensus-based Image Description Evaluation",
  2015, section 7.
  """
  split = _split(captions, references, words_of)
  if len(split) < 2:
    raise ValueError("cider_d needs two images or more: it rates words by how rare they are.")
  truths = [[_grams(truth) for truth in found] for _, found in split]
  images: Grams = collections.Counter()
  for found in truths:
    images.update(set().union(*found))
  most = math.log(len(split))
  rarity = {gram: most - math.log(n) for gram, n in images.items()}
  scores = np.zeros(len(split))
  for i, (caption, _) in enumerate(split):
    own = _Weighted(_grams(caption), rarity, most)
    scores[i] = np.mean([own.likeness(_Weighted(truth, rarity, most)) for truth in truths[i]])
  return 10 * scores


class _Weighted:
  """N-grams of a caption, each with its count times its rarity."""

  def __init__(self, grams: Grams, rarity: Mapping[tuple[str, ...], float], most: float):
    self.values = {gram: count * rarity.get(gram, most) for gram, count in grams.items()}
    squares = np.zeros(_N)
    for gram, value in self.values.items():
      squares[len(gram) - 1] += value**2
    self.norms = np.sqrt(squares)
    # One less than its words, as the evaluation server counts; only differences matter.
    self.length = sum(count for gram, count in grams.items() if len(gram) == 2)

  def likeness(self, truth: _Weighted) -> float:
    """The mean over n of cosines to a reference, less where lengths differ."""
    products = np.zeros(_N)
    for gram, value in self.values.items():
      other = truth.values.get(gram, 0.0)
      products[len(gram) - 1] += min(value, other) * other
    norms = self.norms * truth.norms
    cosines = np.divide(products, norms, out=np.zeros(_N), where=norms > 0)
    apart = self.length - truth.length
    return float(cosines.mean() * math.exp(-(apart**2) / (2 * _SIGMA**2)))


def _grams(words: Sequence[str]) -> Grams:
  """How often each sequence of one to four words stands in a caption."""
  return collections.Counter(
    tuple(words[i : i + n]) for n in range(1, _N + 1) for i in range(len(words) - n + 1)
  )


def check_captions(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
  """Raises a ValueError if there are no captions, or no references for one."""
  if not captions or len(captions) != len(references):
    raise ValueError(
      "there must be a caption for each image, and at least one, got "
      f"{len(captions)} captions and references of {len(references)} images."
    )
  for i, found in enumerate(references):
    if not found or isinstance(found, str):
      raise ValueError(f"references must be one text or more for each image, got {found!r} at {i}.")


def _split(
  captions: Sequence[str],
  references: Sequence[Sequence[str]],
  words_of: Callable[[str], list[str]],
) -> list[tuple[list[str], list[list[str]]]]:
  check_captions(captions, references)
  return [
    (words_of(caption), [words_of(truth) for truth in found])
    for caption, found in zip(captions, references, strict=True)
  ]
