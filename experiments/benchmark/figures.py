"""Figures of the benchmark."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from experiments.benchmark.config import Config
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
) -> dict[str, Figure]:
  """Writes all figures that the rows give, and returns them by file."""
  figures: dict[str, Figure] = {}
  if not is_main():
    return figures
  # Of all that will ever be here, so that partial figures have the colours of the last ones.
  methods = plots.palette([SINGLE, *config.methods])
  tasks = plots.palette(config.tasks, plots.DATA_COLORS)
  finished = [row for row in rows if not row["failure"]]
  compared = finished[1:]  # without the baseline
  if compared:
    changes = np.array(
      [[np.mean(row["values"]["relative_change"][t]) for t in config.tasks] for row in compared]
    )
    counted = [t not in config.not_counted for t in config.tasks]
    figures["heat_map.png"] = plots.plot_heat_map(
      folder / "heat_map.png",
      changes,
      [row["name"] for row in compared],
      [t if c else f"{t}*" for t, c in zip(config.tasks, counted, strict=True)],
      title=f"test accuracy against single-task training, relative change (%), mean of "
      f"{config.run.seeds} seed(s)" + ("" if all(counted) else "; * not in Delta_MTL"),
      limit=float(np.abs(changes[:, counted]).max()),
    )
  figures["cost.png"] = plots.plot_trade_off(
    folder / "cost.png",
    {row["name"]: (row["ms_per_step"], row["delta_mtl"]) for row in finished},
    xlabel=f"time a step of {config.run.seeds} seed(s) (ms)",
    ylabel="Delta_MTL (%)",
    title="gain against cost",
    reference=SINGLE,
    colors=methods,
  )
  if len(config.tasks) > 1:
    first, second = config.tasks[:2]
    accuracies = {row["name"]: row["values"]["accuracy"] for row in finished}
    figures["trade_off.png"] = plots.plot_trade_off(
      folder / "trade_off.png",
      {name: (values[first], values[second]) for name, values in accuracies.items()},
      xlabel=f"{first}: test accuracy (%)",
      ylabel=f"{second}: test accuracy (%)",
      title="trade-off between two tasks",
      reference=SINGLE,
      colors=methods,
    )
  measured = ("validation", "accuracy")
  drawn = {name: o for name, o in outcomes.items() if not o.failure} or {SINGLE: single}
  figures["curves.png"] = plots.plot_panels(
    folder / "curves.png",
    {name: outcome.by_task(*measured) for name, outcome in drawn.items()},
    xlabel="epoch",
    ylabel="validation accuracy (%)",
    title=f"a line a task; dotted: {SINGLE}",
    reference=single.by_task(*measured),
    reference_name=SINGLE,
    epochs={name: o.epochs_of(*measured) for name, o in {SINGLE: single, **drawn}.items()},
    colors=tasks,
  )
  return figures
