"""Figures of the FastCAR experiment: predictions by class, and the ranges of hybrid labels."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.figure
import numpy as np

from jaxmtl import data, labels, plots

if TYPE_CHECKING:
  from experiments.fastcar import Outcome


def draw(
  parts: data.PropertySplits,
  outcomes: Mapping[str, list[Outcome]],
  hybrids: Mapping[str, labels.FastCAR],
  folder: pathlib.Path,
) -> None:
  """Writes all figures.

  Args:
    parts: the data.
    outcomes: by model, one a seed.
    hybrids: the labels of those models that have such.
    folder: where figures go.
  """
  plot_predictions(folder / "predictions.png", parts, outcomes)
  if hybrids:
    plot_ranges(folder / "ranges.png", parts, next(iter(hybrids.values())))
  plots.plot_curves(
    folder / "curves.png",
    {
      name: np.array([[row["validation_mape"] for row in run.history] for run in runs])
      for name, runs in outcomes.items()
    },
    xlabel="epoch",
    ylabel="validation MAPE (%)",
    title=parts.name,
  )


def plot_predictions(
  path: pathlib.Path, parts: data.PropertySplits, outcomes: Mapping[str, list[Outcome]]
) -> None:
  """Predicted against true values of the test set, a panel a model, of its first seed."""
  test = parts.test
  figure, panels = plots.panel_grid(len(outcomes), (2.6, 2.4), columns=min(len(outcomes), 4))
  low, high = float(test.values.min()), float(test.values.max())
  room = 0.1 * (high - low)
  colors = class_colors(len(parts.class_names))
  for axes, (name, runs) in zip(panels, outcomes.items(), strict=True):
    classes, values = runs[0].predictions
    axes.plot([low, high], [low, high], color="0.6", lw=0.8, zorder=0)
    right = classes == test.classes
    for marker, rows in (("o", right), ("x", ~right)):
      axes.scatter(
        test.values[rows],
        values[rows],
        s=9,
        lw=0.7,
        marker=marker,
        color=colors[test.classes[rows]],
      )
    axes.set_title(name, fontsize=9)
    axes.set(xlim=(low - room, high + room), ylim=(low - 2 * room, high + 2 * room))
    axes.spines[["top", "right"]].set_visible(False)
  figure.supxlabel(f"true {parts.property_name}", fontsize=9)
  figure.supylabel("predicted", fontsize=9)
  figure.suptitle(f"{parts.name}: test set, a colour a class; cross: wrong class", fontsize=10)
  figure.savefig(path, dpi=150)


def plot_ranges(path: pathlib.Path, parts: data.PropertySplits, hybrid: labels.FastCAR) -> None:
  """The range of every class before and after its offset."""
  order = np.asarray(hybrid.classes)
  low, high, offsets = (np.asarray(v) for v in (hybrid.low, hybrid.high, hybrid.offsets))
  figure = matplotlib.figure.Figure(figsize=(6.4, 1.3 + 0.32 * len(order)), layout="constrained")
  axes = figure.subplots()
  colors = class_colors(len(parts.class_names))
  for place, c in enumerate(order):
    ends = low[place], high[place]
    y = np.full(2, float(place))
    axes.plot(np.array(ends) - offsets[place], y + 0.15, color=colors[c], lw=4, alpha=0.35)
    axes.plot(ends, y - 0.15, color=colors[c], lw=4)
    axes.annotate(
      f"+{offsets[place]:.0f}",
      (ends[1], place - 0.15),
      xytext=(4, 0),
      textcoords="offset points",
      va="center",
      fontsize=8,
    )
  axes.axvline(float(hybrid.centre), color="0.6", lw=0.8, ls=":")
  axes.set_yticks(range(len(order)), [parts.class_names[c] for c in order])
  axes.invert_yaxis()
  axes.set(
    xlabel=f"{parts.property_name}; pale: as measured, full: with the class's offset",
    ylabel="class",
  )
  axes.set_title("hybrid labels, dotted: their centre", fontsize=10)
  axes.margins(x=0.1)
  axes.spines[["top", "right"]].set_visible(False)
  figure.savefig(path, dpi=150)


def class_colors(count: int) -> np.ndarray:
  """A colour for each class, `[count, 4]`."""
  if count <= len(plots.COLORS):
    return np.array([mpl.colors.to_rgba(c) for c in plots.COLORS[:count]])
  return np.asarray(mpl.colormaps["turbo"](np.linspace(0.03, 0.97, count)))
