"""The thesis' tables 4.1, 4.4 and 4.5: ResNet-101, 200 epochs of 200 steps, three seeds."""

from __future__ import annotations

PASCAL, CITYSCAPES, SUN = "pascal", "cityscapes", "sun"
_METHODS = ("supervised", "cutout", "cutmix", "classmix", "classmix+reco")
# By data set: settings, and each method's mIoU in them.
_FULL: dict[str, tuple[tuple[str, ...], dict[str, tuple[float, ...]]]] = {
  PASCAL: (
    ("60 images", "200 images", "600 images", "all images"),
    {
      "supervised": (37.79, 53.87, 64.04, 77.79),
      "cutout": (52.96, 63.57, 69.85),
      "cutmix": (53.71, 66.95, 72.42),
      "classmix": (49.06, 67.95, 72.50),
      "classmix+reco": (53.31, 69.81, 72.75),
      "supervised+reco": (float("nan"), float("nan"), float("nan"), 78.39),
    },
  ),
  CITYSCAPES: (
    ("20 images", "50 images", "150 images", "all images"),
    {
      "supervised": (38.12, 45.42, 54.93, 70.48),
      "cutout": (42.52, 50.15, 59.42),
      "cutmix": (44.02, 54.72, 62.24),
      "classmix": (45.61, 55.56, 63.94),
      "classmix+reco": (49.86, 57.69, 65.04),
      "supervised+reco": (float("nan"), float("nan"), float("nan"), 71.45),
    },
  ),
  SUN: (
    ("50 images", "150 images", "500 images", "all images"),
    {
      "supervised": (19.79, 28.78, 37.73, 51.06),
      "cutout": (25.94, 34.45, 41.25),
      "cutmix": (27.60, 37.55, 42.69),
      "classmix": (28.42, 37.55, 42.46),
      "classmix+reco": (29.65, 39.14, 44.55),
      "supervised+reco": (float("nan"), float("nan"), float("nan"), 52.01),
    },
  ),
}
_SHARES = ("1 pixel a class", "1 % of pixels", "5 % of pixels", "25 % of pixels")
_PARTIAL: dict[str, dict[str, tuple[float, ...]]] = {
  PASCAL: {
    "supervised": (60.33, 66.17, 69.16, 73.75),
    "cutmix": (63.50, 70.83, 73.04, 75.64),
    "classmix": (63.69, 71.04, 72.90, 75.79),
    "classmix+reco": (66.11, 72.67, 74.09, 75.96),
  },
  CITYSCAPES: {
    "supervised": (44.08, 52.89, 56.65, 63.43),
    "cutmix": (46.91, 54.90, 59.69, 65.61),
    "classmix": (47.42, 56.68, 60.96, 66.46),
    "classmix+reco": (49.66, 58.97, 62.32, 66.92),
  },
}
# Cityscapes, 20 images.
_SAMPLING = {
  "classmix+reco:queries=random,keys=random": 46.56,
  "classmix+reco:keys=random": 46.38,
  "classmix+reco:queries=easy": 45.81,
  "classmix+reco:bank=1000": 49.34,
}


def published(dataset: str, setting: str, method: str) -> float | None:
  """The thesis' mIoU (%) of a data set, setting and method; None where it has none.

  Example:
    >>> from experiments.reco.paper import published
    >>> published("cityscapes", "20 images", "classmix+reco")
    49.86
  """
  if dataset == CITYSCAPES and setting == "20 images" and method in _SAMPLING:
    return _SAMPLING[method]
  names: tuple[str, ...] = _SHARES
  of_set: dict[str, tuple[float, ...]] = _PARTIAL.get(dataset, {})
  if setting not in _SHARES:
    names, of_set = _FULL.get(dataset, ((), {}))
  values = dict(zip(names, of_set.get(method, ()), strict=False))
  found = values.get(setting)
  return None if found is None or found != found else found
