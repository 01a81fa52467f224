"""Figures of Binary Labels."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.binary_labels.config import NAMES, Config, Variant
from experiments.binary_labels.problem import MAIN
from experiments.problems.images import ImageTasks
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from jaxmtl import plots

Curves = Mapping[Variant, np.ndarray]


def draw(
  config: Config,
  finished: Mapping[Variant, Outcome],
  images: ImageTasks,
  codes: Mapping[str, np.ndarray],
  folder: pathlib.Path,
) -> dict[str, Figure]:
  """Writes all figures that these outcomes give, and returns them by file."""
  figures: dict[str, Figure] = {}
  if not is_main():
    return figures
  # A variant keeps its colour in all figures, whichever are finished.
  colors = plots.palette([variant.name for variant in config.labels.check()])

  def draw_lines(file: str, part: str, values: Curves, **options: Any) -> None:
    if values:
      figures[file] = plots.plot_curves(
        folder / file,
        {variant.name: curve for variant, curve in values.items()},
        xlabel="epoch",
        epochs={variant.name: finished[variant].epochs_of(part) for variant in values},
        colors=colors,
        **options,
      )

  if "validation" in images.parts:
    part, curves = "validation", {v: _validation(o) for v, o in finished.items()}
  else:
    part, curves = "train_accuracy", {v: training_accuracy(o) for v, o in finished.items()}
  label = "validation" if part == "validation" else "training"
  title = "main task: the class"
  draw_lines("curves.png", part, curves, ylabel=f"{label} accuracy (%)", title=title)
  cosines = {v: cosine(o) for v, o in finished.items() if v.kind != "none"}
  ylabel, title = "cosine of the two tasks' gradients", "shared parameters"
  draw_lines("cosine.png", "cosine", cosines, ylabel=ylabel, title=title, baseline=0.0)
  task = images.tasks[MAIN]
  names = list(task.names or map(str, range(task.classes)))
  shown = {"main task, one-hot": np.eye(task.classes)}
  shown |= {
    f"auxiliary task, {NAMES[kind]} of seed {config.run.seed}": values[0]
    for kind, values in codes.items()
    if kind != "none"
  }
  figures["labels.png"] = plots.plot_labels(folder / "labels.png", shown, names)
  return figures


def cosine(outcome: Outcome) -> np.ndarray:
  """Of the two tasks' gradients, `[runs, rows]`."""
  return outcome.curve("cosine")[..., 0, 1]


def training_accuracy(outcome: Outcome) -> np.ndarray:
  """Of the main task in per cent, `[runs, rows]`."""
  return 100 * outcome.curve("train_accuracy")[..., 0]


def _validation(outcome: Outcome) -> np.ndarray:
  return outcome.curve("validation", "accuracy", MAIN)
