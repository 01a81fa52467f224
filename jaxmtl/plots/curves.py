"""Curves over epochs, all methods in one figure."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.figure
import numpy as np

from jaxmtl.plots import _lines, _page
from jaxmtl.plots.colors import COLORS, looks


def plot_curves(
  path: str | pathlib.Path | None,
  curves: Mapping[str, Any],
  *,
  xlabel: str,
  ylabel: str,
  title: str = "",
  baseline: float | Mapping[str, float] | None = None,
  epochs: Any = None,
  colors: Mapping[str, Any] | None = None,
) -> matplotlib.figure.Figure:
  """Draws one line a method: its mean over seeds, in a band from the lowest to the highest seed.

  Args:
    path: of the file; None only returns the figure.
    curves: by method, float `[epochs]` or `[seeds, epochs]`. Of each epoch the seeds that are
      finite count; empty ones are left out.
    xlabel: label of the horizontal axis (epochs).
    ylabel: label of the vertical axis.
    title: above the figure.
    baseline: height of a dashed horizontal line, or several by what they are.
    epochs: where points stand, whole or not, one for each, or these by method; counted from 1 where
      None.
    colors: by method, see `palette`.

  Returns:
    The figure.

  Raises:
    ValueError: if there are more or fewer epochs than points.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.plots import plot_curves
    >>> figure = plot_curves(None, {"a": np.ones((3, 5))}, xlabel="epoch", ylabel="accuracy")
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['a']
  """
  shown = {name: np.atleast_2d(v).astype(float) for name, v in curves.items() if np.size(v)}
  style = looks(curves, colors, COLORS)
  labels = {name: _page.wrapped(name, 2.6, 8) for name in shown}
  lines = sum(label.count("\n") + 1 for label in labels.values())
  columns = max(1, math.ceil(lines / 26))
  side = columns * (_page.width_of(labels.values(), 8) + 8 * _page.LEGEND_HANDLE) + 0.2
  height = max(4.0, 0.17 * math.ceil(lines / columns) + 0.9)
  figure = matplotlib.figure.Figure(figsize=(5.4 + side, height), layout="constrained")
  axes = figure.subplots()
  everywhere: list[float] = []
  for name, values in shown.items():
    x = _lines.positions(epochs, (name,), values.shape[1])
    everywhere += x.tolist()
    # Bands of many methods would hide each other's lines.
    shade = 0.18 if len(shown) <= 8 else 0.06
    line, finite = _lines.draw_curve(axes, x, values, style[name], shade=shade)
    line.set_label(labels[name] if finite else f"{labels[name]} (not finite)")
  _lines.draw_baselines(axes, baseline)
  axes.set(xlabel=xlabel, ylabel=_page.wrapped(ylabel, height - 0.8, 10, words=True))
  # Above the axes alone: the legend stands beside.
  axes.set_title(_page.wrapped(title, 4.6, 10, words=True), fontsize=10)
  _page.bare(axes)
  _lines.epoch_axis(axes, everywhere)
  if axes.get_legend_handles_labels()[0]:
    figure.legend(loc="outside right upper", ncols=columns, frameon=False, fontsize=8)
  note = _lines.seeds_of(shown.values())
  return _page.finish(figure, path, notes=[note] if note else [])
