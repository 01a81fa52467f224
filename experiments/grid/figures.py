"""Heat maps of the grid: architectures by methods, a figure a decoder and measure."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.colors
import matplotlib.figure
import matplotlib.ticker
import numpy as np

from experiments.grid.config import Config
from experiments.grid.models import Cell
from experiments.problems.properties import COLUMNS, VALUE
from experiments.runner.mesh import is_main
from experiments.runner.report import Row
from jaxmtl import data

Errors = Mapping[str, Mapping[str, float]]


def draw(
  config: Config,
  parts: data.PropertySplits,
  rows: Mapping[Cell, Row],
  baselines: Mapping[str, Errors],
  folder: pathlib.Path,
  partial: str | None = None,
) -> None:
  """Writes all heat maps.

  Colours mean the same for both decoders. What the data say sets their ends, not the models, whose
  differences may be small: accuracy from chance to all, errors from the training mean's.
  """
  if not is_main():
    return
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
      values = np.array(
        [
          [by_cell.get(Cell(a, m, decoder), np.nan) for m in config.methods]
          for a in config.architectures
        ]
      )
      figure = heat_map(
        values / (unit if column == "mse" else 1),
        config.architectures,
        config.methods,
        title=f"{parts.name}, test set, decoder {decoder}, {seeds}"
        + (f"\npartial: {partial}" if partial else ""),
        label=names[column],
        limits=ends[column],
        higher_is_better=column == "accuracy",
      )
      figure.savefig(folder / f"{column}_decoder{decoder}.png", dpi=150)


def _mean(row: Row, column: str) -> float:
  """Over seeds; infinite where training diverged."""
  if row["failure"]:
    return np.inf
  return float(np.mean(np.asarray(row["values"][column][COLUMNS[column]], float)))


def heat_map(
  values: np.ndarray,
  rows: Sequence[str],
  columns: Sequence[str],
  *,
  title: str,
  label: str,
  limits: tuple[float, float],
  higher_is_better: bool,
) -> matplotlib.figure.Figure:
  """Draws numbers as the paper's Figs. 2 to 5 do, the better the lighter.

  Args:
    values: float `[rows, columns]`; infinite where a model diverged, NaN where there is none yet.
    rows: names of architectures.
    columns: names of methods.
    title: above the figure.
    label: of the colour bar.
    limits: the numbers of the ends of the colours; errors, which may differ by orders of magnitude,
      get a logarithmic scale.
    higher_is_better: whether high numbers are light.
  """
  low, high = limits
  norm: Any = matplotlib.colors.Normalize(low, high)
  if not higher_is_better:
    norm = matplotlib.colors.LogNorm(low, high)
  colors = mpl.colormaps["viridis" if higher_is_better else "viridis_r"].with_extremes(bad="0.9")
  size = 2.6 + 0.62 * len(columns), 1.8 + 0.36 * len(rows)
  figure = matplotlib.figure.Figure(figsize=(max(size[0], 5.4), max(size[1], 3)))
  figure.set_layout_engine("constrained")
  axes = figure.subplots()
  image = axes.imshow(np.ma.masked_invalid(values), cmap=colors, norm=norm, aspect="auto")
  axes.set_xticks(range(len(columns)), columns)
  axes.tick_params("x", labelrotation=90 if len(columns) > 6 else 0)
  axes.set_yticks(range(len(rows)), rows)
  axes.tick_params(length=0)
  finite = values[np.isfinite(values)]
  digits = 1 if higher_is_better else _digits(finite.max(initial=0))
  for (row, column), value in np.ndenumerate(values):
    known = np.isfinite(value)
    light = known and np.dot(colors(norm(value))[:3], (0.3, 0.6, 0.1)) > 0.5
    text = f"{value:.{digits}f}" if known else "div." if np.isinf(value) else ""
    ink = "black" if light or not known else "white"
    axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
  below, above = (finite < low).any(), (finite > high).any()
  extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
  bar = figure.colorbar(image, extend=extend)
  bar.set_label(label, fontsize=8)
  if not higher_is_better:
    bar.ax.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("")
  figure.suptitle(title, fontsize=10)
  return figure


def _digits(largest: float) -> int:
  """After the decimal point, so that numbers have three digits or so."""
  return 0 if largest >= 1000 else 1 if largest >= 10 else 2
