"""What frozen encoders are worth: simple classifiers on their features, universality, and maps."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.dgr.config import Config
from experiments.problems.images import ImageTasks, encoder, heads_of
from experiments.problems.own_data import part_labels, rows_of
from experiments.runner import embeddings, store
from experiments.runner.job import WEIGHTS, Outcome
from experiments.runner.mesh import is_main
from jaxmtl import regularization

PROBES = tuple(f"probe_{name}" for name in embeddings.PROBES)
UNIVERSALITY = "universality"
# Arbitrary heads to judge universality by; other ones than any that a network was trained with.
_HEADS, _KEY = 5, 1234
# Test images in a map.
_POINTS = 800
_VALUES, _MAP = "frozen.json", "tsne.json"


class Frozen:
  """Measures the encoders of an experiment, each once: what it gave is kept beside its weights."""

  def __init__(self, config: Config, images: ImageTasks):
    """Takes training images to learn from, and test images."""
    self._config, self._kinds = config, images.tasks
    self._encode = encoder(images, config.network.build())
    self._heads = heads_of(images, config.tasks, config.hidden)
    train, test = images.parts["train"], images.parts["test"]
    self._train = _some(train, config.probe_images, config.data.own)
    self._test, self._shown = test, _some(test, _POINTS, config.data.own)

  def values(self, outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """By seed, by what it is and by task: test accuracy in per cent of each probe, universality."""
    if not is_main():  # which alone writes what comes of it
      return {}
    limit = self._config.probe_images
    saved = _kept(outcome, _VALUES)
    if saved is None or saved["probe_images"] != limit:
      saved = store.plain({"probe_images": limit, "values": self._measure(outcome)})
      store.write_json(outcome.folder / _VALUES, saved)
    return saved["values"]

  def shown_labels(self, task: str) -> np.ndarray:
    """Classes of the examples in a map, below 0 where missing."""
    return part_labels(self._shown)[task]

  def class_names(self, task: str) -> tuple[str, ...]:
    """Of a task."""
    kind = self._kinds[task]
    return kind.names or tuple(map(str, range(kind.classes)))

  def map(self, outcome: Outcome) -> np.ndarray:
    """Features of test images in the plane, of the first seed, `[N, 2]`."""
    points = _kept(outcome, _MAP)
    if points is None:
      first = jax.tree.map(lambda leaf: leaf[None], outcome.first_variables)
      (features,) = embeddings.features(self._encode, first, self._shown)
      points = store.plain(embeddings.tsne(features, name=outcome.name))
      store.write_json(outcome.folder / _MAP, points)
    return np.array(points)

  def _measure(self, outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    variables = outcome.variables
    train, test = (
      embeddings.features(self._encode, variables, part) for part in (self._train, self._test)
    )
    labels, test_labels = (self._labels(part) for part in (self._train, self._test))
    probed = embeddings.probes(train, labels, test, test_labels, name=outcome.name)
    by_seed = [self._universality(x) for x in train]
    universal = {t: [float(found[t]) for found in by_seed] for t in self._heads}
    return {
      **{f"probe_{name}": by_task for name, by_task in probed.items()},
      UNIVERSALITY: universal,
    }

  @functools.cached_property
  def _universality(self) -> Any:
    """`features [N, D] -> by task, the mean over the heads`, all encoders by the same ones."""
    labels, heads = self._labels(self._train), self._heads
    rows = {t: slice(None) if (y >= 0).all() else y >= 0 for t, y in labels.items()}

    @jax.jit
    def measure(features: jax.Array) -> dict[str, jax.Array]:
      dummies = regularization.dummy_heads(jax.random.key(_KEY), heads, features, _HEADS)
      found = {
        t: regularization.universality(
          {t: head}, dummies, features[rows[t]], {t: jnp.asarray(labels[t][rows[t]])}
        )[t]
        for t, head in heads.items()
      }
      return jax.tree.map(jnp.mean, found)

    return measure

  def _labels(self, part: Any) -> dict[str, np.ndarray]:
    return {task: part_labels(part)[task] for task in self._heads}


def _some(part: Any, count: int, anywhere: bool) -> Any:
  """The first examples of a part, or so many from anywhere in it: files come class by class."""
  labels = part_labels(part)
  size = len(next(iter(labels.values())))
  rows = np.arange(min(count, size))
  if anywhere and count < size:
    rows = np.sort(np.random.default_rng(0).permutation(size)[:count])
  return rows_of(part, rows)


def _kept(outcome: Outcome, name: str) -> Any:
  """What a file beside the weights holds, None where they are newer."""
  path, weights = outcome.folder / name, outcome.folder / WEIGHTS
  if not path.exists() or path.stat().st_mtime_ns < weights.stat().st_mtime_ns:
    return None
  return store.read_json(path)
