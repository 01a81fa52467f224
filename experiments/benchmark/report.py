"""Tables of the benchmark."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.benchmark import figures
from experiments.benchmark.config import Config
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import SINGLE, Row, cell
from jaxmtl.training.results import Table, relative_change


def write(
  config: Config, outcomes: Mapping[str, Outcome], folder: pathlib.Path, partial: str | None = None
) -> dict[str, Any]:
  """Writes table, figures and results of what there is so far; nothing before the baselines."""
  singles = {t: outcomes[f"single_{t}"] for t in config.tasks if f"single_{t}" in outcomes}
  if len(singles) < len(config.tasks):
    return {}
  single = report.together(SINGLE, singles)
  methods = {name: outcomes[name] for name in config.methods if name in outcomes}
  rows = [_row(config, name, o, single) for name, o in {SINGLE: single, **methods}.items()]
  summary = report.write_report(
    folder,
    "benchmark",
    dataclasses.asdict(config),
    rows,
    [Table(_title(config), _header(config), [_cells(config, row) for row in rows])],
    conclusions=_conclusions(config, rows),
    partial=partial,
  )
  figures.draw(config, rows, single, methods, folder)
  return summary


def _row(config: Config, name: str, outcome: Outcome, single: Outcome) -> Row:
  further: dict[str, Any] = {}
  if not outcome.failure:
    everything = report.against(outcome, single, config.tasks)
    mine, alone = (
      np.stack([o.values["accuracy"][t] for t in config.tasks], -1) for o in (outcome, single)
    )
    changes = relative_change(mine, alone)
    further = {
      "relative_change": {t: changes[:, i] for i, t in enumerate(config.tasks)},
      "delta_mtl_all_tasks": {"all": everything},
    }
  delta = report.against(outcome, single, config.counted)
  return report.row(name, outcome, further=further, delta=delta)


def _title(config: Config) -> str:
  architecture = "" if config.architecture == "hps" else f"{config.architecture} of "
  return (
    f"{config.digits.describe()}, {architecture}{config.network.describe()}, "
    f"{config.training.epochs} epochs, {config.run.seeds} seed(s): test accuracy (%) after the "
    f"last epoch, Delta_MTL over {', '.join(config.counted)}; Adam, learning rate "
    f"{config.training.learning_rate:g} for every method"
  )


def _header(config: Config) -> list[str]:
  uncounted = [t for t in config.tasks if t in config.not_counted]
  with_all = [f"Delta_MTL with {', '.join(uncounted)} (%)"] if uncounted else []
  steps = f"ms a step, {config.run.seeds} seed(s)"
  return ["method", *config.tasks, "Delta_MTL (%)", *with_all, steps]


def _cells(config: Config, row: Row) -> list[str]:
  columns = len(_header(config))
  if row["failure"]:
    return [row["name"], "diverged", *["-"] * (columns - 2)]
  accuracy = [cell(row["values"]["accuracy"][t]) for t in config.tasks]
  deltas = [row["delta_mtl"]]
  if len(config.counted) < len(config.tasks):
    deltas.append(row["values"]["delta_mtl_all_tasks"]["all"])
  texts = ["0" if row["name"] == SINGLE else cell(values) for values in deltas]
  return [row["name"], *accuracy, *texts, f"{row['ms_per_step']:.1f}"]


def _conclusions(config: Config, rows: list[Row]) -> list[str]:
  """The method with the highest Delta_MTL against equal weights, where both are there."""
  finished = {row["name"]: row["delta_mtl"] for row in rows[1:] if not row["failure"]}
  others = [name for name in finished if name != "equal"]
  if "equal" not in finished or not others:
    return []
  best = max(others, key=lambda name: np.mean(finished[name]))
  sentence = report.compared(
    f"Delta_MTL over {', '.join(config.counted)}, highest of {len(others)} methods",
    *(best, finished[best]),
    *("equal", finished["equal"]),
    unit=" %",
  )
  return [sentence]
