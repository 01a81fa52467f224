"""Methods as points: what one gains against what it costs, or one task against another."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.figure
import numpy as np

from jaxmtl.plots import _page
from jaxmtl.plots.colors import COLORS, looks


def plot_trade_off(
  path: str | pathlib.Path | None,
  points: Mapping[str, tuple[Any, Any]],
  *,
  xlabel: str,
  ylabel: str,
  title: str = "",
  reference: str | None = None,
  colors: Mapping[str, Any] | None = None,
) -> matplotlib.figure.Figure:
  """Draws one point a method, its mean over seeds, with bars of a standard deviation.

  Names stand in a column at the right, in the points' order of height, with a line to each point:
  methods that do alike would hide each other's names otherwise.

  Args:
    path: of the file; None only returns the figure.
    points: by method, two floats or `[seeds]` each. Seeds that are finite count; a method that has
      none is named without a point.
    xlabel: label of the horizontal axis.
    ylabel: label of the vertical axis.
    title: above the figure.
    reference: the method at which dashed lines cross.
    colors: by method, see `palette`.

  Returns:
    The figure.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.plots import plot_trade_off
    >>> points = {"equal": (1.0, np.ones(2)), "pcgrad": (3.0, np.array([1.0, 2.0]))}
    >>> figure = plot_trade_off(None, points, xlabel="ms a step", ylabel="accuracy")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['equal', 'pcgrad']
  """
  labels = {name: _page.wrapped(name, 2.6, 8) for name in points}
  lines = sum(label.count("\n") + 1 for label in labels.values())
  size = 6.0 + _page.width_of(labels.values(), 8), max(3.8, 0.175 * lines + 1.3)
  figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
  axes = figure.subplots()
  style = looks(points, colors, COLORS)
  values = {}
  for name, pair in points.items():
    x, y = (np.ravel(np.asarray(v, float)) for v in pair)
    values[name] = x[np.isfinite(x)], y[np.isfinite(y)]
  means = {n: (x.mean(), y.mean()) for n, (x, y) in values.items() if len(x) and len(y)}
  for name, mean in means.items():
    spread = [v.std(ddof=1) if len(v) > 1 else 0 for v in values[name]]
    axes.errorbar(
      *mean,
      xerr=spread[0] or None,
      yerr=spread[1] or None,
      color=style[name].color,
      fmt=style[name].marker,
      markersize=7 if name == reference else 5,
      elinewidth=0.8,
      alpha=0.9,
      label=name,
    )
  if reference in means:
    axes.axvline(means[reference][0], color=_page.GREY, lw=1, ls="--", zorder=1)
    axes.axhline(means[reference][1], color=_page.GREY, lw=1, ls="--", zorder=1)
  # Limits as they are now: the signs beside the names stand outside.
  axes.autoscale_view()
  axes.autoscale(False)
  order = [n for n in points if n not in means]
  order += sorted(means, key=lambda name: means[name][::-1])
  for place, name in enumerate(order):
    level = (place + 0.5) / len(order)
    if name not in means:
      text = f"{labels[name]} (not finite)"
      axes.text(
        1.05, level, text, va="center", fontsize=8, color=_page.GREY, transform=axes.transAxes
      )
      continue
    axes.plot(
      *(1.035, level),
      transform=axes.transAxes,
      color=style[name].color,
      marker=style[name].marker,
      markersize=4,
      clip_on=False,
    )
    axes.annotate(
      labels[name],
      means[name],
      xytext=(1.05, level),
      textcoords="axes fraction",
      va="center",
      fontsize=8,
      zorder=0,
      arrowprops={
        "arrowstyle": "-",
        "color": "0.8",
        "lw": 0.6,
        "shrinkB": 3,
        "relpos": (0, 0.5),
      },
    )
  axes.set(xlabel=xlabel, ylabel=_page.wrapped(ylabel, size[1] - 1, 10, words=True))
  axes.ticklabel_format(useOffset=False)
  _page.bare(axes)
  counts = sorted({len(v) for name in means for v in values[name]} - {1})
  notes = [f"bars: standard deviation of {' or '.join(map(str, counts))} seeds"] if counts else []
  if reference in means:
    notes.append(f"dashed lines cross at {reference}")
  return _page.finish(figure, path, title, notes)
