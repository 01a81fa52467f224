"""What frozen encoders are worth: simple classifiers on their features, and universality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import sklearn.base
import sklearn.neighbors
import sklearn.svm
import sklearn.tree
import threadpoolctl

from experiments.benchmark_training import Outcome
from jaxmtl import regularization

if TYPE_CHECKING:
  from experiments.dgr_training import RegularizedTrainer

PROBES = {
  "DT": sklearn.tree.DecisionTreeClassifier(random_state=0),
  "SVM": sklearn.svm.SVC(),
  "kNN": sklearn.neighbors.KNeighborsClassifier(),
}
# Arbitrary heads to judge universality by; other ones than any that a network was trained with.
_HEADS, _KEY = 5, 1234


def frozen_accuracy(
  trainer: RegularizedTrainer, outcome: Outcome
) -> dict[str, dict[str, list[float]]]:
  """Test accuracy in per cent of classifiers on frozen features, by task and classifier."""
  limit = trainer.config.probe_images
  train, test = (
    trainer.encode(outcome.variables, images)
    for images in (trainer.parts.train.images[:limit], trainer.parts.test.images)
  )
  found: dict[str, dict[str, list[float]]] = {}
  for task in trainer.config.tasks:
    y_train, y_test = trainer.parts.train.labels[task][:limit], trainer.parts.test.labels[task]
    found[task] = {}
    for name, probe in PROBES.items():
      # One thread: beside other work, several mostly wait for each other.
      with threadpoolctl.threadpool_limits(1):
        fitted = [sklearn.base.clone(probe).fit(x, y_train) for x in train]
        scores = [100 * float(f.score(x, y_test)) for f, x in zip(fitted, test, strict=True)]
      found[task][name] = scores
  return found


class Universality:
  """Measures networks of one experiment, all by the same arbitrary heads."""

  def __init__(self, trainer: RegularizedTrainer):
    """Draws the heads."""
    self._trainer = trainer
    limit = trainer.config.probe_images
    heads = trainer.heads(trainer.config.tasks)
    self._images = trainer.parts.train.images[:limit]
    labels = {t: jnp.asarray(trainer.parts.train.labels[t][:limit]) for t in heads}

    @jax.jit
    def measure(features: jax.Array) -> dict[str, jax.Array]:
      dummies = regularization.dummy_heads(jax.random.key(_KEY), heads, features, _HEADS)
      found = regularization.universality(heads, dummies, features, labels)
      return jax.tree.map(jnp.mean, found)

    self._measure = measure

  def __call__(self, outcome: Outcome) -> dict[str, list[float]]:
    """On training images by task, the mean over the heads, `[seeds]`."""
    by_seed = [self._measure(x) for x in self._trainer.encode(outcome.variables, self._images)]
    return {t: [float(found[t]) for found in by_seed] for t in self._trainer.config.tasks}
