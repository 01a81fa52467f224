"""Which images, or which of their pixels, keep their labels; drawn by the seed, kept on disk."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.reco.config import LabelOptions
from experiments.reco.methods import SEGMENTATION
from experiments.runner.fingerprint import fingerprint
from experiments.runner.mesh import is_main, say
from jaxmtl import data
from jaxmtl.training import replacing

FOLDER = "labels"


class Setting(NamedTuple):
  """How many labels there are.

  Attributes:
    labelled: images with all labels; 0: all of them; None: all have some.
    share: of each class's pixels; 0: one; None: all.
  """

  labelled: int | None
  share: float | None

  @property
  def name(self) -> str:
    """For tables and folders."""
    if self.share is not None:
      return "1 pixel a class" if not self.share else f"{100 * self.share:g} % of pixels"
    return f"{self.labelled} images" if self.labelled else "all images"

  @property
  def has_unlabelled(self) -> bool:
    """Whether there are images, or pixels, without labels."""
    return self.share is not None or bool(self.labelled)


def settings(options: LabelOptions) -> list[Setting]:
  """All of a configuration."""
  return [Setting(count, None) for count in options.labelled] + [
    Setting(None, share) for share in options.shares
  ]


class Few:
  """The labels of a set that are kept."""

  def __init__(self, train: Any, num_classes: int, at_least: int, root: pathlib.Path):
    """Takes the training part, and where draws are kept.

    Args:
      train: arrays by name, or a source of examples.
      num_classes: of the labels.
      at_least: classes in each labelled image.
      root: the experiment's folder.
    """
    self._train, self._num_classes, self._at_least = train, num_classes, at_least
    self._folder = root / FOLDER
    self._known: str | None = None

  def __len__(self) -> int:
    return len(self._maps)

  @property
  def _maps(self) -> Any:
    """One label map an image."""
    if isinstance(self._train, Mapping):
      return self._train[SEGMENTATION]
    return _Maps(self._train.only(SEGMENTATION))

  def rows(self, count: int, seed: int) -> np.ndarray:
    """The images with labels; raises ValueError where too few fit the rules."""
    try:
      return data.balanced_images(self._present, count, at_least=self._at_least, seed=seed)
    except ValueError as error:
      raise ValueError(f"labelled, at_least: {error}") from None

  def partial(self, share: float, seed: int) -> np.ndarray:
    """Maps `[N, H, W]`, int16, with a share of their labels, mapped from disk."""

    def draw() -> np.ndarray:
      maps = self._maps
      first = np.asarray(maps[0])
      found = np.empty((len(maps), *first.shape), np.int16)
      for i in range(len(maps)):
        found[i] = data.partial_labels(np.asarray(maps[i]), share, seed=seed * 1_000_003 + i)
      return found

    return self._kept(f"share{share:g}_seed{seed}", draw, f"labels of {Setting(None, share).name}")

  @functools.cached_property
  def _present(self) -> np.ndarray:
    def look() -> np.ndarray:
      return data.classes_present(self._maps, self._num_classes)

    in_memory = isinstance(self._train, Mapping)
    return look() if in_memory else self._kept("classes", look, "which classes each image has")

  def _kept(self, name: str, draw: Any, what: str) -> np.ndarray:
    """What was drawn, read where it is on disk."""
    if self._known is None:
      self._known = fingerprint(self._train)
    path = self._folder / f"{name}_{self._known}.npy"
    if not path.exists():
      if len(self) > 1000:
        say(f"{what}: drawn once, and kept in {self._folder}")
      found = draw()
      if not is_main():
        return found
      try:
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft, draft.open("wb") as opened:
          np.save(opened, found)
      except OSError:
        return found  # the runner says what is wrong with the folder, before anything is trained
    return np.load(path, mmap_mode="r")


class _Maps:
  """The label maps of a source, one by one."""

  def __init__(self, source: Any):
    self._source = source

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> np.ndarray:
    return self._source[index][SEGMENTATION]

  def __iter__(self) -> Any:
    return (self[i] for i in range(len(self)))


class Relabelled:
  """A source of examples with other label maps."""

  def __init__(self, source: Any, maps: np.ndarray, name: str):
    """Takes the source, its maps `[N, H, W]`, and what tells them from others."""
    self._source, self._maps, self._name = source, maps, name

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: Any) -> dict[str, np.ndarray]:
    return self.__getitems__([index])[0]

  def __getitems__(self, indices: Sequence[Any]) -> list[dict[str, np.ndarray]]:
    """Several examples."""
    found = self._source.__getitems__(indices)
    return [
      {**example, SEGMENTATION: np.array(self._maps[i], np.int32)}
      for i, example in zip(indices, found, strict=True)
    ]

  def fingerprint(self) -> str:
    """The source's, and the name of the maps."""
    return f"{self._source.fingerprint()} {self._name}"
