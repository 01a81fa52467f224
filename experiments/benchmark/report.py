"""Tables of the benchmark."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.benchmark import figures
from experiments.benchmark.config import Config
from experiments.benchmark.figures import known
from experiments.problems.task_metrics import LOWER_IS_BETTER, columns, names_of, task_cell
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import SINGLE, Row, cell
from jaxmtl.training.results import Table


def write(
  config: Config,
  outcomes: Mapping[str, Outcome],
  folder: pathlib.Path,
  partial: str | None = None,
  metrics: Mapping[str, str] | None = None,
) -> dict[str, Any]:
  """Writes table, figures and results of what there is so far; nothing before the baselines.

  Args:
    config: the options.
    outcomes: by name of the job.
    folder: where files go.
    partial: what there is so far, or None when all is there.
    metrics: what each task is judged by; accuracy where None.
  """
  metrics = metrics or dict.fromkeys(config.tasks, "accuracy")
  singles = {t: outcomes[f"single_{t}"] for t in config.tasks if f"single_{t}" in outcomes}
  if len(singles) < len(config.tasks):
    return {}
  single = report.together(SINGLE, singles)
  if single.failure:
    raise ValueError(f"the baseline of task {single.failure}: nothing can be compared with it.")
  methods = {name: outcomes[name] for name in config.methods if name in outcomes}
  rows = [_row(config, name, o, single, metrics) for name, o in {SINGLE: single, **methods}.items()]
  summary = report.write_report(
    folder,
    "benchmark",
    dataclasses.asdict(config),
    rows,
    [_table(config, rows, metrics)],
    conclusions=_conclusions(config, rows),
    partial=partial,
  )
  figures.draw(config, rows, single, methods, folder, metrics)
  return summary


def _row(
  config: Config, name: str, outcome: Outcome, single: Outcome, metrics: Mapping[str, str]
) -> Row:
  further: dict[str, Any] = {}
  changes = report.changes(outcome, single, config.tasks, metrics, LOWER_IS_BETTER)
  if changes is not None:
    further = {
      "relative_change": {t: changes[:, i] for i, t in enumerate(config.tasks)},
      "delta_mtl_all_tasks": {"all": changes.mean(-1)},
    }
  delta = report.against(outcome, single, config.counted, metrics, LOWER_IS_BETTER)
  return report.row(name, outcome, further=further, delta=delta)


def _table(config: Config, rows: list[Row], metrics: Mapping[str, str]) -> Table:
  header = _header(config, metrics)
  return Table(_title(config, metrics), header, [_cells(config, row, metrics) for row in rows])


def _title(config: Config, metrics: Mapping[str, str]) -> str:
  architecture = "" if config.architecture == "hps" else f"{config.architecture} of "
  data = f"Images of {config.digits.dataset}" if config.own else config.digits.describe()
  chosen = "the last epoch" if config.patience is None else "the epoch best on validation"
  return (
    f"{data}, {architecture}{config.network.describe()}, "
    f"{config.training.epochs} epochs, {config.run.seeds} seed(s): test {names_of(metrics)} after "
    f"{chosen}, Delta_MTL over {', '.join(config.counted)}; Adam, learning rate "
    f"{config.training.learning_rate:g} for every method"
  )


def _header(config: Config, metrics: Mapping[str, str]) -> list[str]:
  uncounted = [t for t in config.tasks if t in config.not_counted]
  with_all = [f"Delta_MTL with {', '.join(uncounted)} (%)"] if uncounted else []
  steps = f"ms a step, {config.run.seeds} seed(s)"
  return ["method", *columns(metrics, config.tasks), "Delta_MTL (%)", *with_all, steps]


def _cells(config: Config, row: Row, metrics: Mapping[str, str]) -> list[str]:
  if row["failure"]:
    return [row["name"], "diverged", *["-"] * (len(_header(config, metrics)) - 2)]
  values = [task_cell(row, metrics, t) for t in config.tasks]
  deltas = [row["delta_mtl"]]
  if len(config.counted) < len(config.tasks):
    deltas.append(row["values"]["delta_mtl_all_tasks"]["all"])
  texts = ["0" if row["name"] == SINGLE else cell(delta) for delta in deltas]
  return [row["name"], *values, *texts, f"{row['ms_per_step']:.1f}"]


def _conclusions(config: Config, rows: list[Row]) -> list[str]:
  """The method with the highest Delta_MTL against equal weights, where both are there."""
  finished = {row["name"]: row["delta_mtl"] for row in rows[1:] if known(row)}
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
