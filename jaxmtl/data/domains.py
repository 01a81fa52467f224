"""Domains: a data set cut by a coarse label into tasks with images of their own."""

from typing import NamedTuple

import numpy as np


class DomainImages(NamedTuple):
  """Images of K domains, equally many of each, in host memory.

  Attributes:
    images: uint8 `[num_examples, K, height, width, channels]`.
    labels: int32 `[num_examples, K]`, classes counted within each domain.
  """

  images: np.ndarray
  labels: np.ndarray


def by_domain(images: np.ndarray, classes: np.ndarray, domains: np.ndarray) -> DomainImages:
  """Sort images by domain, and number the classes of each domain from 0.

  Where domains differ in size, the last images of the larger ones are left out.

  Args:
    images: uint8 `[num_examples, height, width, channels]`.
    classes: integers `[num_examples]`, each class in one domain only.
    domains: integers `[num_examples]`, `0 .. K - 1`, each of which occurs.

  Returns:
    The `DomainImages`.

  Raises:
    ValueError: if a class is in several domains, or domains differ in their number of classes.

  Example:
    >>> import numpy as np
    >>> classes = np.array([3, 0, 1, 2, 3, 0])
    >>> cut = by_domain(np.zeros((6, 8, 8, 3), np.uint8), classes, classes // 2)
    >>> cut.images.shape, cut.labels.tolist()
    ((3, 2, 8, 8, 3), [[0, 1], [1, 0], [0, 1]])

  Reference:
    Rosenbaum, Klinger and Riemer, "Routing Networks", 2018 (the 20 domains of CIFAR-100).
  """
  names = np.unique(domains)
  of_domain = [np.unique(classes[domains == name]) for name in names]
  counts = {len(found) for found in of_domain}
  if len(counts) != 1 or sum(map(len, of_domain)) != len(np.unique(classes)):
    raise ValueError(
      f"classes must be split evenly among the domains, each in one; {len(names)} domains have "
      f"{sorted(counts)} of {len(np.unique(classes))} classes."
    )
  rows = [np.flatnonzero(domains == name) for name in names]
  order = np.stack([row[: min(map(len, rows))] for row in rows], axis=1)
  labels = [np.searchsorted(found, classes[order[:, i]]) for i, found in enumerate(of_domain)]
  return DomainImages(images[order], np.stack(labels, axis=1).astype(np.int32))
