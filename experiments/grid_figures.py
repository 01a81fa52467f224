"""Heat maps of the grid: architectures by methods, a figure a decoder and measure."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.colors
import matplotlib.figure
import numpy as np


def draw_heat_map(
  path: pathlib.Path,
  values: np.ndarray,
  rows: Sequence[str],
  columns: Sequence[str],
  *,
  title: str,
  label: str,
  limits: tuple[float, float],
  higher_is_better: bool,
  digits: int,
) -> None:
  """Draws numbers as the paper's Figs. 2 to 5 do, the better the lighter.

  Args:
    path: of the PNG file.
    values: float `[rows, columns]`; cells without a number are grey.
    rows: names of architectures.
    columns: names of methods.
    title: above the figure.
    label: of the colour bar.
    limits: the numbers of the darkest and lightest colour, in either order; errors, which may
      differ by orders of magnitude, get a logarithmic scale.
    higher_is_better: whether high numbers are light.
    digits: after the decimal point.
  """
  low, high = min(limits), max(limits)
  scale = matplotlib.colors.Normalize if higher_is_better else matplotlib.colors.LogNorm
  norm = scale(low, high if high > low else 1.01 * low + 1e-9)
  colors = mpl.colormaps["viridis" if higher_is_better else "viridis_r"].with_extremes(bad="0.85")
  size = 2.4 + 0.62 * len(columns), 1.6 + 0.36 * len(rows)
  figure = matplotlib.figure.Figure(figsize=(max(size[0], 5.0), size[1]), layout="constrained")
  axes = figure.subplots()
  image = axes.imshow(np.ma.masked_invalid(values), cmap=colors, norm=norm, aspect="auto")
  axes.set_xticks(range(len(columns)), columns)
  axes.tick_params("x", labelrotation=90 if len(columns) > 6 else 0)
  axes.set_yticks(range(len(rows)), rows)
  axes.tick_params(length=0)
  for (row, column), value in np.ndenumerate(values):
    known = np.isfinite(value)
    light = known and np.dot(colors(norm(value))[:3], (0.3, 0.6, 0.1)) > 0.5
    axes.text(
      column,
      row,
      f"{value:.{digits}f}" if known else "-",
      ha="center",
      va="center",
      color="black" if light or not known else "white",
      fontsize=8,
    )
  bar = figure.colorbar(image, label=label)
  if not higher_is_better:
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else "")
  figure.suptitle(title, fontsize=10)
  figure.savefig(path, dpi=150)
