"""Small figures in a grid with shared axes: a panel a method, in it a line a task."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.axes
import matplotlib.figure
import matplotlib.lines
import numpy as np

from jaxmtl.plots import _lines, _page
from jaxmtl.plots.colors import DATA_COLORS, looks


def plot_panels(
  path: str | pathlib.Path | None,
  panels: Mapping[str, Mapping[str, Any]],
  *,
  xlabel: str,
  ylabel: str,
  title: str = "",
  reference: Mapping[str, Any] | None = None,
  reference_name: str = "reference",
  baseline: float | Mapping[str, float] | None = None,
  epochs: Any = None,
  colors: Mapping[str, Any] | None = None,
) -> matplotlib.figure.Figure:
  """Draws one panel a method with one line a task, all with the same axes.

  Lines are means over seeds, in bands from the lowest to the highest seed.

  Args:
    path: of the file; None only returns the figure.
    panels: by method and task, float `[epochs]` or `[seeds, epochs]`. Of each epoch the seeds that
      are finite count; empty ones are left out.
    xlabel: label of the horizontal axes (epochs).
    ylabel: label of the vertical axes.
    title: above the figure.
    reference: by task, lines that are dotted in every panel.
    reference_name: of what these are, for the legend.
    baseline: height of a dashed horizontal line in every panel, or several by what they are.
    epochs: where points stand, whole or not, one for each, or these by panel, or by panel and task
      where lines of a panel differ, the reference's by `reference_name`; counted from 1 where None.
    colors: by task, see `palette`.

  Returns:
    The figure.

  Raises:
    ValueError: if there are more or fewer epochs than points.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.plots import plot_panels
    >>> lines = {"left": np.ones(5), "right": np.zeros((3, 5))}
    >>> figure = plot_panels(None, {"pcgrad": lines}, xlabel="epoch", ylabel="accuracy")
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['left', 'right']
  """
  reference = {t: np.atleast_2d(v).astype(float) for t, v in (reference or {}).items()}
  reference = {task: values for task, values in reference.items() if values.size}
  tasks = dict.fromkeys([*(task for lines in panels.values() for task in lines), *reference])
  # A history may have its tasks in another order than the folder's other figures.
  tasks = dict.fromkeys([*(task for task in colors or {} if task in tasks), *tasks])
  style = looks(tasks, colors, DATA_COLORS)
  figure, grid = panel_grid(len(panels), (1.9, 1.5))
  rows = 1 + max(map(_row, grid))
  deepest = max((_page.panel_name(name, 1.65)[0].count("\n") for name in panels), default=0)
  figure.set_figheight(figure.get_figheight() + 0.13 * deepest * rows)
  everywhere: list[float] = []
  handles: dict[str, matplotlib.lines.Line2D] = {}
  levels: dict[str, matplotlib.lines.Line2D] = {}
  arrays: list[np.ndarray] = list(reference.values())
  for axes, (name, lines) in zip(grid, panels.items(), strict=False):
    for task, given in lines.items():
      values = np.atleast_2d(given).astype(float)
      if not values.size:
        continue
      arrays.append(values)
      x = _lines.positions(epochs, (name, task), values.shape[1])
      everywhere += x.tolist()
      line, _ = _lines.draw_curve(axes, x, values, style[task], width=1.3, label=task)
      handles.setdefault(task, line)
    for task, values in reference.items():
      x = _lines.positions(epochs, (reference_name, task), values.shape[1])
      everywhere += x.tolist()
      # Above the methods' lines, which would hide it where both do alike.
      dotted = _lines.draw_curve(
        axes,
        x,
        values,
        style[task],
        width=1.5,
        shade=0.08,
        marked=False,
        ls=(0, (1, 1.3)),
        zorder=3,
        label=f"{task}: {reference_name}",
      )
      handles.setdefault(task, dotted[0])
    levels = _lines.draw_baselines(axes, baseline)
    _page.panel_title(axes, name, 1.65)
  for axes in grid:
    _page.bare(axes)
    _lines.epoch_axis(axes, everywhere, ticks=4)
    if axes.xaxis.get_tick_params()["labelbottom"]:  # the last one of its column
      axes.set_xlabel(xlabel, fontsize=8)
  handles = {task: handles[task] for task in tasks if task in handles}
  if reference:
    handles[reference_name] = matplotlib.lines.Line2D(
      [], [], color=_page.GREY, lw=1.5, ls=(0, (1, 1.3))
    )
  handles |= levels
  figure.supylabel(_page.wrapped(ylabel, figure.get_figheight() - 0.4, 9, words=True), fontsize=9)
  _legend_below(figure, handles, _lines.seeds_of(arrays))
  return _page.finish(figure, path, title)


def panel_grid(
  count: int, size: tuple[float, float], columns: int | None = None
) -> tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]:
  """A figure with so many panels of a size in inches, in a grid, with shared axes.

  Example:
    >>> from jaxmtl.plots import panel_grid
    >>> figure, panels = panel_grid(5, (2.0, 2.0), columns=3)
    >>> len(panels), len(figure.axes)
    (5, 5)
  """
  count = max(count, 1)
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


def _row(axes: matplotlib.axes.Axes) -> int:
  """Of a panel in its grid."""
  place = axes.get_subplotspec()
  return place.rowspan.start if place else 0


def _legend_below(
  figure: matplotlib.figure.Figure, handles: Mapping[str, matplotlib.lines.Line2D], note: str
) -> None:
  """A legend as wide as the figure allows, under it; the figure grows by its lines."""
  if not handles:
    return
  width = figure.get_figwidth() - 0.3
  labels = [_page.wrapped(name, width - 1, 8) for name in handles]
  columns = _page.legend_columns(labels, width, 8)
  note = _page.wrapped(note, width, 7.5, words=True)
  deepest = max(label.count("\n") + 1 for label in labels)
  rows = deepest * math.ceil(len(labels) / columns) + (note.count("\n") + 1 if note else 0)
  figure.set_figheight(figure.get_figheight() + 0.17 * (rows - 1))
  legend = figure.legend(
    list(handles.values()),
    labels,
    loc="outside lower center",
    ncols=columns,
    frameon=False,
    fontsize=8,
    title=note or None,
    title_fontsize=7.5,
  )
  legend.get_title().set_color(_page.GREY)
