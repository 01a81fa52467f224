"""Figures of the Auto-lambda experiment: weights, relations, exact against approximate, cost."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.auto_lambda.compared import Compared
from experiments.auto_lambda.jobs import MULTI_TASK, Key
from experiments.problems.cost import draw_cost
from experiments.problems.task_metrics import values_of
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from experiments.runner.report import Row
from jaxmtl import plots

# Lines that a panel can show apart; of more tasks those with the largest and smallest values.
_LINES = 7


class Gaps(NamedTuple):
  """How far the weights of two trainings are apart.

  Attributes:
    epochs: of the rows that both have.
    by_task: absolute differences, `[runs, rows]`; empty where a training is missing.
  """

  epochs: np.ndarray
  by_task: dict[str, np.ndarray]


def weights_of(outcome: Outcome) -> dict[str, np.ndarray]:
  """Task weights through training, `[runs, rows]`; empty where the method has none."""
  if not outcome.history or "weights" not in outcome.history[-1]:
    return {}
  return outcome.by_task("weights")


def gaps(exact: Outcome | None, near: Outcome | None) -> Gaps:
  """The differences of two trainings' weights, where both are there and finished."""
  if exact is None or near is None or exact.failure or near.failure:
    return Gaps(np.empty(0), {})
  epochs, mine, theirs = np.intersect1d(
    exact.epochs_of("weights"), near.epochs_of("weights"), return_indices=True
  )
  first, second = weights_of(exact), weights_of(near)
  return Gaps(epochs, {t: np.abs(first[t][:, mine] - second[t][:, theirs]) for t in first})


def draw(
  config: Compared,
  found: Mapping[Key, Outcome],
  apart: Gaps,
  rows: Sequence[Row],
  metrics: Mapping[str, str],
  folder: pathlib.Path,
) -> dict[str, Figure]:
  """Writes what there is, and returns it by file; weights only of runs that were Auto-lambda's."""
  learned = {
    setting: outcome
    for (setting, name), outcome in found.items()
    if name == "auto_lambda" and not outcome.failure
  }
  figures: dict[str, Figure] = {}
  if not is_main():
    return figures
  compared = [row for row in rows if row["setting"] == MULTI_TASK]
  if len(compared) > 1:
    figures["cost.png"] = _cost(config, compared, metrics, folder / "cost.png")
  if learned:
    figures["weights.png"] = _weights(config, learned, folder / "weights.png")
    figures["relations.png"] = _relations(config, learned, folder / "relations.png")
  if apart.by_task:
    figures["exact.png"] = _difference(config, apart, folder / "exact.png")
  return figures


def _cost(
  config: Compared, rows: Sequence[Row], metrics: Mapping[str, str], path: pathlib.Path
) -> Figure:
  """The thesis' figure 3.10; Delta_MTL stands for the mean where tasks differ in their metrics."""
  if set(metrics.values()) != {"accuracy"}:
    return draw_cost(path, rows, config.methods, config.run.seeds)

  def mean(row: Row) -> Any:
    return np.mean([values_of(row, metrics, task) for task in config.judged], axis=0)

  return draw_cost(
    path, rows, config.methods, config.run.seeds, mean, "test accuracy, mean of tasks (%)"
  )


def _weights(config: Compared, learned: Mapping[str, Outcome], path: pathlib.Path) -> Figure:
  """A panel for each choice of primary tasks, in it a line a task."""
  panels, epochs = {}, {}
  for setting, outcome in learned.items():
    values = weights_of(outcome)
    shown = _extremes(config.tasks, {t: v[:, -1].mean() for t, v in values.items()}, setting)
    name = setting if setting == MULTI_TASK else f"primary: {setting}"
    panels[name] = {t: values[t] for t in shown}
    epochs[name] = outcome.epochs_of("weights")
  levels = {"first weight": config.weights.weight_init}
  if min(values.min() for lines in panels.values() for values in lines.values()) < 0:
    levels["zero"] = 0.0
  return plots.plot_panels(
    path,
    panels,
    xlabel="epoch",
    ylabel="task weight",
    title="Auto-lambda's weights" + _some(config, " and the primary one"),
    baseline=levels,
    epochs=epochs,
    colors=_colors(config),
  )


def _relations(config: Compared, learned: Mapping[str, Outcome], path: pathlib.Path) -> Figure:
  """The last weight of each task by choice of primary tasks, those below zero in red."""
  last = {setting: weights_of(outcome) for setting, outcome in learned.items()}
  values = np.array([[by_task[t][:, -1].mean() for t in config.tasks] for by_task in last.values()])
  return plots.plot_heat_map(
    path,
    values,
    [setting if setting == MULTI_TASK else f"primary: {setting}" for setting in last],
    config.tasks,
    title=f"last weight of each task, mean of {config.run.seeds} seed(s)",
    # No logarithm: weights are of a size.
    floor=max(float(np.abs(values[np.isfinite(values)]).max(initial=0)), 1e-3),
    digits=2,
  )


def _difference(config: Compared, apart: Gaps, path: pathlib.Path) -> Figure:
  """A line a task: how far approximate weights are from exact ones."""
  shown = _extremes(config.tasks, {t: gap.mean() for t, gap in apart.by_task.items()}, "")
  return plots.plot_curves(
    path,
    {task: apart.by_task[task] for task in shown},
    xlabel="epoch",
    ylabel="absolute difference of weights",
    title=f"exact against {config.compare.replace('_', ' ')} gradients" + _some(config),
    baseline=0.0,
    epochs=apart.epochs,
    colors=_colors(config),
  )


def _colors(config: Compared) -> dict[str, str]:
  """A task's, the same in all figures."""
  return plots.palette(config.tasks, plots.DATA_COLORS)


def _extremes(tasks: Sequence[str], values: Mapping[str, float], always: str) -> list[str]:
  """The tasks of the largest and smallest values, if there are many; and one of them always."""
  order = sorted(tasks, key=lambda t: values[t])
  chosen = order if len(order) <= _LINES else [*order[:3], *order[-3:], always]
  return [task for task in tasks if task in chosen]


def _some(config: Compared, others: str = "") -> str:
  """What a title adds where not all tasks are shown."""
  count = len(config.tasks)
  return "" if count <= _LINES else f"; of {count} tasks the three lowest and highest{others}"
