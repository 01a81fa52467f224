"""The thesis' table 3.2: CIFAR-100's domains, VGG-16, 200 epochs, two seeds."""

from __future__ import annotations

HARDEST = ("people", "aquatic_mammals", "small_mammals", "trees", "reptiles")
MEAN = "mean"
# Test accuracy in per cent of these, and the mean of all domains.
_MULTI_TASK = {
  "single task": (55.37, 68.65, 72.79, 75.37, 75.84, 82.19),
  "equal": (57.73, 73.59, 74.41, 74.64, 76.69, 82.46),
  "uncertainty": (54.14, 70.62, 74.08, 74.62, 75.62, 82.03),
  "dwa": (55.25, 71.54, 74.12, 75.68, 76.26, 82.26),
  "auto_lambda": (57.57, 74.0, 75.05, 75.15, 77.55, 83.92),
}
# The same where each domain is the only primary task of a run of its own.
_AUXILIARY = {
  "gcs": (56.45, 71.05, 72.93, 74.45, 76.29, 82.58),
  "auto_lambda": (60.89, 75.7, 75.64, 77.38, 81.75, 84.92),
}


def published(name: str, *, auxiliary: bool) -> dict[str, float] | None:
  """Accuracy by domain, and `mean` over all of them; None where there is no such row."""
  found = (_AUXILIARY if auxiliary else _MULTI_TASK).get(name)
  return None if found is None else dict(zip((*HARDEST, MEAN), found, strict=True))
