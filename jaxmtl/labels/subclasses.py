"""Auxiliary classes within primary classes that no network generates: the baselines of MAXL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.labels.mask_softmax import check_psi

if TYPE_CHECKING:
  import sklearn.cluster as cluster
  import threadpoolctl
else:
  cluster = Optional("sklearn.cluster", "data", __name__)
  threadpoolctl = Optional("threadpoolctl", "data", __name__)


def balanced_psi(num_primary: int, num_auxiliary: int, seed: int = 0) -> np.ndarray:
  """Share auxiliary classes out to primary classes, as evenly as it goes.

  Where the numbers do not divide, some primary classes, drawn at random, get one more.

  Args:
    num_primary: number of primary classes, >= 1.
    num_auxiliary: number of auxiliary classes in all, at least `num_primary`.
    seed: seed of the draw.

  Returns:
    Psi, int64 `[num_primary]`, summing to `num_auxiliary`.

  Raises:
    ValueError: if a primary class would have no auxiliary class.

  Example:
    >>> sorted(balanced_psi(3, 10).tolist())
    [3, 3, 4]

  Reference:
    Liu, Davison and Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning", 2019,
    section 4.3.
  """
  if num_primary < 1 or num_auxiliary < num_primary:
    raise ValueError(
      f"num_auxiliary must be at least the number of primary classes, {num_primary}, got "
      f"{num_auxiliary}: every primary class has an auxiliary class of its own."
    )
  each, left = divmod(num_auxiliary, num_primary)
  psi = np.full(num_primary, each)
  psi[np.random.default_rng(seed).permutation(num_primary)[:left]] += 1
  return psi


def random_subclasses(primary: np.ndarray, psi: Sequence[int], seed: int = 0) -> np.ndarray:
  """Give every example an auxiliary class of its primary class at random, all equally often.

  Args:
    primary: integers `[num_examples]` in `0 .. len(psi) - 1`.
    psi: auxiliary classes of each primary class.
    seed: seed of the draw.

  Returns:
    int32 `[num_examples]` in `0 .. sum(psi) - 1`, blocks in the order of `mask_softmax`.

  Raises:
    ValueError: if `psi` does not fit the classes.

  Example:
    >>> import numpy as np
    >>> labels = random_subclasses(np.array([0, 0, 0, 0, 1, 1, 1]), [2, 3])
    >>> np.bincount(labels).tolist()
    [2, 2, 1, 1, 1]
  """
  rng = np.random.default_rng(seed)
  first = _first_of_block(primary, psi)
  labels = np.empty(len(primary), np.int32)
  for c, (start, size) in enumerate(zip(first, psi, strict=True)):
    rows = np.flatnonzero(primary == c)
    # Which auxiliary classes get one more, where the numbers do not divide, is random too.
    order = rng.permutation(size)[np.arange(len(rows)) % size]
    labels[rows] = start + rng.permutation(order)
  return labels


def kmeans_subclasses(
  features: np.ndarray, primary: np.ndarray, psi: Sequence[int], seed: int = 0
) -> np.ndarray:
  """Cluster the examples of every primary class into its auxiliary classes by K-Means.

  Args:
    features: float `[num_examples, dim]`, e.g. the latent code of an auto-encoder.
    primary: integers `[num_examples]` in `0 .. len(psi) - 1`.
    psi: auxiliary classes of each primary class.
    seed: seed of the clusters' first centres.

  Returns:
    int32 `[num_examples]` in `0 .. sum(psi) - 1`, blocks in the order of `mask_softmax`. A
    class with fewer examples than clusters leaves some unused.

  Raises:
    ValueError: if `psi` does not fit the classes, or the features are not finite.

  Example:
    >>> import numpy as np
    >>> features = np.array([[0.0], [0.1], [9.0], [5.0]])
    >>> labels = kmeans_subclasses(features, np.array([0, 0, 0, 1]), [2, 1])
    >>> bool(labels[0] == labels[1] != labels[2]), int(labels[3])
    (True, 2)
  """
  first = _first_of_block(primary, psi)
  features = np.asarray(features, np.float64)
  labels = np.empty(len(primary), np.int32)
  # One thread: sums in another order could move an example to another cluster.
  with threadpoolctl.threadpool_limits(1):
    for c, (start, size) in enumerate(zip(first, psi, strict=True)):
      rows = np.flatnonzero(primary == c)
      clusters = min(int(size), len(rows))
      if clusters:
        means = cluster.KMeans(clusters, n_init=1, random_state=seed)
        labels[rows] = start + means.fit_predict(features[rows])
  return labels


def _first_of_block(primary: np.ndarray, psi: Sequence[int]) -> np.ndarray:
  sizes = check_psi(psi)
  if len(primary) and not 0 <= np.min(primary) <= np.max(primary) < len(sizes):
    raise ValueError(
      f"psi has {len(sizes)} primary classes, so primary must be in 0 .. {len(sizes) - 1}, got "
      f"{np.min(primary)} .. {np.max(primary)}."
    )
  return np.cumsum(sizes) - sizes
