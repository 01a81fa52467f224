"""Texts beside images: as arrays of one form for captions, questions with answers, and classes."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmtl.data.experts import ExpertFiles
from jaxmtl.data.language import Targets

IDS, LABELS, WEIGHT, COUNT = "ids", "labels", "weight", "count"


class Texts(NamedTuple):
  """Texts of one task to learn from.

  Attributes:
    rows: the image of each, int `[P]`.
    targets: their pieces, `[P, L]`.
    weights: float32 `[P]`.
  """

  rows: np.ndarray
  targets: Targets
  weights: np.ndarray

  @classmethod
  def of(cls, rows: Any, targets: Targets, weights: np.ndarray | None = None) -> Texts:
    """Of weight 1 where none is given."""
    ones = np.ones(len(targets.ids), np.float32)
    return cls(np.asarray(rows, np.int64), targets, ones if weights is None else weights)


def by_image(task: str, texts: Texts, count: int) -> dict[str, np.ndarray]:
  """All texts of each image: `<task>/ids` `[N, K, L]` and so on, the first `count` of K count.

  Args:
    task: by whose name the arrays are found.
    texts: of the task; each image has at least one.
    count: N.

  Example:
    >>> import numpy as np
    >>> from experiments.prismer.texts import Texts, by_image
    >>> from jaxmtl.data.language import Targets
    >>> ids = np.arange(6).reshape(3, 2)
    >>> found = by_image("caption", Texts.of([0, 1, 1], Targets(ids, ids > 0, ids)), 2)
    >>> found["caption/count"].tolist(), found["caption/ids"].shape
    ([1, 2], (2, 2, 2))
  """
  counts = np.bincount(texts.rows, minlength=count)
  order = np.argsort(texts.rows, kind="stable")
  first = np.cumsum(counts) - counts
  # Places that are not there repeat the image's last text.
  place = np.minimum(np.arange(counts.max()), counts[:, None] - 1)
  index = order[first[:, None] + place]
  return {**_arrays(task, texts, index), f"{task}/{COUNT}": counts.astype(np.int32)}


def one_each(task: str, texts: Texts, count: int) -> dict[str, np.ndarray]:
  """One text of each image, another one from image to image: `[N, 1, L]`."""
  counts = np.bincount(texts.rows, minlength=count)
  order = np.argsort(texts.rows, kind="stable")
  first = np.cumsum(counts) - counts
  index = order[first + np.arange(count) % counts][:, None]
  return {**_arrays(task, texts, index), f"{task}/{COUNT}": np.ones(count, np.int32)}


def _arrays(task: str, texts: Texts, index: np.ndarray) -> dict[str, np.ndarray]:
  return {
    f"{task}/{IDS}": texts.targets.ids[index],
    f"{task}/{LABELS}": texts.targets.labels[index],
    f"{task}/{WEIGHT}": texts.weights[index].astype(np.float32),
  }


def each(task: str, texts: Texts) -> dict[str, np.ndarray]:
  """All texts one after the other, `[P, 1, L]`, each as that of an image of its own."""
  count = len(texts.rows)
  return one_each(task, texts._replace(rows=np.arange(count)), count)


class Pairs:
  """Images read from files, each with one text: a source of examples."""

  def __init__(self, images: ExpertFiles, texts: Mapping[str, np.ndarray]):
    """Takes images, and arrays of their texts, as many."""
    self._images, self._texts = images, dict(texts)

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: Any) -> dict[str, np.ndarray]:
    i = operator.index(index)
    return {**self._images[i], **{name: values[i] for name, values in self._texts.items()}}

  def __getitems__(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Several examples, whose images are read by threads."""
    return [
      {**image, **{name: values[i] for name, values in self._texts.items()}}
      for i, image in zip(indices, self._images.__getitems__(indices), strict=True)
    ]

  def fingerprint(self) -> str:
    """Of the files; texts are seen in some examples."""
    return self._images.fingerprint()


def images_of(examples: Mapping[str, Any]) -> dict[str, Any]:
  """Of an example or a batch, what is no text."""
  return {name: x for name, x in examples.items() if "/" not in name and name != "valid"}
