"""Figures of the FastCAR experiment: predictions by class, ranges of hybrid labels, curves."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import matplotlib as mpl
import matplotlib.figure
import matplotlib.lines
import numpy as np

from experiments.fastcar.config import NAMES
from experiments.problems.properties import VALUE
from experiments.runner.job import Job, Outcome
from experiments.runner.mesh import is_main
from jaxmtl import data, labels, plots, training
from jaxmtl.plots import panel_grid


class Prediction(NamedTuple):
  """What the first seed's network says of the test set.

  Attributes:
    classes: integers `[N]`.
    values: float `[N]`, in the property's unit.
    seed: the first one.
  """

  classes: np.ndarray
  values: np.ndarray
  seed: int


def predictions(job: Job, outcome: Outcome) -> Prediction:
  """Of the weights that a job left."""
  first = jax.tree.map(lambda leaf: leaf[0], outcome.variables)
  said = training.predict(job.problem.predict, first, job.parts["test"])
  return Prediction(said.classes, said.values, job.seeds[0])


def draw(
  parts: data.PropertySplits,
  outcomes: Mapping[str, Outcome],
  predicted: Mapping[str, Prediction],
  hybrids: Mapping[str, labels.FastCAR],
  folder: pathlib.Path,
) -> None:
  """Writes all figures.

  Args:
    parts: the data.
    outcomes: by approach.
    predicted: by approach.
    hybrids: the labels of those approaches that have such.
    folder: where figures go.
  """
  if not is_main():
    return
  if predicted:
    plot_predictions(parts, predicted).savefig(folder / "predictions.png", dpi=150)
  if hybrids:
    plot_ranges(parts, next(iter(hybrids.values()))).savefig(folder / "ranges.png", dpi=150)
  curves = {
    NAMES[name]: outcome.curve("validation", "mape", VALUE)
    for name, outcome in outcomes.items()
    if not outcome.failure
  }
  if curves:
    plots.plot_curves(
      folder / "curves.png",
      curves,
      xlabel="epoch",
      ylabel="validation MAPE (%)",
      title=parts.name,
      epochs={
        NAMES[name]: o.epochs_of("validation", "mape", VALUE) for name, o in outcomes.items()
      },
      colors=plots.palette(NAMES.values()),
    )


def plot_predictions(
  parts: data.PropertySplits, predicted: Mapping[str, Prediction]
) -> matplotlib.figure.Figure:
  """Predicted against true values of the test set, a panel a model, of its first seed."""
  test = parts.test
  figure, panels = panel_grid(len(predicted), (2.6, 2.4), columns=min(len(predicted), 4))
  low, high = float(test.values.min()), float(test.values.max())
  room = 0.1 * (high - low)
  colors = class_colors(len(parts.class_names))
  for axes, (name, said) in zip(panels, predicted.items(), strict=True):
    axes.plot([low, high], [low, high], color="0.6", lw=0.8, zorder=0)
    right = said.classes == test.classes
    for marker, rows in (("o", right), ("x", ~right)):
      axes.scatter(
        test.values[rows],
        said.values[rows],
        s=9,
        lw=0.7,
        marker=marker,
        color=colors[test.classes[rows]],
      )
    axes.set_title(NAMES[name], fontsize=9)
    axes.set(xlim=(low - room, high + room), ylim=(low - 2 * room, high + 2 * room))
    axes.spines[["top", "right"]].set_visible(False)
  figure.supxlabel(f"true {parts.property_name}", fontsize=9)
  figure.supylabel(f"predicted {parts.property_name}", fontsize=9)
  seed = next(iter(predicted.values())).seed
  figure.suptitle(f"{parts.name}: test set, seed {seed}; cross: wrong class", fontsize=10)
  figure.legend(
    [matplotlib.lines.Line2D([], [], color=c, marker="o", ms=4, ls="") for c in colors],
    parts.class_names,
    loc="outside right center",
    title="true class",
    frameon=False,
    fontsize=7,
    title_fontsize=8,
  )
  return figure


def plot_ranges(parts: data.PropertySplits, hybrid: labels.FastCAR) -> matplotlib.figure.Figure:
  """The range of every class before and after its offset."""
  order = np.asarray(hybrid.classes)
  low, high, offsets = (np.asarray(v) for v in (hybrid.low, hybrid.high, hybrid.offsets))
  figure = matplotlib.figure.Figure(figsize=(6.4, 1.3 + 0.32 * len(order)), layout="constrained")
  axes = figure.subplots()
  colors = class_colors(len(parts.class_names))
  centre = float(hybrid.centre)
  axes.axvline(centre, color="black", lw=1.4, ls=":", zorder=1)
  axes.annotate(
    f"centre {centre:.0f}",
    (centre, 1),
    xycoords=("data", "axes fraction"),
    xytext=(5, -3),
    textcoords="offset points",
    va="top",
    fontsize=8,
  )
  for place, c in enumerate(order):
    ends = np.array([low[place], high[place]])
    y = np.full(2, float(place))
    axes.plot(ends - offsets[place], y + 0.15, color=colors[c], lw=4, alpha=0.35)
    axes.plot(ends, y - 0.15, color=colors[c], lw=4)
    axes.annotate(
      f"+{offsets[place]:.0f}",
      (ends[1], place - 0.15),
      xytext=(5, 0),
      textcoords="offset points",
      va="center",
      fontsize=8,
      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
  axes.set_yticks(range(len(order)), [parts.class_names[c] for c in order])
  axes.invert_yaxis()
  axes.set(
    xlabel=f"{parts.property_name}; pale: as measured, full: with the class's offset",
    ylabel="class",
  )
  axes.set_title("hybrid labels; dotted: the centre, subtracted before training", fontsize=10)
  axes.margins(x=0.1)
  axes.spines[["top", "right"]].set_visible(False)
  return figure


def class_colors(count: int) -> np.ndarray:
  """A colour for each class, `[count, 4]`."""
  if count <= len(plots.COLORS):
    return np.array([mpl.colors.to_rgba(c) for c in plots.COLORS[:count]])
  return np.asarray(mpl.colormaps["turbo"](np.linspace(0.03, 0.97, count)))
