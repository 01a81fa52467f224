"""Features of many dimensions in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn.manifold
import threadpoolctl


def tsne(features: Any) -> np.ndarray:
  """t-SNE of features `[N, D]`, float `[N, 2]`; the same each time."""
  features = np.asarray(features, np.float64)
  perplexity = min(30, (len(features) - 1) / 3)
  fitted = sklearn.manifold.TSNE(perplexity=perplexity, init="pca", random_state=0)
  # One thread: on so few points, and beside other work, several mostly wait for each other.
  with threadpoolctl.threadpool_limits(1):
    return fitted.fit_transform(features)
