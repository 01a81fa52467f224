"""Which tasks help which: equal weights on every group of tasks, as in the thesis' figure 3.6."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.figure
import numpy as np

from experiments.auto_lambda.jobs import MULTI_TASK, Key
from experiments.dense_prediction.config import Config
from experiments.problems.task_metrics import LOWER_IS_BETTER
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import SINGLE, Row, cell
from jaxmtl import plots
from jaxmtl.training.results import Table

GROUP = "group"


def groups(tasks: Sequence[str]) -> list[tuple[str, ...]]:
  """All with at least two tasks, and fewer than all."""
  return [g for n in range(2, len(tasks)) for g in itertools.combinations(tasks, n)]


def key_of(group: Sequence[str]) -> Key:
  """Of the training of a group."""
  return GROUP, " + ".join(group)


class Gains(NamedTuple):
  """What each task gains in each group, in per cent of single-task training.

  Attributes:
    names: of the groups, and of Auto-lambda's runs.
    values: `[groups, tasks, seeds]`, NaN for tasks that are not in it.
    rows: of the groups, for `results.json`.
  """

  names: list[str]
  values: np.ndarray
  rows: list[Row]


def gains(
  config: Config,
  names: Mapping[Key, str],
  outcomes: Mapping[str, Outcome],
  metrics: Mapping[str, str],
) -> Gains | None:
  """What is known so far: all groups, the group of all, Auto-lambda; None without baselines."""
  found = {key: outcomes[name] for key, name in names.items() if name in outcomes}
  singles = {task: found.get((SINGLE, task)) for task in config.judged}
  if any(outcome is None for outcome in singles.values()):
    return None
  single = report.together(SINGLE, {t: o for t, o in singles.items() if o is not None})

  def changes(outcome: Outcome, tasks: Sequence[str]) -> np.ndarray:
    values = report.changes(outcome, single, tasks, metrics, LOWER_IS_BETTER)
    by_task = np.full((len(config.judged), config.run.seeds), np.nan)
    if values is not None:
      by_task[[config.judged.index(t) for t in tasks]] = np.asarray(values).T
    return by_task

  shown: list[str] = []
  values, rows = [], []
  for group in groups(config.judged):
    if (outcome := found.get(key_of(group))) is None:
      continue
    shown.append(" + ".join(group))
    values.append(changes(outcome, group))
    delta = report.against(outcome, single, group, metrics, LOWER_IS_BETTER)
    rows.append(report.row("equal", outcome, setting=shown[-1], delta=delta))
  for name in ("equal", "auto_lambda"):
    if (outcome := found.get((MULTI_TASK, name))) is not None:
      shown.append(f"{name}, all tasks")
      values.append(changes(outcome, config.judged))
  alone = {t: found.get((t, "auto_lambda")) for t in config.judged}
  if any(outcome is not None for outcome in alone.values()):
    shown.append("auto_lambda, one primary")
    merged = np.full((len(config.judged), config.run.seeds), np.nan)
    for i, (task, outcome) in enumerate(alone.items()):
      if outcome is not None:
        merged[i] = changes(outcome, (task,))[i]
    values.append(merged)
  return Gains(shown, np.array(values), rows) if rows else None


def table(config: Config, found: Gains) -> Table:
  """A line a group, a column a task."""

  def text(of_seeds: np.ndarray) -> str:
    return "-" if np.isnan(of_seeds).any() else cell(of_seeds)

  made = [
    [name, *map(text, by_task)] for name, by_task in zip(found.names, found.values, strict=True)
  ]
  title = "Change (%) of each task against single-task training, by the group it is learned in"
  return Table(title, ["group, equal weights", *config.judged], made)


def draw(config: Config, found: Gains, folder: pathlib.Path) -> dict[str, matplotlib.figure.Figure]:
  """The same as a heat map, means over seeds."""
  title = f"Change (%) against single-task training, mean of {config.run.seeds} seed(s)"
  figure: Any = plots.plot_heat_map(
    folder / "groupings.png", found.values.mean(-1), found.names, config.judged, title=title
  )
  return {"groupings.png": figure}
