"""Figures of the thesis, chapter 5: test accuracies in per cent."""

from __future__ import annotations

# Table 5.2 (VGG-16 with regularisation): by primary level and auxiliary ones.
COMPLEXITY: dict[str, float] = {
  "3": 92.92,
  "3:10": 93.94,
  "3:20": 94.56,
  "3:100": 94.16,
  "100": 69.84,
  "100:3": 68.45,
  "100:10": 69.28,
  "100:20": 68.95,
  "10": 82.52,
  "10:100": 84.36,
  "20": 79.28,
  "20:100": 80.37,
  "3:10+20": 94.51,
  "3:20+100": 94.54,
  "3:10+20+100": 94.55,
}

# Table 5.3: single-task training, and MAXL by the auxiliary classes of each primary class.
_DATASETS: dict[str, tuple[float, dict[int, float]]] = {
  "mnist": (99.57, {2: 99.56, 3: 99.71, 5: 99.59, 10: 99.57}),
  "svhn_cropped": (94.05, {2: 94.39, 3: 94.38, 5: 94.59, 10: 94.41}),
  "cifar10": (92.77, {2: 93.27, 3: 93.47, 5: 93.49, 10: 93.10}),
  "ucf101": (53.15, {2: 54.19, 3: 55.39, 5: 54.70, 10: 54.32}),
}

# Table 5.4 (VGG-16 without regularisation, CIFAR-100): by primary and auxiliary classes.
_METHODS = ("single", "random", "kmeans", "human", "maxl")
_HIERARCHY: dict[tuple[int, int], tuple[float, ...]] = {
  (3, 10): (87.49, 89.86, 90.16, 90.78, 90.59),
  (3, 20): (87.49, 89.15, 90.57, 90.78, 90.68),
  (3, 100): (87.49, 87.81, 90.43, 91.23, 90.61),
  (10, 20): (75.15, 77.26, 77.68, 77.97, 78.64),
  (10, 100): (75.15, 75.88, 78.63, 78.18, 78.43),
  (20, 100): (
    70.71,
    71.11,
    73.35,
    73.11,
    74.28,
  ),  # its head says 10 auxiliary classes, its text 100
}

# Table 5.5 (CIFAR-100): share of labels in use and accuracy, with and without the entropy term.
_ENTROPY: dict[tuple[int, int], dict[str, tuple[float, float]]] = {
  (3, 10): {"maxl": (100, 90.50), "maxl_no_entropy": (100, 90.26)},
  (3, 20): {"maxl": (100, 90.65), "maxl_no_entropy": (65, 90.39)},
  (3, 100): {"maxl": (100, 90.66), "maxl_no_entropy": (35, 90.22)},
  (10, 20): {"maxl": (100, 78.40), "maxl_no_entropy": (100, 77.73)},
  (10, 100): {"maxl": (100, 78.46), "maxl_no_entropy": (57, 78.20)},
  (20, 100): {"maxl": (100, 74.27), "maxl_no_entropy": (61, 73.97)},
}


def thesis_accuracy(dataset: str, primary: int, total: int, method: str) -> float | None:
  """The thesis's accuracy for a number of primary and of auxiliary classes, or None."""
  if dataset == "cifar100" and (primary, total) in _HIERARCHY:
    by_method = dict(zip(_METHODS, _HIERARCHY[primary, total], strict=True))
    entropy = _ENTROPY[primary, total].get("maxl_no_entropy")
    return by_method.get(method, entropy[1] if method == "maxl_no_entropy" and entropy else None)
  if dataset in _DATASETS and total % primary == 0:
    single, by_psi = _DATASETS[dataset]
    if primary == {"ucf101": 101}.get(dataset, 10):
      return {"single": single, "maxl": by_psi.get(total // primary)}.get(method)
  return None


def thesis_labels(
  dataset: str, primary: int, total: int, method: str
) -> tuple[float, float] | tuple[None, None]:
  """The thesis's share of generated labels in use and the accuracy beside it, in per cent."""
  if dataset != "cifar100":
    return None, None
  return _ENTROPY.get((primary, total), {}).get(method, (None, None))
