"""Tables in colour: signed numbers, and levels."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib.colors
import matplotlib.figure
import matplotlib.ticker
import numpy as np

from jaxmtl.plots import _page


def plot_heat_map(
  path: str | pathlib.Path | None,
  values: Any,
  rows: Sequence[str],
  columns: Sequence[str],
  *,
  title: str = "",
  limit: float | None = None,
  floor: float = 5.0,
  digits: int = 1,
) -> matplotlib.figure.Figure:
  """Draws a table of signed numbers: blue above zero, red below, the number in each cell.

  Colours are linear up to `floor` and follow the logarithm of the size beyond, so that one large
  entry does not fade the rest; and they never take less than `floor` for the full range, so that
  what differs as little as seeds do looks as little different as it is.

  Args:
    path: of the file; None only returns the figure.
    values: float `[rows, columns]`; NaN, where there is none, gives a dash on grey; infinity, where
      training diverged, "div.".
    rows: names, for example of methods.
    columns: names, for example of tasks.
    title: above the figure.
    limit: what the full colour stands for; the largest size where None. At least `floor`.
    floor: a size that is worth a colour: 5 suits percent and points of accuracy.
    digits: after the decimal point.

  Returns:
    The figure.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.plots import plot_heat_map
    >>> figure = plot_heat_map(None, np.array([[1.0, -20.0]]), ["a"], ["left", "right"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['+1.0', '-20.0']
  """
  values = np.asarray(values, float)
  finite = np.abs(values[np.isfinite(values)])
  largest = float(finite.max(initial=0))
  limit = max(largest if limit is None else limit, floor)
  # A linear part of one decade's length.
  norm = matplotlib.colors.SymLogNorm(linthresh=floor, vmin=-limit, vmax=limit)
  figure, axes, image = _table(
    values,
    rows,
    columns,
    matplotlib.colormaps["RdBu"],
    norm,
    f"{{:+z.{digits}f}}",  # z: no minus before 0
  )
  # Two digits of it, towards zero: a tick beyond the limit would not be drawn.
  unit = 10.0 ** (math.floor(math.log10(limit)) - 1)
  powers = [10.0**k for k in range(math.floor(math.log10(floor)), math.ceil(math.log10(limit)) + 1)]
  wanted = [floor, *(power for power in powers[::-1] if floor <= power <= limit)]
  sizes: list[float] = []
  apart = 0.16 / max(0.27 * len(rows), 0.8)  # of ticks, in lengths of the bar
  for size in (math.floor(limit / unit + 1e-9) * unit, *wanted):
    places = [0.5, *(float(norm(s)) for s in sizes)]
    if min(abs(norm(size) - place) for place in places) >= apart:
      sizes.append(size)
  bar = figure.colorbar(
    image,
    ax=axes,
    ticks=sorted([0.0, *sizes, *(-size for size in sizes)]),
    format=lambda size, _: f"{size:+.6g}" if size else "0",
    extend="both" if largest > limit else "neither",
  )
  bar.ax.tick_params(labelsize=8)
  bar.minorticks_off()
  return _page.finish(figure, path, title)


def plot_levels(
  path: str | pathlib.Path | None,
  values: Any,
  rows: Sequence[str],
  columns: Sequence[str],
  *,
  title: str = "",
  label: str = "",
  floor: float = 0.0,
  limits: tuple[float, float] | None = None,
  lower_is_better: bool = False,
  digits: int | None = None,
) -> matplotlib.figure.Figure:
  """Draws a table of numbers without a zero between them, the better the lighter.

  Args:
    path: of the file; None only returns the figure.
    values: float `[rows, columns]`; not finite ones as in `plot_heat_map`.
    rows: names, for example of architectures.
    columns: names, for example of methods.
    title: above the figure.
    label: of the colour bar.
    floor: the least difference between the darkest and the lightest colour: what seeds may differ
      by should not look like much. Of errors, which get a logarithmic scale, the least ratio less
      1, so that .1 is ten percent.
    limits: the numbers of the darkest and lightest colour, in either order, so that several figures
      have one scale; lowest and highest where None. Numbers beyond have the colour of the end, and
      the bar an arrow.
    lower_is_better: whether numbers are errors.
    digits: after the decimal point; those with which the largest number has three where None.

  Returns:
    The figure.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.plots import plot_levels
    >>> figure = plot_levels(None, np.array([[91.0, 91.5]]), ["hps"], ["equal", "cagrad"], floor=10)
    >>> figure.axes[0].images[0].get_clim()
    (86.25, 96.25)
  """
  values = np.asarray(values, float)
  finite = values[np.isfinite(values)]
  ends = limits if limits is not None else (finite if finite.size else np.ones(1))
  low, high = float(np.min(ends)), float(np.max(ends))
  logarithmic = lower_is_better and min([low, *finite]) > 0
  if logarithmic:
    wider = math.sqrt(max(1, (1 + max(floor, 1e-6)) * low / high))
    low, high = low / wider, high * wider
  else:
    wider = max(0.0, max(floor, 1e-6) - (high - low)) / 2
    low, high = low - wider, high + wider
  norm = (matplotlib.colors.LogNorm if logarithmic else matplotlib.colors.Normalize)(low, high)
  cmap = matplotlib.colormaps["viridis_r" if lower_is_better else "viridis"]
  if digits is None:
    largest = float(np.abs(finite).max(initial=0))
    digits = 0 if largest >= 1000 else 1 if largest >= 10 else 2 if largest >= 1 else 3
  figure, axes, image = _table(values, rows, columns, cmap, norm, f"{{:.{digits}f}}")
  beyond = bool((finite < low).any()), bool((finite > high).any())
  extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[beyond]
  bar = figure.colorbar(image, ax=axes, extend=extend)
  bar.set_label(_page.wrapped(label, figure.get_figheight() - 0.6, 9, words=True), fontsize=9)
  bar.ax.tick_params(labelsize=8, which="both")
  if logarithmic:
    bar.ax.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("{x:g}" if high < 2 * low else "")
  return _page.finish(figure, path, title)


def _table(
  values: np.ndarray,
  rows: Sequence[str],
  columns: Sequence[str],
  cmap: matplotlib.colors.Colormap,
  norm: matplotlib.colors.Normalize,
  form: str,
) -> tuple[matplotlib.figure.Figure, Any, Any]:
  """Cells in colour with numbers, in a figure that has room for all names."""
  columns = columns if len(rows) else []
  texts = [
    form.format(v) if np.isfinite(v) else "-" if np.isnan(v) else "div." for v in values.ravel()
  ]
  row_names = [_page.wrapped(name, 3.0, 9) for name in rows]
  column_names = [_page.wrapped(name, 1.0, 9) for name in columns]
  turned = len(columns) > 8
  cell = _page.width_of(texts, 8) + 0.14
  if turned:
    column_names = [_page.wrapped(name, 2.5, 9) for name in columns]
    lines = max((name.count("\n") + 1 for name in column_names), default=1)
    cell, room = max(cell, 0.4, 0.16 * lines), _page.width_of(column_names, 9)
  else:
    cell = max(cell, 0.5, _page.width_of(column_names, 9) + 0.12)
    room = 0.15 * max((name.count("\n") + 1 for name in column_names), default=1)
  lines = max((name.count("\n") + 1 for name in row_names), default=1)
  width = _page.width_of(row_names, 9) + cell * len(columns) + 1.35
  height = 0.75 + room + max(0.27, 0.15 * lines + 0.04) * len(rows)
  figure = matplotlib.figure.Figure(
    figsize=(max(width, 4.0), max(height, 1.9)), layout="constrained"
  )
  axes = figure.subplots()
  image = axes.imshow(
    np.ma.masked_invalid(values if values.size else np.full((1, 1), np.nan)),
    cmap=cmap.with_extremes(bad="0.9"),
    norm=norm,
    aspect="auto",
  )
  axes.set_xticks(range(len(columns)), column_names, fontsize=9, rotation=90 if turned else 0)
  axes.set_yticks(range(len(rows)), row_names, fontsize=9)
  axes.tick_params(length=0)
  for ((row, column), value), text in zip(np.ndenumerate(values), texts, strict=True):
    known = np.isfinite(value)
    dark = known and np.dot(cmap(norm(value))[:3], (0.3, 0.6, 0.1)) < 0.5
    color = "white" if dark else "black"
    inside = axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    # The layout, which is slow with hundreds of texts, need not look at what stays in its cell.
    inside.set_in_layout(False)
  return figure, axes, image
