"""Figures of `experiments.dgr`, after the paper's figures 2 and 3."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn.manifold
import threadpoolctl

from experiments.benchmark_training import Outcome
from experiments.dgr_features import PROBES
from experiments.dgr_tables import SINGLE, Rows
from jaxmtl import plots

if TYPE_CHECKING:
  from experiments.dgr_training import RegularizedTrainer

# Test images in the t-SNE.
_POINTS = 800


def draw(
  folder: pathlib.Path,
  trainer: RegularizedTrainer,
  outcomes: Mapping[str, Outcome],
  single: Outcome,
  rows: Rows,
  sweep: Rows,
  class_names: Mapping[str, Sequence[str]],
) -> None:
  """Writes all figures."""
  tasks = trainer.config.tasks
  finished = [row for row in rows if not row["failure"]]
  plots.plot_trade_off(
    folder / "cost.png",
    {row["method"]: (row["ms_per_step"], row["delta_mtl"]) for row in finished},
    xlabel=f"time a step of {trainer.config.seeds} seed(s) (ms)",
    ylabel="Delta_MTL (%)",
    title="gain against cost",
    reference=SINGLE,
  )
  plots.plot_panels(
    folder / "curves.png",
    {name: outcome.curves for name, outcome in outcomes.items() if outcome.curves},
    xlabel="epoch",
    ylabel="validation accuracy (%)",
    title="mean over seeds; dotted: single-task training",
    reference=single.curves,
  )
  probed = {row["method"]: row["probes"] for row in finished if row["probes"]}
  if "equal" in probed and len(probed) > 1:
    mean = {
      name: np.array([np.mean(found[t][p]) for t in tasks for p in PROBES])
      for name, found in probed.items()
    }
    others = [name for name in mean if name != "equal"]
    plots.plot_heat_map(
      folder / "probes.png",
      np.stack([mean[name] - mean["equal"] for name in others]),
      others,
      [f"{t}, {p}" for t in tasks for p in PROBES],
      title="classifiers on frozen features:\ntest accuracy against equal (points)",
    )
  if sweep:
    _draw_sweep(folder, sweep, outcomes["equal"])
  shown = {n: o for n, o in outcomes.items() if n in ("equal", "equal+dgr") and not o.failure}
  if shown:
    _draw_features(folder, trainer, shown, class_names)


def _draw_sweep(folder: pathlib.Path, sweep: Rows, equal: Outcome) -> None:
  weights = sorted({row["weight"] for row in sweep})
  counts = sorted({row["num_dummies"] for row in sweep})
  values = np.full((len(weights), len(counts)), np.nan)
  baseline = np.mean([curve[0, -1] for curve in equal.curves.values()]) if equal.curves else np.nan
  for row in sweep:
    place = weights.index(row["weight"]), counts.index(row["num_dummies"])
    values[place] = np.mean(row["validation_accuracy"]) - baseline
  plots.plot_heat_map(
    folder / "sweep.png",
    values,
    [f"weight {w:g}" for w in weights],
    [f"d = {d}" for d in counts],
    title="equal+dgr against equal, first seed:\nmean validation accuracy (points)",
  )


def _draw_features(
  folder: pathlib.Path,
  trainer: RegularizedTrainer,
  outcomes: Mapping[str, Outcome],
  class_names: Mapping[str, Sequence[str]],
) -> None:
  """t-SNE of test images' features, by the first seed: a row a task, a column a method."""
  labels = trainer.parts.test.labels
  count = min(_POINTS, len(trainer.parts.test.images))
  maps: dict[str, Any] = {}
  for name, outcome in outcomes.items():
    features = trainer.encode(outcome.variables, trainer.parts.test.images[:count])[0]
    tsne = sklearn.manifold.TSNE(perplexity=min(30, (count - 1) / 3), init="pca", random_state=0)
    # One thread: on so few points, and beside other work, several mostly wait for each other.
    with threadpoolctl.threadpool_limits(1):
      maps[name] = tsne.fit_transform(features.astype(np.float64))
  tasks, last = trainer.config.tasks, list(maps)[-1]
  plots.plot_embeddings(
    folder / "tsne.png",
    {f"{task}: {name}": values for task in tasks for name, values in maps.items()},
    {f"{task}: {name}": labels[task][:count] for task in tasks for name in maps},
    title=f"t-SNE of {count} test images' features",
    columns=len(maps),
    names={f"{task}: {last}": class_names[task] for task in tasks},
  )
