"""Texts to numbers and back: RoBERTa's byte-level BPE."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jaxmtl._extras import Optional
from jaxmtl._files import replacing

if TYPE_CHECKING:
  import tokenizers
  from tokenizers import decoders, models, pre_tokenizers, trainers
else:
  tokenizers = Optional("tokenizers", "language", __name__)
  decoders = Optional("tokenizers.decoders", "language", __name__)
  models = Optional("tokenizers.models", "language", __name__)
  pre_tokenizers = Optional("tokenizers.pre_tokenizers", "language", __name__)
  trainers = Optional("tokenizers.trainers", "language", __name__)

START, PAD, END, UNKNOWN = 0, 1, 2, 3
"""Numbers of <s>, <pad>, </s> and <unk>, RoBERTa's."""
_FIRST, _LAST = ("<s>", "<pad>", "</s>", "<unk>"), "<mask>"
_VOCABULARY, _MERGES = "vocab.json", "merges.txt"
_VERSION = "#version: 0.2"
# Any byte stands for itself, beside the special words.
_LEAST = 256 + len(_FIRST) + 1


@dataclasses.dataclass(frozen=True, repr=False)
class Tokenizer:
  """Splits texts into pieces of words and numbers these.

  Every text can be encoded, and comes back to the byte. Special words, <s> 0, <pad> 1, </s> 2,
  <unk> 3 and <mask>, the last, are never found in a text: "<s>" is three signs there.

  Attributes:
    vocabulary: the number of each piece.
    merges: pairs of pieces that are joined, the first ones first.

  Raises:
    ValueError: naming the piece, if specials have other numbers, numbers are no 0, 1, 2, ..., a
      byte is missing, or a merge needs or makes what cannot be.

  Example:
    >>> from jaxmtl.data.language import Tokenizer
    >>> tokenizer = Tokenizer.train(["A dog runs", "A dog sleeps"] * 2, 270)
    >>> ids = tokenizer.encode("A dog")
    >>> tokenizer.decode(ids), len(ids), tokenizer.size
    ('A dog', 2, 270)

  Reference: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016;
  Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach", 2019, section 4.4.
  """

  vocabulary: Mapping[str, int]
  merges: tuple[tuple[str, str], ...]

  def __post_init__(self):
    _check(self.vocabulary, self.merges)

  @classmethod
  def train(cls, texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer made for given texts; the same ones always give the same.

    Args:
      texts: as they will be encoded, so cleaned.
      size: of the vocabulary, at least 261. Where pairs that occur twice run out, there are fewer.

    Returns:
      The tokenizer.

    Raises:
      ValueError: if `size` is too small.
    """
    if size < _LEAST:
      raise ValueError(f"size must be at least {_LEAST}, the bytes and special words, got {size}.")
    made = _engine(models.BPE())
    made.train_from_iterator(
      texts,
      trainers.BpeTrainer(
        vocab_size=size - 1,
        min_frequency=2,
        special_tokens=list(_FIRST),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
      ),
    )
    found = json.loads(made.to_str())["model"]
    vocabulary = {**found["vocab"], _LAST: len(found["vocab"])}
    return cls(vocabulary, tuple((first, second) for first, second in found["merges"]))

  @classmethod
  def read(cls, folder: str | os.PathLike) -> Tokenizer:
    """The tokenizer of a folder with `vocab.json` and `merges.txt`, such as RoBERTa's.

    Args:
      folder: where the two files are.

    Returns:
      The tokenizer.

    Raises:
      FileNotFoundError: naming the file that is missing.
      ValueError: naming the file and what is wrong with it.
    """
    root = pathlib.Path(folder).expanduser()
    vocabulary, merges = root / _VOCABULARY, root / _MERGES
    for file in (vocabulary, merges):
      if not file.is_file():
        raise FileNotFoundError(
          f"there is no {str(file)!r}; a tokenizer is a folder with {_VOCABULARY} and {_MERGES}."
        )
    numbers, pairs = _read_vocabulary(vocabulary), _read_merges(merges)
    try:
      return cls(numbers, pairs)
    except ValueError as error:
      raise ValueError(f"{str(root)!r}: {error}") from None

  def save(self, folder: str | os.PathLike) -> None:
    """Write `vocab.json` and `merges.txt`, which `read` and RoBERTa's programs take."""
    root = pathlib.Path(folder).expanduser()
    with replacing(root / _MERGES) as draft:
      lines = [_VERSION, *(" ".join(pair) for pair in self.merges)]
      draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with replacing(root / _VOCABULARY) as draft:
      ordered = dict(sorted(self.vocabulary.items(), key=lambda item: item[1]))
      draft.write_text(json.dumps(ordered, ensure_ascii=False), encoding="utf-8")

  @property
  def size(self) -> int:
    """Number of pieces, the special words among them: `vocab_size` of `prismer.Config`."""
    return len(self.vocabulary)

  @property
  def mask(self) -> int:
    """The number of <mask>."""
    return self.size - 1

  def encode(self, text: str) -> list[int]:
    """The numbers of a text's pieces, without special words around them."""
    return self._engine.encode(text, add_special_tokens=False).ids

  def decode(self, ids: Iterable[int]) -> str:
    """The text up to the first </s>, without special words.

    Args:
      ids: integers, such as a row of what `prismer.generate` returns.

    Raises:
      ValueError: if a number is not in the vocabulary.
    """
    kept: list[int] = []
    for i in map(int, ids):
      if not 0 <= i < self.size:
        raise ValueError(f"ids must be from 0 to {self.size - 1}, got {i}.")
      if i == END:
        break
      if i not in (START, PAD, UNKNOWN, self.mask):
        kept.append(i)
    return self._engine.decode(kept, skip_special_tokens=False)

  def fingerprint(self) -> str:
    """What tells it from others."""
    content = json.dumps([sorted(self.vocabulary.items(), key=lambda x: x[1]), self.merges])
    return hashlib.sha256(content.encode()).hexdigest()[:16]

  def __repr__(self) -> str:
    return f"Tokenizer(size={self.size})"

  @functools.cached_property
  def _engine(self) -> Any:
    return _engine(models.BPE(dict(self.vocabulary), list(self.merges), unk_token=_FIRST[UNKNOWN]))


def _engine(model: Any) -> Any:
  made = tokenizers.Tokenizer(model)
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.decoder = decoders.ByteLevel()
  return made


def _check(vocabulary: Mapping[str, int], merges: Iterable[tuple[str, str]]) -> None:
  size = len(vocabulary)
  for word, number in (*((w, i) for i, w in enumerate(_FIRST)), (_LAST, size - 1)):
    if vocabulary.get(word) != number:
      raise ValueError(
        f"the vocabulary must have {word} as number {number}, as RoBERTa's has, got "
        f"{vocabulary.get(word)}."
      )
  if left := sorted(set(range(size)) - set(vocabulary.values())):
    raise ValueError(f"the vocabulary's numbers must be 0 to {size - 1}, {left[0]} is missing.")
  if missing := sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(vocabulary)):
    raise ValueError(f"the vocabulary lacks {len(missing)} of the 256 bytes, first {missing[0]!r}.")
  for i, (first, second) in enumerate(merges):
    for piece in (first, second, first + second):
      if piece not in vocabulary:
        raise ValueError(f"merge {i} is {first!r} {second!r}, but {piece!r} is not in vocab.json.")
    if first + second in (*_FIRST, _LAST):
      raise ValueError(
        f"merge {i} makes the special word {first + second}, which no text may hold."
      )


def _read_vocabulary(file: pathlib.Path) -> dict[str, int]:
  try:
    found = json.loads(file.read_text(encoding="utf-8"))
  except ValueError as error:  # a UnicodeDecodeError is one, too
    raise ValueError(f"{str(file)!r} is no JSON file in UTF-8: {error}.") from None
  if not isinstance(found, dict) or not all(type(i) is int for i in found.values()):
    raise ValueError(f"{str(file)!r} must hold one number for each piece, as RoBERTa's does.")
  return found


def _read_merges(file: pathlib.Path) -> tuple[tuple[str, str], ...]:
  try:
    lines = file.read_text(encoding="utf-8").split("\n")
  except UnicodeDecodeError as error:
    raise ValueError(f"{str(file)!r} is no text in UTF-8: {error}.") from None
  pairs: list[tuple[str, str]] = []
  for number, line in enumerate(lines, start=1):
    if not line or (number == 1 and line.startswith("#version")):
      continue
    first, _, second = line.removesuffix("\r").partition(" ")
    if not first or not second or " " in second:
      raise ValueError(f"{str(file)!r}, line {number}: two pieces must stand there, got {line!r}.")
    pairs.append((first, second))
  return tuple(pairs)
