"""Figures of the FastCAR experiment: predictions by class, ranges of hybrid labels, curves."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.fastcar.config import NAMES
from experiments.problems.properties import VALUE
from experiments.runner.job import Job, Outcome
from experiments.runner.mesh import is_main
from jaxmtl import data, labels, plots, training


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
  said = training.predict(job.problem.predict, outcome.first_variables, job.parts["test"])
  return Prediction(said.classes, said.values, job.seeds[0])


def draw(
  parts: data.PropertySplits,
  outcomes: Mapping[str, Outcome],
  predicted: Mapping[str, Prediction],
  hybrids: Mapping[str, labels.FastCAR],
  folder: pathlib.Path,
) -> dict[str, Figure]:
  """Writes all figures, and returns them by file.

  Args:
    parts: the data.
    outcomes: by approach.
    predicted: by approach.
    hybrids: the labels of those approaches that have such.
    folder: where figures go.
  """
  figures: dict[str, Figure] = {}
  if not is_main():
    return figures
  if predicted:
    figures["predictions.png"] = _predictions(parts, predicted, folder / "predictions.png")
  if hybrids:
    hybrid = next(iter(hybrids.values()))
    figures["ranges.png"] = _ranges(parts, hybrid, folder / "ranges.png")
  measured = ("validation", "mape", VALUE)
  finished = {NAMES[name]: outcome for name, outcome in outcomes.items() if not outcome.failure}
  if finished:
    figures["curves.png"] = plots.plot_curves(
      folder / "curves.png",
      {name: outcome.curve(*measured) for name, outcome in finished.items()},
      xlabel="epoch",
      ylabel="validation MAPE (%)",
      title=parts.name,
      epochs={name: outcome.epochs_of(*measured) for name, outcome in finished.items()},
      colors=plots.palette(NAMES.values()),
    )
  return figures


def _predictions(
  parts: data.PropertySplits, predicted: Mapping[str, Prediction], path: pathlib.Path
) -> Figure:
  """Predicted against true values of the test set, a panel a model, of its first seed."""
  test = parts.test
  figure, panels = plots.panel_grid(len(predicted), (2.6, 2.4), columns=min(len(predicted), 4))
  low, high = float(test.values.min()), float(test.values.max())
  room = 0.1 * (high - low)
  style = _looks(parts)
  for axes, (name, said) in zip(panels, predicted.items(), strict=True):
    axes.plot([low, high], [low, high], color="0.6", lw=0.8, zorder=0)
    for c, look in enumerate(style.values()):
      for right in (True, False):
        rows = (test.classes == c) & ((said.classes == c) == right)
        axes.scatter(
          test.values[rows],
          said.values[rows],
          s=12,
          lw=0.8,
          marker=look.marker,
          facecolor=look.color if right else "none",
          edgecolor=look.color,
        )
    # Those that are far off would leave no room for the others.
    ends = low - 2 * room, high + 2 * room
    outside = int(((said.values < ends[0]) | (said.values > ends[1])).sum())
    axes.set_title(NAMES[name] + (f" ({outside} outside)" if outside else ""), fontsize=9)
    axes.set(xlim=(low - room, high + room), ylim=ends)
    axes.spines[["top", "right"]].set_visible(False)
  figure.supxlabel(f"true {parts.property_name}", fontsize=9)
  figure.supylabel(f"predicted {parts.property_name}", fontsize=9)
  figure.legend(
    [Line2D([], [], color=look.color, marker=look.marker, ms=4, ls="") for look in style.values()],
    list(style),
    loc="outside right center",
    title="true class",
    frameon=False,
    fontsize=7,
    title_fontsize=8,
  )
  seed = next(iter(predicted.values())).seed
  title = f"{parts.name}: test set, seed {seed}; hollow: wrong class; line: the true value"
  return plots.finish(figure, path, title)


def _ranges(parts: data.PropertySplits, hybrid: labels.FastCAR, path: pathlib.Path) -> Figure:
  """The range of every class before and after its offset."""
  order = np.asarray(hybrid.classes)
  low, high, offsets = (np.asarray(v) for v in (hybrid.low, hybrid.high, hybrid.offsets))
  figure = Figure(figsize=(6.4, 1.3 + 0.32 * len(order)), layout="constrained")
  axes = figure.subplots()
  colors = [look.color for look in _looks(parts).values()]
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
  axes.margins(x=0.1)
  axes.spines[["top", "right"]].set_visible(False)
  return plots.finish(figure, path, "hybrid labels; dotted: the centre, subtracted before training")


def _looks(parts: data.PropertySplits) -> dict[str, plots.Look]:
  """A class's, the same in all figures."""
  names = parts.class_names
  return plots.looks(names, plots.palette(names, plots.DATA_COLORS))
