"""What a network says: captions, answers and classes of images, batch by batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.prismer.config import TextOptions
from experiments.prismer.problem import inputs
from jaxmtl.data import language
from jaxmtl.models import prismer

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Speaker:
  """A network with what its texts need."""

  model: prismer.Prismer
  tokenizer: language.Tokenizer
  tables: Mapping[str, np.ndarray]
  """Features of classes by expert."""
  options: TextOptions
  """How texts are made."""
  question_length: int
  """To which questions are padded, as in training."""

  def captions(self, variables: PyTree, images: Mapping[str, Any]) -> list[str]:
    """Captions of images as `ExpertFiles` gives them, with a capital and a full stop."""
    options = self.options
    count = len(images["rgb"])
    start: Any = language.prompt(self.tokenizer, options.prefix, count)
    ids = prismer.generate(
      self.model,
      variables,
      self._tokens(variables, images),
      *start,
      num_beams=options.beams,
      max_length=options.max_length,
      min_length=options.min_length,
      length_penalty=options.length_penalty,
    )
    return language.caption_texts(self.tokenizer, np.asarray(ids), start.ids.shape[1])

  def answers(
    self,
    variables: PyTree,
    images: Mapping[str, Any],
    asked: Sequence[str],
    candidates: Sequence[str],
  ) -> list[str]:
    """An answer to each question about its image: of the list, or where that is empty, any."""
    prompts: Any = language.questions(self.tokenizer, asked, length=self.question_length or None)
    tokens = self._tokens(variables, images)
    if candidates:
      listed: Any = language.answers(self.tokenizer, candidates)
      best, _ = prismer.rank(self.model, variables, tokens, *prompts, *listed, k=self.options.rank)
      return [candidates[int(i)].lower() for i in best]
    length = prompts.ids.shape[1]
    ids = prismer.generate(
      self.model,
      variables,
      tokens,
      *prompts,
      num_beams=self.options.beams,
      max_length=length + 10,
      min_length=length + 2,
      length_penalty=-1,
    )
    return language.answer_texts(self.tokenizer, np.asarray(ids), length)

  def classes(
    self, variables: PyTree, images: Mapping[str, Any], names: Sequence[str]
  ) -> list[str]:
    """The likeliest class of each image."""
    prompts: Any = language.prompt(self.tokenizer, language.CLASS_PREFIX, len(images["rgb"]))
    listed: Any = language.class_answers(self.tokenizer, names)
    tokens = self._tokens(variables, images)
    best, _ = prismer.rank(self.model, variables, tokens, *prompts, *listed, k=self.options.rank)
    return [names[int(i)] for i in best]

  def _tokens(self, variables: PyTree, images: Mapping[str, Any]) -> jax.Array:
    return self._encode(variables, dict(images))

  @functools.cached_property
  def _encode(self) -> Callable[[PyTree, Any], jax.Array]:
    side = self.model.config.image_size

    @jax.jit
    def encode(variables: PyTree, images: Any) -> Any:
      return self.model.apply(variables, inputs(images, self.tables, side), method="encode")

    return encode


def batches(rows: Sequence[int] | np.ndarray, size: int) -> list[tuple[np.ndarray, int]]:
  """Rows in batches of one size, the last filled up with its first, and how many count.

  Example:
    >>> from experiments.prismer.speaking import batches
    >>> [(chosen.tolist(), count) for chosen, count in batches([5, 6, 7], 2)]
    [([5, 6], 2), ([7, 7], 1)]
  """
  whole = np.asarray(rows)
  size = min(size, len(whole))
  found = []
  for first in range(0, len(whole), size):
    part = whole[first : first + size]
    filled = np.concatenate([part, np.repeat(part[:1], size - len(part))])
    found.append((filled, len(part)))
  return found
