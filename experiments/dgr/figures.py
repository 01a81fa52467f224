"""Figures of the DGR experiment, after the paper's figures 2 and 3."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.dgr.config import Config
from experiments.dgr.frozen import PROBES, Frozen
from experiments.dgr.jobs import mean_accuracy
from experiments.problems.cost import draw_cost
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from experiments.runner.report import SINGLE, Row
from jaxmtl import plots

# Of which a map of features is drawn.
_SHOWN = ("equal", "equal+dgr")
_MEASURED = ("validation", "accuracy")
# Points that make a map.
_FEWEST = 3


def draw(
  config: Config,
  rows: list[Row],
  single: Outcome,
  outcomes: Mapping[str, Outcome],
  sweep: list[dict[str, Any]],
  frozen: Frozen,
  folder: pathlib.Path,
) -> dict[str, Figure]:
  """Writes all figures that there are numbers for, and returns them by file."""
  if not is_main():
    return {}
  finished = {name: outcome for name, outcome in outcomes.items() if not outcome.failure}
  drawn = {
    "cost.png": draw_cost(folder / "cost.png", rows, config.names, config.run.seeds),
    "curves.png": _curves(config, single, finished, folder / "curves.png"),
    "probes.png": _probes(config, rows, folder / "probes.png"),
    "sweep.png": _sweep(sweep, finished.get("equal"), folder / "sweep.png"),
    "tsne.png": _maps(config, finished, frozen, folder / "tsne.png"),
  }
  return {file: figure for file, figure in drawn.items() if figure is not None}


def _curves(
  config: Config, single: Outcome, finished: Mapping[str, Outcome], path: pathlib.Path
) -> Figure | None:
  """A panel a method, beside single-task training."""
  outcomes = {SINGLE: single, **finished}
  lines = {name: outcome.by_task(*_MEASURED) for name, outcome in outcomes.items()}
  if not lines[SINGLE]:
    return None  # own images may have no validation part
  return plots.plot_panels(
    path,
    {name: lines[name] for name in finished or [SINGLE]},
    xlabel="epoch",
    ylabel="validation accuracy (%)",
    title=f"a line a task; dotted: {SINGLE}",
    reference=lines[SINGLE],
    reference_name=SINGLE,
    epochs={name: outcome.epochs_of(*_MEASURED) for name, outcome in outcomes.items()},
    colors=plots.palette(config.tasks, plots.DATA_COLORS),
  )


def _probes(config: Config, rows: list[Row], path: pathlib.Path) -> Figure | None:
  """Classifiers on frozen features, against equal weights."""
  columns = [(t, probe) for t in config.tasks for probe in PROBES]
  mean = {
    row["name"]: np.array(
      [np.mean(np.array(row["values"][probe][t], float)) for t, probe in columns]
    )
    for row in rows
    if PROBES[0] in row["values"]
  }
  others = [name for name in mean if name != "equal"]
  if "equal" not in mean or not others:
    return None
  return plots.plot_heat_map(
    path,
    np.stack([mean[name] - mean["equal"] for name in others]),
    others,
    [f"{t}, {probe.removeprefix('probe_')}" for t, probe in columns],
    title="classifiers on frozen features: test accuracy against equal (points)",
  )


def _sweep(sweep: list[dict[str, Any]], equal: Outcome | None, path: pathlib.Path) -> Figure | None:
  """Weights and numbers of dummies, against equal weights of the same seed."""
  sweep = [row for row in sweep if row["method"] == "equal"]
  if not sweep or equal is None:
    return None
  weights = sorted({row["weight"] for row in sweep})
  counts = sorted({row["num_dummies"] for row in sweep})
  values = np.full((len(weights), len(counts)), np.nan)
  baseline = np.nanmean([curve[0, -1] for curve in equal.by_task(*_MEASURED).values()])
  for row in sweep:
    place = weights.index(row["weight"]), counts.index(row["num_dummies"])
    values[place] = mean_accuracy(row) - baseline
  return plots.plot_heat_map(
    path,
    values,
    [f"weight {w:g}" for w in weights],
    [f"dummies: {d}" for d in counts],
    title="equal+dgr against equal, first seed: mean validation accuracy (points)",
  )


def _maps(
  config: Config, finished: Mapping[str, Outcome], frozen: Frozen, path: pathlib.Path
) -> Figure | None:
  """t-SNE of test images' features: a row a task, a column a method."""
  labels = {task: frozen.shown_labels(task) for task in config.tasks}
  count = len(labels[config.tasks[0]])
  if count < _FEWEST:
    return None
  maps = {name: frozen.map(finished[name]) for name in _SHOWN if name in finished}
  if not maps:
    return None
  names = {task: frozen.class_names(task) for task in config.tasks}
  known = {task: classes >= 0 for task, classes in labels.items()}

  def panels(of_task: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{task}: {name}": value for task, value in of_task.items() for name in maps}

  return plots.plot_embeddings(
    path,
    {f"{task}: {name}": points[known[task]] for task in names for name, points in maps.items()},
    panels({task: labels[task][known[task]] for task in names}),
    title=f"t-SNE of {count} test images' features, first seed",
    columns=len(maps),
    names=panels(names),
    # Tasks may have classes in common.
    colors=plots.palette([name for mine in names.values() for name in mine], plots.DATA_COLORS),
  )
