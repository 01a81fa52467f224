"""Figures of the benchmark."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from experiments.benchmark.config import Config
from experiments.problems.cost import draw_cost, known
from experiments.problems.task_metrics import name_of, names_of
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from experiments.runner.report import SINGLE, Row
from jaxmtl import plots


def draw(
  config: Config,
  rows: list[Row],
  single: Outcome,
  outcomes: Mapping[str, Outcome],
  folder: pathlib.Path,
  metrics: Mapping[str, str],
) -> dict[str, Figure]:
  """Writes all figures that the rows give, and returns them by file.

  `metrics` says what each task is judged by.
  """
  figures: dict[str, Figure] = {}
  if not is_main():
    return figures
  # Of all that will ever be here, so that partial figures have the colours of the last ones.
  methods = plots.palette([SINGLE, *config.methods])
  tasks = plots.palette(config.tasks, plots.DATA_COLORS)
  finished = [row for row in rows if not row["failure"] and known(row["delta_mtl"])]
  compared = finished[1:]  # without the baseline
  if compared:
    by_task = [row["values"]["relative_change"] for row in compared]
    # A task that is not counted may have no change: null in JSON.
    changes = np.array([[np.mean(np.array(c[t], float)) for t in config.tasks] for c in by_task])
    counted = [t not in config.not_counted for t in config.tasks]
    figures["heat_map.png"] = plots.plot_heat_map(
      folder / "heat_map.png",
      changes,
      [row["name"] for row in compared],
      [t if c else f"{t}*" for t, c in zip(config.tasks, counted, strict=True)],
      title=f"test {_measured(metrics)} against single-task training, relative change (%), mean of "
      f"{config.run.seeds} seed(s)" + ("" if all(counted) else "; * not in Delta_MTL"),
      limit=float(np.nanmax(np.abs(changes[:, counted]), initial=0)),
    )
  figures["cost.png"] = draw_cost(folder / "cost.png", finished, config.methods, config.run.seeds)
  if len(config.tasks) > 1:
    first, second = config.tasks[:2]
    values = {
      row["name"]: [row["values"][metrics[t]][t] for t in (first, second)] for row in finished
    }
    figures["trade_off.png"] = plots.plot_trade_off(
      folder / "trade_off.png",
      {name: (mine[0], mine[1]) for name, mine in values.items()},
      xlabel=f"{first}: test {_measured(metrics, first)}",
      ylabel=f"{second}: test {_measured(metrics, second)}",
      title="trade-off between two tasks",
      reference=SINGLE,
      colors=methods,
    )
  drawn = {name: o for name, o in outcomes.items() if not o.failure} or {SINGLE: single}
  for metric in dict.fromkeys(metrics.values()):
    measured = ("validation", metric)
    if not single.by_task(*measured):
      continue  # one's own data may have no validation part
    several = "" if len(set(metrics.values())) == 1 else f"_{metric}"
    figures[f"curves{several}.png"] = plots.plot_panels(
      folder / f"curves{several}.png",
      {name: outcome.by_task(*measured) for name, outcome in drawn.items()},
      xlabel="epoch",
      ylabel=f"validation {name_of(metric)}",
      title=f"a line a task; dotted: {SINGLE}",
      reference=single.by_task(*measured),
      reference_name=SINGLE,
      epochs={name: o.epochs_of(*measured) for name, o in {SINGLE: single, **drawn}.items()},
      colors=tasks,
    )
  return figures


def _measured(metrics: Mapping[str, str], task: str | None = None) -> str:
  """What is on an axis or in a title."""
  if task is not None:
    return name_of(metrics[task])
  return names_of(metrics, unit=False)
