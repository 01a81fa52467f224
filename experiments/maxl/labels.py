"""Hierarchies, and the auxiliary labels of the methods that generate none while they train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.maxl.data import level_name
from jaxmtl import labels

_TOTAL = "total:"


class Setting(NamedTuple):
  """One hierarchy.

  Attributes:
    name: as tables show it.
    psi: by primary task, its auxiliary classes within each class, int `[seeds, classes]`.
  """

  name: str
  psi: dict[str, np.ndarray]

  @property
  def totals(self) -> dict[str, int]:
    """Auxiliary classes in all, by primary task."""
    return {task: int(values[0].sum()) for task, values in self.psi.items()}


def parse_psi(text: str, primary: Mapping[str, int], seeds: Sequence[int]) -> Setting:
  """Reads `5` (each class has five), `total:100` (shared out evenly) or `3,3,4` (one a class).

  Args:
    text: what was asked for.
    primary: number of classes by primary task.
    seeds: of the runs; who gets one more of an uneven total is drawn anew for each.

  Returns:
    The setting.

  Raises:
    ValueError: if it is none of these, or does not match the classes.
  """
  try:
    counts = [int(part) for part in text.removeprefix(_TOTAL).split(",")]
  except ValueError:
    counts = []
  if not counts or min(counts) < 1 or (text.startswith(_TOTAL) and len(counts) > 1):
    raise ValueError(f"psi takes values like 5, total:100 or 3,3,4 (all >= 1), got {text!r}.")
  psi = {}
  for task, classes in primary.items():
    if text.startswith(_TOTAL):
      psi[task] = np.stack([labels.balanced_psi(classes, counts[0], seed) for seed in seeds])
      continue
    if len(counts) not in (1, classes):
      raise ValueError(
        f"psi must have one number for each of the {classes} primary classes of {task}, or one for "
        f"all, got {len(counts)} in {text!r}."
      )
    row = np.broadcast_to(np.array(counts), classes)
    psi[task] = np.tile(row, (len(seeds), 1))
  kind = f"{counts[0]} auxiliary" if text.startswith(_TOTAL) else f"psi {text.replace(',', ', ')}"
  return Setting(kind, psi)


def has_levels(setting: Setting, primary: Mapping[str, int], levels: Sequence[int]) -> bool:
  """Whether there are given, finer labels with the setting's numbers of classes."""
  return all(total in levels and total > primary[t] for t, total in setting.totals.items())


def fixed_labels(
  method: str,
  settings: Sequence[Setting],
  seeds: Sequence[int],
  levels: Mapping[str, np.ndarray],
  codes: Callable[[], np.ndarray],
) -> dict[str, np.ndarray]:
  """Labels by primary task, int32 `[runs, num_examples]`, seeds one after the other in a setting.

  Args:
    method: random, kmeans or human.
    settings: the hierarchies.
    seeds: of the runs.
    levels: classes of all levels, int `[num_examples]` by `level_<classes>`.
    codes: what K-Means clusters, float `[seeds, num_examples, dim]`.
  """
  features = codes() if method == "kmeans" else None

  def of(setting: Setting, task: str, i: int) -> np.ndarray:
    classes, psi = levels[task], setting.psi[task][i]
    if method == "human":
      return levels[level_name(setting.totals[task])]
    if method == "random":
      return labels.random_subclasses(classes, psi, seeds[i])
    assert features is not None
    return labels.kmeans_subclasses(features[i], classes, psi, seeds[i])

  return {
    task: np.stack([of(setting, task, i) for setting in settings for i in range(len(seeds))])
    for task in settings[0].psi
  }
