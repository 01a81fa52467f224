"""Heat maps of the grid: architectures by methods, a figure a decoder and measure."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from experiments.grid.config import Config
from experiments.grid.models import Cell
from experiments.problems.properties import COLUMNS, VALUE
from experiments.runner.mesh import is_main
from experiments.runner.report import Row
from jaxmtl import data, plots

Errors = Mapping[str, Mapping[str, float]]


def draw(
  config: Config,
  parts: data.PropertySplits,
  rows: Mapping[Cell, Row],
  baselines: Mapping[str, Errors],
  folder: pathlib.Path,
  partial: str | None = None,
) -> dict[str, Figure]:
  """Writes all heat maps, the better the lighter, and returns them by file.

  Colours mean the same for both decoders. What the data say sets their ends, not the models, whose
  differences may be small: accuracy from chance to all, errors from the training mean's.
  """
  figures: dict[str, Figure] = {}
  if not is_main():
    return figures
  overall, of_class = (errors["mse"][VALUE] for errors in baselines.values())
  chance = 100 * np.bincount(parts.test.classes).max() / len(parts.test)
  means = {c: {cell: _mean(row, c) for cell, row in rows.items()} for c in ("accuracy", "mse")}
  errors = [value for value in means["mse"].values() if np.isfinite(value)]
  # The paper gives squared errors in thousands.
  unit = 1000.0 if max([overall, *errors]) >= 100_000 else 1.0
  ends = {
    "accuracy": (chance, 100.0),
    "mse": (min([of_class, *errors]) / unit, overall / unit),
  }
  names = {
    "accuracy": "accuracy (%); darkest: the most frequent class",
    "mse": f"MSE{' / 1000' if unit > 1 else ''}; darkest: the training mean",
  }
  seeds = (
    f"{config.run.seeds} seed" if config.run.seeds == 1 else f"mean of {config.run.seeds} seeds"
  )
  for column, by_cell in means.items():
    for decoder in config.decoders:
      # NaN where there is no model yet.
      values = np.array(
        [
          [by_cell.get(Cell(a, m, decoder), np.nan) for m in config.methods]
          for a in config.architectures
        ]
      )
      file = f"{column}_decoder{decoder}.png"
      figures[file] = plots.plot_levels(
        folder / file,
        values / (unit if column == "mse" else 1),
        config.architectures,
        config.methods,
        title=f"{parts.name}, test set, decoder {decoder}, {seeds}"
        + (f"\npartial: {partial}" if partial else ""),
        label=names[column],
        limits=ends[column],
        lower_is_better=column == "mse",
      )
  return figures


def _mean(row: Row, column: str) -> float:
  """Over seeds; infinite where training diverged."""
  if row["failure"]:
    return np.inf
  return float(np.mean(np.asarray(row["values"][column][COLUMNS[column]], float)))
