"""Figures that compare many methods on several tasks, written as PNG files."""

from __future__ import annotations

import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib.axes
import matplotlib.colors
import matplotlib.figure
import matplotlib.ticker
import numpy as np

from jaxmtl.training.plots import COLORS


def plot_heat_map(
  path: str | pathlib.Path,
  values: np.ndarray,
  rows: Sequence[str],
  columns: Sequence[str],
  *,
  title: str = "",
  limit: float | None = None,
  digits: int = 1,
) -> None:
  """Draws a table of signed numbers: blue above zero, red below, the number in each cell.

  Colours follow the logarithm of the size beyond 1, so that one large entry does not fade the rest.

  Args:
    path: of the PNG file.
    values: float `[rows, columns]`; cells that are not finite stay empty.
    rows: names, for example of methods.
    columns: names, for example of tasks.
    title: above the figure.
    limit: what the full colour stands for, at least 1; the largest size where None.
    digits: after the decimal point.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.training.comparison import plot_heat_map
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   plot_heat_map(f"{folder}/a.png", np.array([[1.0, -2.0]]), ["a"], ["left", "right"])
  """
  finite = np.abs(values[np.isfinite(values)])
  limit = max(limit or float(finite.max(initial=0)), 1.0)
  turned = len(columns) > 8
  room = 0.08 * max(map(len, columns), default=0) if turned else 0
  size = 2.5 + (0.5 if turned else 0.95) * len(columns), 1.3 + 0.28 * len(rows) + room
  figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
  axes = figure.subplots()
  norm = matplotlib.colors.SymLogNorm(linthresh=1, vmin=-limit, vmax=limit)
  image = axes.imshow(values, cmap="RdBu", norm=norm, aspect="auto")
  axes.set_xticks(range(len(columns)), columns)
  if turned:
    axes.tick_params("x", labelrotation=90)
  axes.set_yticks(range(len(rows)), rows)
  axes.tick_params(length=0)
  for (row, column), value in np.ndenumerate(values):
    if np.isfinite(value):
      color = "white" if abs(norm(value) - 0.5) > 0.28 else "black"
      axes.text(
        column, row, f"{value:+.{digits}f}", ha="center", va="center", color=color, fontsize=8
      )
  powers = [10**k for k in range(math.floor(math.log10(limit)) + 1)]
  ticks = [*(-p for p in powers[::-1]), 0, *powers]
  bar = figure.colorbar(
    image, ticks=ticks, format="%+g", extend="both" if finite.max(initial=0) > limit else "neither"
  )
  bar.minorticks_off()
  figure.suptitle(title, fontsize=10)
  figure.savefig(path, dpi=150)


def plot_trade_off(
  path: str | pathlib.Path,
  points: Mapping[str, tuple[np.ndarray, np.ndarray]],
  *,
  xlabel: str,
  ylabel: str,
  title: str = "",
  reference: str | None = None,
) -> None:
  """Draws one point a method, its mean over seeds, with bars of a standard deviation.

  Names stand in a column at the right, in the points' order of height, with a line to each point:
  methods that do alike would hide each other's names otherwise.

  Args:
    path: of the PNG file.
    points: by method, two floats or `[seeds]` each.
    xlabel: label of the horizontal axis.
    ylabel: label of the vertical axis.
    title: above the figure.
    reference: the method at which thin lines cross.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.training.comparison import plot_trade_off
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   plot_trade_off(
    ...     f"{folder}/a.png", {"a": (np.ones(2), np.ones(2))}, xlabel="left", ylabel="right")
  """
  figure = matplotlib.figure.Figure(figsize=(8, max(3.5, 0.2 * len(points) + 1)))
  axes = figure.add_axes((0.09, 0.13, 0.66, 0.78))
  values = {name: [np.ravel(v) for v in pair] for name, pair in points.items()}
  means = {name: (x.mean(), y.mean()) for name, (x, y) in values.items()}
  for index, (name, (x, y)) in enumerate(values.items()):
    spread = [v.std(ddof=1) if len(v) > 1 else 0 for v in (x, y)]
    axes.errorbar(
      *means[name],
      xerr=spread[0] or None,
      yerr=spread[1] or None,
      color=COLORS[index % len(COLORS)],
      fmt="s" if name == reference else "o",
      markersize=5,
      elinewidth=0.6,
      alpha=0.9,
    )
  if reference is not None:
    axes.axvline(means[reference][0], color="0.7", lw=0.8, zorder=0)
    axes.axhline(means[reference][1], color="0.7", lw=0.8, zorder=0)
  order = sorted(means, key=lambda name: means[name][::-1])
  for place, name in enumerate(order):
    axes.annotate(
      name,
      means[name],
      xytext=(1.04, (place + 0.5) / len(order)),
      textcoords="axes fraction",
      va="center",
      fontsize=8,
      color=COLORS[list(values).index(name) % len(COLORS)],
      arrowprops={
        "arrowstyle": "-",
        "color": "0.8",
        "lw": 0.5,
        "shrinkB": 3,
        "relpos": (0, 0.5),
        "zorder": 0,
      },
    )
  axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
  axes.spines[["top", "right"]].set_visible(False)
  figure.savefig(path, dpi=150)


