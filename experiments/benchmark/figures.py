"""Figures of the benchmark."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from experiments.benchmark.config import Config
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from experiments.runner.report import SINGLE, Row
from jaxmtl.training import comparison


def draw(
  config: Config,
  rows: list[Row],
  single: Outcome,
  outcomes: Mapping[str, Outcome],
  folder: pathlib.Path,
) -> None:
  """Writes all figures that the rows give."""
  if not is_main():
    return
  finished = [row for row in rows if not row["failure"]]
  compared = finished[1:]  # without the baseline
  if compared:
    changes = np.array(
      [[np.mean(row["values"]["relative_change"][t]) for t in config.tasks] for row in compared]
    )
    counted = [t not in config.not_counted for t in config.tasks]
    comparison.plot_heat_map(
      folder / "heat_map.png",
      changes,
      [row["name"] for row in compared],
      [t if c else f"{t}*" for t, c in zip(config.tasks, counted, strict=True)],
      title="accuracy against single-task training,\nrelative change (%)"
      + ("" if all(counted) else "; * not in Delta_MTL"),
      limit=max(float(np.abs(changes[:, counted]).max()), 1e-3),
    )
  comparison.plot_trade_off(
    folder / "cost.png",
    {row["name"]: (row["ms_per_step"], row["delta_mtl"]) for row in finished},
    xlabel=f"time a step of {config.run.seeds} seed(s) (ms)",
    ylabel="Delta_MTL (%)",
    title="gain against cost",
    reference=SINGLE,
  )
  if len(config.tasks) > 1:
    first, second = config.tasks[:2]
    accuracies = {row["name"]: row["values"]["accuracy"] for row in finished}
    comparison.plot_trade_off(
      folder / "trade_off.png",
      {name: (values[first], values[second]) for name, values in accuracies.items()},
      xlabel=f"{first}: test accuracy (%)",
      ylabel=f"{second}: test accuracy (%)",
      title="trade-off between two tasks",
      reference=SINGLE,
    )
  curves = {
    name: outcome.by_task("validation", "accuracy")
    for name, outcome in outcomes.items()
    if not outcome.failure
  }
  alone = single.by_task("validation", "accuracy")
  comparison.plot_panels(
    folder / "curves.png",
    curves or {SINGLE: alone},
    xlabel="epoch",
    ylabel="validation accuracy (%)",
    title="mean over seeds; dotted: single-task training",
    reference=alone,
  )
