"""Tables of the grid."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.grid import figures, paper
from experiments.grid.config import Config
from experiments.grid.models import Cell
from experiments.problems.properties import COLUMNS, ERRORS, baselines
from experiments.problems.property_tables import (
  baseline_cells,
  cells,
  error_cells,
  header,
  minutes,
)
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import Row
from jaxmtl import data
from jaxmtl.training.results import Table

Rows = Mapping[Cell, Row]


def write(
  config: Config,
  parts: data.PropertySplits,
  outcomes: Mapping[Cell, Outcome],
  folder: pathlib.Path,
  partial: str | None = None,
) -> dict[str, Any]:
  """Writes table, heat maps and results of what there is so far."""
  rows = {cell: report.row(cell.title, outcome) for cell, outcome in outcomes.items()}
  trivial = baselines(parts)
  texts = [cells(row) for row in rows.values()]
  texts += [baseline_cells(name, errors) for name, errors in trivial.items()]
  texts += [row for row in (best_by_column(rows, decoder) for decoder in config.decoders) if row]
  if config.images.published:
    texts += [paper.BEST[decoder] for decoder in config.decoders]
  summary = report.write_report(
    folder,
    "grid",
    dataclasses.asdict(config),
    list(rows.values()),
    [Table(_title(config, parts), header(config.run.seeds), texts)],
    conclusions=_conclusions(rows),
    partial=partial,
    models=[cell._asdict() for cell in rows],
    baselines=trivial,
  )
  figures.draw(config, parts, rows, trivial, folder, partial)
  return summary


def _title(config: Config, parts: data.PropertySplits) -> str:
  size = parts.train.images.shape[1]
  return (
    f"Grid: {parts.name}, {parts.property_name}{', standardised' if config.standardise else ''}, "
    f"{len(parts.train)} images of {size} px, {config.network.describe()}, "
    f"{config.training.epochs} epochs, {config.step.schedule} schedule, {config.run.seeds} "
    "seed(s): test set after the last epoch"
  )


def errors(row: Row, column: str) -> np.ndarray:
  """By seed; empty where training diverged."""
  return np.asarray(row["values"].get(column, {}).get(COLUMNS[column], []), float)


def mean(row: Row, column: str) -> float:
  """Over seeds; infinite where training diverged."""
  found = errors(row, column)
  return float(found.mean()) if found.size else float("inf")


def best_by_column(rows: Rows, decoder: int) -> list[str]:
  """Best errors by column, each of another model, and minutes a model, as the paper's Table 1."""
  family = [row for cell, row in rows.items() if cell.decoder == decoder]
  finished = [row for row in family if not row["failure"]]
  if not finished:
    return []
  best = {
    column: {task: [_best(column)([mean(row, column) for row in finished])]}
    for column, task in COLUMNS.items()
  }
  took = np.array([row["minutes"] for row in family])
  spread = f" ± {minutes(took.std(ddof=1))}" if len(took) > 1 else ""
  return [f"best by column, decoder {decoder}", *error_cells(best), minutes(took.mean()) + spread]


def _best(column: str) -> Any:
  return min if ERRORS[column].lower_is_better else max


def _conclusions(rows: Rows) -> list[str]:
  """The best model against equal weights on the plain architecture, where both are there."""
  finished = {cell: row for cell, row in rows.items() if not row["failure"]}
  plain = next((c for c in finished if (c.architecture, c.method) == ("hps", "EW")), None)
  others = [cell for cell in finished if cell != plain]
  if plain is None or not others:
    return []
  sentences = []
  for column, what, digits in (("accuracy", "accuracy (%)", 2), ("mse", "MSE", 0)):
    best = _best(column)(others, key=lambda cell, c=column: mean(finished[cell], c))
    sentences.append(
      report.compared(
        f"test {what}, best of {len(others)} other models",
        *(f"'{best.title}'", errors(finished[best], column)),
        *(f"'{plain.title}'", errors(finished[plain], column)),
        digits=digits,
      )
    )
  return sentences
