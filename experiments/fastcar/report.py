"""Tables of the FastCAR experiment."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.fastcar import paper
from experiments.fastcar.config import NAMES, Config
from experiments.problems.properties import COLUMNS, baselines
from experiments.problems.property_tables import baseline_cells, cells, header
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import Row
from jaxmtl import data, labels
from jaxmtl.training.results import Table


def write(
  config: Config,
  parts: data.PropertySplits,
  outcomes: Mapping[str, Outcome],
  trials: Mapping[str, Sequence[labels.Trial]],
  folder: pathlib.Path,
  partial: str | None = None,
) -> dict[str, Any]:
  """Writes table and results of what there is so far.

  Args:
    config: the options.
    parts: the data.
    outcomes: by approach.
    trials: of one-epoch tests, by approach.
    folder: where they go.
    partial: what there is, where it is not all.
  """
  rows = {name: _row(config, name, outcome) for name, outcome in outcomes.items()}
  trivial = baselines(parts)
  texts = [cells(row) for row in rows.values()]
  texts += [baseline_cells(name, errors) for name, errors in trivial.items()]
  if config.images.published:
    texts += [paper.cells(name) for name in paper.FIGURES]
  return report.write_report(
    folder,
    "fastcar",
    dataclasses.asdict(config),
    list(rows.values()),
    [Table(_title(config, parts), header(config.run.seeds), texts)],
    conclusions=_conclusions(rows),
    partial=partial,
    one_epoch_test={n: [trial._asdict() for trial in found] for n, found in trials.items()},
    baselines=trivial,
  )


def _row(config: Config, name: str, outcome: Outcome) -> Row:
  published = paper.FIGURES["FastCAR"] if name == "fastcar" and config.images.published else None
  return report.row(NAMES[name], outcome, paper=published)


def _title(config: Config, parts: data.PropertySplits) -> str:
  size = parts.train.images.shape[1]
  return (
    f"FastCAR: {parts.name}, {parts.property_name}, {len(parts.train)} images of {size} px, "
    f"{config.network.describe()}, {config.training.epochs} epochs, {config.step.schedule} "
    f"schedule, {config.run.seeds} seed(s): test set after the last epoch; ± is the deviation over "
    "seeds"
  )


def _conclusions(rows: Mapping[str, Row]) -> list[str]:
  """Hybrid labels against each form of multi-task learning, by class and by property."""
  finished = {name: row for name, row in rows.items() if not row["failure"]}
  return [
    report.compared(
      what,
      *(NAMES[mine], finished[mine]["values"][metric][COLUMNS[metric]]),
      *(NAMES[other], finished[other]["values"][metric][COLUMNS[metric]]),
      unit=" %",
      digits=2,
    )
    for mine in ("fastcar", "fastcar_scaled")
    for other in ("standardised", "plain")
    if mine in finished and other in finished
    for metric, what in (("accuracy", "accuracy"), ("mape", "MAPE"))
  ]
