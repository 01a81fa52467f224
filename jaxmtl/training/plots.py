"""Figures of experiments, written as PNG files."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.figure
import matplotlib.ticker
import numpy as np

# Distinguishable with any colour vision (Okabe and Ito's set).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def plot_curves(
  path: str | pathlib.Path,
  curves: Mapping[str, np.ndarray],
  *,
  xlabel: str,
  ylabel: str,
  title: str = "",
  baseline: float | None = None,
  colors: Mapping[str, str] | None = None,
  epochs: Mapping[str, np.ndarray] | None = None,
) -> None:
  """Draws one line a method: its mean over seeds, in a band from the lowest to the highest seed.

  Args:
    path: of the PNG file.
    curves: by method, float `[epochs]` or `[seeds, epochs]`.
    xlabel: label of the horizontal axis (epochs, counted from 1).
    ylabel: label of the vertical axis.
    title: above the figure.
    baseline: height of a thin horizontal line.
    colors: by method, where other figures show some of the same methods.
    epochs: by method, where not every epoch has a value.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.training.plots import plot_curves
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   plot_curves(f"{folder}/a.png", {"a": np.ones((3, 5))}, xlabel="epoch", ylabel="accuracy")
  """
  figure = matplotlib.figure.Figure(figsize=(6.4, 4), layout="constrained")
  axes = figure.subplots()
  chosen = colors or colors_of(list(curves))
  for name, values in curves.items():
    values, color = np.atleast_2d(values), chosen[name]
    places = np.arange(1, values.shape[1] + 1) if epochs is None else epochs[name]
    marker = "o" if values.shape[1] == 1 else None
    axes.plot(places, values.mean(0), color=color, label=name, marker=marker)
    if len(values) > 1:
      axes.fill_between(places, values.min(0), values.max(0), color=color, alpha=0.15, lw=0)
  if baseline is not None:
    axes.axhline(baseline, color="0.5", lw=0.8)
  axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
  axes.spines[["top", "right"]].set_visible(False)
  axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
  axes.legend(frameon=False)
  figure.savefig(path, dpi=150)


def plot_labels(
  path: str | pathlib.Path,
  labels: Mapping[str, np.ndarray],
  class_names: list[str],
  max_classes: int = 12,
) -> None:
  """Draws label representations: a row a class, a column a dimension (the first 128).

  Args:
    path: of the PNG file.
    labels: by representation, float `[num_classes, dim]`.
    class_names: names of the classes.
    max_classes: how many classes to show.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.training.plots import plot_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   plot_labels(f"{folder}/a.png", {"one-hot": np.eye(3)}, ["a", "b", "c"])
  """
  rows = min(max_classes, len(class_names))
  figure = matplotlib.figure.Figure(
    figsize=(8, (0.8 + 0.2 * rows) * len(labels)), layout="constrained"
  )
  for axes, (name, values) in zip(
    figure.subplots(len(labels), 1, squeeze=False)[:, 0], labels.items(), strict=True
  ):
    shown = values[:rows, :128]
    axes.imshow(shown, cmap="gray_r", aspect="auto", interpolation="nearest")
    axes.set_yticks(range(rows), class_names[:rows], fontsize=7)
    axes.set_title(
      f"{name}: {len(values)} classes x {values.shape[1]} dimensions"
      f" (shown: {rows} x {shown.shape[1]})",
      fontsize=9,
      loc="left",
    )
  axes.set_xlabel("label dimension")
  figure.savefig(path, dpi=150)


def colors_of(names: Sequence[str]) -> dict[str, str]:
  """A colour a name, the same in all figures that are given them.

  Example:
    >>> from jaxmtl.training.plots import colors_of
    >>> colors_of(["a", "b"])
    {'a': '#0072B2', 'b': '#D55E00'}
  """
  return dict(zip(names, _colors(len(names)), strict=True))


def _colors(count: int) -> list:
  if count <= len(COLORS):
    return list(COLORS[:count])
  return list(mpl.colormaps["viridis"](np.linspace(0, 0.95, count)))
