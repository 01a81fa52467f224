"""Figures of Binary Labels."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from experiments.binary_labels.config import NAMES, Config, Variant
from experiments.binary_labels.problem import MAIN
from experiments.problems.images import ImageTasks
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from jaxmtl.training import plots


def draw(
  config: Config,
  finished: Mapping[Variant, Outcome],
  images: ImageTasks,
  codes: Mapping[str, np.ndarray],
  folder: pathlib.Path,
) -> None:
  """Writes all figures that these outcomes give."""
  if not is_main():
    return
  seeds = f"mean of {config.run.seeds} seed(s)" + ("; bands: range" if config.run.seeds > 1 else "")
  curves, part = {}, "training"
  for variant, outcome in finished.items():
    values = outcome.curve("validation", "accuracy", MAIN)
    if values.size:
      curves[variant.name], part = values, "validation"
    else:
      curves[variant.name] = 100 * outcome.curve("train_accuracy")[..., 0]
  if curves:
    plots.plot_curves(
      folder / "curves.png",
      curves,
      xlabel="epoch",
      ylabel=f"{part} accuracy (%)",
      title=f"main task: the class; {seeds}",
    )
  cosines = {v.name: cosine(outcome) for v, outcome in finished.items() if v.kind != "none"}
  if cosines:
    plots.plot_curves(
      folder / "cosine.png",
      cosines,
      xlabel="epoch",
      ylabel="cosine of the two tasks' gradients",
      title=f"shared parameters; {seeds}",
      baseline=0.0,
    )
  task = images.tasks[MAIN]
  names = list(task.names or map(str, range(task.classes)))
  shown = {"main task, one-hot": np.eye(task.classes)}
  shown |= {
    f"auxiliary task, {NAMES[kind]} of seed {config.run.seed}": values[0]
    for kind, values in codes.items()
    if kind != "none"
  }
  plots.plot_labels(folder / "labels.png", shown, names)


def cosine(outcome: Outcome) -> np.ndarray:
  """Of the two tasks' gradients, `[runs, rows]`."""
  return outcome.curve("cosine")[..., 0, 1]
