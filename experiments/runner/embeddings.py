"""What frozen encoders give: features, maps of them in the plane, and simple classifiers' worth."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import sklearn.base
import sklearn.manifold
import sklearn.neighbors
import sklearn.svm
import sklearn.tree
import threadpoolctl

from experiments.runner.mesh import say
from jaxmtl import training

PyTree = Any
# Simple classifiers with the defaults of scikit-learn, by what a table calls them.
PROBES: Mapping[str, sklearn.base.ClassifierMixin] = {
  "DT": sklearn.tree.DecisionTreeClassifier(random_state=0),
  "SVM": sklearn.svm.SVC(),
  "kNN": sklearn.neighbors.KNeighborsClassifier(),
}


# What k nearest neighbours need.
_FEWEST = 5


def features(
  encode: Callable[[PyTree, Any], jax.Array],
  variables: PyTree,
  examples: Any,
  *,
  batch_size: int = 250,
) -> np.ndarray:
  """What the encoders of several runs give for whole data.

  Args:
    encode: `(variables, batch) -> [B, D]`, of one run; compiled once for all networks of a shape,
      as long as it is the same function.
    variables: with a leading axis of runs, such as an `Outcome.variables`.
    examples: arrays by name with the same leading axis, or a source, see `training.batches_of`.
    batch_size: examples at a time.

  Returns:
    Float32 `[runs, N, D]`.
  """
  compiled = _compiled(encode)
  found = [
    np.asarray(compiled(variables, batch), np.float32)[:, batch["valid"]]
    for batch in training.batches_of(examples, batch_size)
  ]
  return np.concatenate(found, axis=1)


@functools.lru_cache(maxsize=8)
def _compiled(encode: Callable[[PyTree, Any], jax.Array]) -> Callable[[PyTree, Any], jax.Array]:
  return jax.jit(jax.vmap(encode, (0, None)))


def tsne(values: np.ndarray, *, name: str = "", seed: int = 0) -> np.ndarray:
  """A map of features in the plane in which neighbours stay together, by scikit-learn's t-SNE.

  Args:
    values: float `[N, D]`, of one run.
    name: whose they are, for a line that says what is being waited for.
    seed: of the optimisation; it starts from the first two principal components.

  Returns:
    `[N, 2]`; distances of two maps do not compare.
  """
  count = len(values)
  say(f"{_named(name)}t-SNE of {count} examples' features ...")
  made = sklearn.manifold.TSNE(perplexity=min(30, (count - 1) / 3), init="pca", random_state=seed)
  # One thread: on few points, and beside other work, several mostly wait for each other.
  with threadpoolctl.threadpool_limits(1):
    return made.fit_transform(values.astype(np.float64))


def probes(
  train: np.ndarray,
  train_labels: Mapping[str, np.ndarray],
  test: np.ndarray,
  test_labels: Mapping[str, np.ndarray],
  *,
  classifiers: Mapping[str, Any] = PROBES,
  name: str = "",
) -> dict[str, dict[str, list[float]]]:
  """How well simple classifiers solve tasks from features.

  Args:
    train: `[runs, N, D]`, what they learn from.
    train_labels: integers `[N]` by task; examples with one below 0 are left out.
    test: `[runs, M, D]`.
    test_labels: integers `[M]` by task, likewise.
    classifiers: of scikit-learn, by name.
    name: whose features they are, for a line that says what is being waited for.

  Returns:
    Accuracy on the test features in per cent, by classifier and task, `[runs]`; NaN where there
    are too few examples or classes to learn from.
  """
  say(f"{_named(name)}{', '.join(classifiers)} on features of {train.shape[1]} examples ...")

  def accuracies(classifier: Any, task: str) -> list[float]:
    (y, rows), (test_y, test_rows) = (
      _known(labels[task]) for labels in (train_labels, test_labels)
    )
    if len(y) < _FEWEST or len(np.unique(y)) < 2:
      return [float("nan")] * len(train)
    fitted = [sklearn.base.clone(classifier).fit(x[rows], y) for x in train]
    scores = [f.score(x[test_rows], test_y) for f, x in zip(fitted, test, strict=True)]
    return [100 * float(score) for score in scores]

  # One thread: beside other work, several mostly wait for each other.
  with threadpoolctl.threadpool_limits(1):
    return {c: {t: accuracies(made, t) for t in train_labels} for c, made in classifiers.items()}


def _known(labels: np.ndarray) -> tuple[np.ndarray, Any]:
  """Labels that are not missing, and their rows."""
  rows = np.asarray(labels) >= 0
  return np.asarray(labels)[rows], slice(None) if rows.all() else rows


def _named(name: str) -> str:
  return f"{name}: " if name else ""
