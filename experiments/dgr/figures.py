"""Figures of the DGR experiment, after the paper's figures 2 and 3."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.dgr.config import Config
from experiments.dgr.frozen import PROBES, Frozen
from experiments.dgr.jobs import mean_accuracy
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from experiments.runner.report import SINGLE, Row
from jaxmtl import plots

# Of which a map of features is drawn.
_SHOWN = ("equal", "equal+dgr")
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
) -> None:
  """Writes all figures that there are numbers for."""
  if not is_main():
    return
  finished = {name: outcome for name, outcome in outcomes.items() if not outcome.failure}
  # Of all that will ever be here, so that partial figures have the colours of the last ones.
  methods = plots.palette([SINGLE, *config.names])
  tasks = plots.palette(config.tasks, plots.DATA_COLORS)
  with_delta = {row["name"]: row for row in rows if row["delta_mtl"] is not None}
  plots.plot_trade_off(
    folder / "cost.png",
    {name: (row["ms_per_step"], row["delta_mtl"]) for name, row in with_delta.items()},
    xlabel=f"time a step of {config.run.seeds} seed(s) (ms)",
    ylabel="Delta_MTL (%)",
    title="gain against cost",
    reference=SINGLE,
    colors=methods,
  )

  def lines(outcome: Outcome) -> dict[str, np.ndarray]:
    # In the order of the tasks, whichever a compiled function gave them.
    return {t: outcome.curve("validation", "accuracy", t) for t in config.tasks}

  alone = lines(single)
  curves = {name: lines(outcome) for name, outcome in finished.items()}
  if all(curve.size for curve in alone.values()):  # own images may have no validation part
    plots.plot_panels(
      folder / "curves.png",
      curves or {SINGLE: alone},
      xlabel="epoch",
      ylabel="validation accuracy (%)",
      title=f"a line a task; dotted: {SINGLE}",
      reference=alone,
      reference_name=SINGLE,
      epochs={
        name: o.epochs_of("validation", "accuracy")
        for name, o in {SINGLE: single, **finished}.items()
      },
      colors=tasks,
    )
  _draw_probes(config, rows, folder)
  if sweep and "equal" in finished:
    _draw_sweep(sweep, finished["equal"], folder)
  _draw_maps(config, finished, frozen, folder)


def _draw_probes(config: Config, rows: list[Row], folder: pathlib.Path) -> None:
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
  if "equal" in mean and others:
    plots.plot_heat_map(
      folder / "probes.png",
      np.stack([mean[name] - mean["equal"] for name in others]),
      others,
      [f"{t}, {probe.removeprefix('probe_')}" for t, probe in columns],
      title="classifiers on frozen features:\ntest accuracy against equal (points)",
    )


def _draw_sweep(sweep: list[dict[str, Any]], equal: Outcome, folder: pathlib.Path) -> None:
  """Weights and numbers of dummies, against equal weights of the same seed."""
  weights = sorted({row["weight"] for row in sweep})
  counts = sorted({row["num_dummies"] for row in sweep})
  values = np.full((len(weights), len(counts)), np.nan)
  last = equal.by_task("validation", "accuracy")
  baseline = np.nanmean([curve[0, -1] for curve in last.values()])
  for row in sweep:
    place = weights.index(row["weight"]), counts.index(row["num_dummies"])
    values[place] = mean_accuracy(row) - baseline
  plots.plot_heat_map(
    folder / "sweep.png",
    values,
    [f"weight {w:g}" for w in weights],
    [f"d = {d}" for d in counts],
    title="equal+dgr against equal, first seed:\nmean validation accuracy (points)",
  )


def _draw_maps(
  config: Config, outcomes: Mapping[str, Outcome], frozen: Frozen, folder: pathlib.Path
) -> None:
  """t-SNE of test images' features: a row a task, a column a method."""
  labels = {t: frozen.shown_labels(t) for t in config.tasks}
  count = len(labels[config.tasks[0]])
  if count < _FEWEST:
    return
  maps = {name: frozen.map(outcomes[name]) for name in _SHOWN if name in outcomes}
  if not maps:
    return
  known = {t: classes >= 0 for t, classes in labels.items()}
  plots.plot_embeddings(
    folder / "tsne.png",
    {f"{task}: {name}": values[known[task]] for task in labels for name, values in maps.items()},
    {f"{task}: {name}": labels[task][known[task]] for task in labels for name in maps},
    title=f"t-SNE of {count} test images' features, first seed",
    columns=len(maps),
    names={f"{task}: {name}": frozen.class_names(task) for task in labels for name in maps},
  )