def plot_panels(
  path: str | pathlib.Path,
  panels: Mapping[str, Mapping[str, np.ndarray]],
  *,
  xlabel: str,
  ylabel: str,
  title: str = "",
  reference: Mapping[str, np.ndarray] | None = None,
) -> None:
  """Draws one panel a method with one line a task, all with the same axes.

  Args:
    path: of the PNG file.
    panels: by method and task, float `[epochs]` or `[seeds, epochs]`, of which the mean is drawn.
    xlabel: label of the horizontal axes (epochs, counted from 1).
    ylabel: label of the vertical axes.
    title: above the figure.
    reference: by task, lines that are dashed in every panel.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.training.comparison import plot_panels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   plot_panels(
    ...     f"{folder}/a.png", {"pcgrad": {"left": np.ones(5)}}, xlabel="epoch", ylabel="accuracy")
  """
  figure, grid = panel_grid(len(panels), (1.9, 1.5))
  tasks = list(dict.fromkeys(task for lines in panels.values() for task in lines))
  colors = dict(zip(tasks, itertools.cycle(COLORS), strict=False))
  handles = {}
  for axes, (name, lines) in zip(grid, panels.items(), strict=True):
    for task, values in (reference or {}).items():
      mean = np.atleast_2d(values).mean(0)
      axes.plot(np.arange(1, len(mean) + 1), mean, color=colors[task], lw=0.8, ls=":")
    for task, values in lines.items():
      mean = np.atleast_2d(values).mean(0)
      marker = "." if len(mean) == 1 else None
      handles[task] = axes.plot(
        np.arange(1, len(mean) + 1), mean, color=colors[task], lw=1.2, marker=marker
      )[0]
    axes.set_title(name, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, integer=True))
    if axes.xaxis.get_tick_params()["labelbottom"]:
      axes.set_xlabel(xlabel, fontsize=8)
  figure.supylabel(ylabel, fontsize=9)
  figure.suptitle(title, fontsize=10)
  figure.legend(
    list(handles.values()),
    list(handles),
    loc="outside lower center",
    ncols=min(len(tasks), max(2, int(figure.get_figwidth() / 1.3))),
    fontsize=8,
    frameon=False,
  )
  figure.savefig(path, dpi=150)


def panel_grid(
  count: int, size: tuple[float, float], columns: int | None = None
) -> tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]:
  """A figure with so many panels of a size in inches, in a grid, with shared axes.

  Example:
    >>> from jaxmtl.training.comparison import panel_grid
    >>> figure, panels = panel_grid(5, (2.0, 2.0), columns=3)
    >>> len(panels), len(figure.axes)
    (5, 5)
  """
  columns = min(count, columns or max(3, math.ceil(math.sqrt(count * 1.2))))
  rows = math.ceil(count / columns)
  figure = matplotlib.figure.Figure(
    figsize=(max(4.0, columns * size[0]), max(2.5, rows * size[1] + 0.9)), layout="constrained"
  )
  grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
  panels = list(grid.ravel())
  for index, axes in enumerate(panels):
    axes.tick_params(labelsize=7, labelbottom=index + columns >= count)
    if index >= count:
      axes.remove()
  return figure, panels[:count]
