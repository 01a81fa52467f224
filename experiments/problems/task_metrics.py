"""What tasks of images are judged by, and how tables and figures say it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from experiments.problems.images import ImageTasks, Task
from experiments.runner.report import Row, cell

LOWER_IS_BETTER = ("mae", "absolute_error", "angle")
_NAMES = {
  "accuracy": "accuracy",
  "mae": "mean absolute error",
  "miou": "mIoU",
  "absolute_error": "aErr",
  "angle": "mDist",
  "saliency_iou": "IoU",
  "ods_f": "odsF",
}
_UNITS = {
  **dict.fromkeys(("accuracy", "miou", "saliency_iou", "ods_f"), " (%)"),
  "angle": " (degrees)",
}


def metric_of(task: Task) -> str:
  """The metric that a task is judged by."""
  return "accuracy" if task.classes else "mae"


def metrics_of(images: ImageTasks, tasks: Iterable[str]) -> dict[str, str]:
  """Those of several tasks, by name."""
  return {task: metric_of(images.tasks[task]) for task in tasks}


def validation_score(
  images: ImageTasks, tasks: Iterable[str]
) -> Callable[[Mapping[str, Any]], np.ndarray]:
  """`row -> [runs]`: how good networks are on the validation part, to choose an epoch by.

  The mean over tasks of the share of right classes, and of one less the mean absolute error of a
  number in its training deviations: the same scale for all, on which 1 is perfect.
  """
  kinds = {task: images.tasks[task] for task in tasks}

  def score(row: Mapping[str, Any]) -> np.ndarray:
    of = row["validation"]
    found = [
      np.asarray(of["accuracy"][task], float) / 100
      if kind.classes
      else 1 - np.asarray(of["mae"][task], float) / kind.scale
      for task, kind in kinds.items()
    ]
    return np.mean(found, axis=0)

  return score


def name_of(metric: str, *, unit: bool = True) -> str:
  """For an axis: `accuracy (%)`."""
  return _NAMES[metric] + (_UNITS.get(metric, "") if unit else "")


def names_of(metrics: Mapping[str, str], *, unit: bool = True) -> str:
  """For a title: `accuracy (%) or mean absolute error`."""
  return " or ".join(name_of(metric, unit=unit) for metric in sorted(set(metrics.values())))


def columns(metrics: Mapping[str, str], tasks: Iterable[str]) -> list[str]:
  """Heads of the tasks' columns, with their metrics where these differ."""
  mixed = len(set(metrics.values())) > 1
  return [f"{t}: {name_of(metrics[t])}" if mixed else t for t in tasks]


def values_of(row: Row, metrics: Mapping[str, str], task: str) -> Any:
  """A task's numbers by seed, in a row that did not diverge; None where there are none."""
  return row["values"].get(metrics[task], {}).get(task)


def task_cell(row: Row, metrics: Mapping[str, str], task: str) -> str:
  """Mean and spread, errors to three figures."""
  values = values_of(row, metrics, task)
  if values is None or metrics[task] not in LOWER_IS_BETTER:
    return cell(values)
  mean = float(np.mean(np.asarray(values, float)))
  known = math.isfinite(mean) and mean > 0
  return cell(values, min(8, max(0, 2 - math.floor(math.log10(mean)))) if known else 3)
