"""Figures of the MAXL experiment, after those of the thesis's chapter 5."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import sklearn.manifold
import threadpoolctl

from experiments.maxl_config import Config
from jaxmtl import data, plots

if TYPE_CHECKING:
  from experiments.maxl_compare import Plan
  from experiments.maxl_training import Outcome, Trainer

# Test images in the t-SNE; primary classes, generated classes and images in the last figure.
_POINTS, _ROWS, _GROUPS, _IMAGES = 800, 6, 3, 5


def draw(
  config: Config,
  plan: Plan,
  trainer: Trainer,
  parts: data.TaskSplits,
  outcomes: dict[str, Outcome],
  folder: pathlib.Path,
) -> None:
  """Writes all figures."""
  from experiments.maxl_compare import NAMES, runs_of

  def panels(curve: str, methods: list[str]) -> dict[str, dict[str, np.ndarray]]:
    found: dict[str, dict[str, np.ndarray]] = {}
    for index, setting in enumerate(plan.settings):
      lines = {}
      for method in methods:
        values = outcomes[method].curves[curve]
        lines[NAMES[method]] = values[runs_of(len(values), index, config.seeds)]
      found[setting.name] = lines
    return found

  own = "train_accuracy" if parts.validation is None else "validation_accuracy"
  labelled = [m for m in outcomes if m != "single"]
  generated = [m for m in outcomes if m.startswith("maxl")]
  for file, curve, methods, ylabel in (
    ("curves.png", own, list(outcomes), f"{own.replace('_', ' ')} (%)"),
    ("cosine.png", "cosine", labelled, "cosine with primary gradient"),
    ("labels_in_use.png", "labels_in_use", generated, "labels in use (%)"),
  ):
    if methods:
      plots.plot_panels(
        folder / file,
        panels(curve, methods),
        xlabel="epoch",
        ylabel=ylabel,
        title=f"{config.dataset}, mean over seeds",
      )
  _draw_features(plan, trainer, parts, outcomes, folder)
  if generated:
    _draw_images(plan, trainer, parts, outcomes[generated[0]], folder)


def _draw_features(
  plan: Plan,
  trainer: Trainer,
  parts: data.TaskSplits,
  outcomes: dict[str, Outcome],
  folder: pathlib.Path,
) -> None:
  """t-SNE of test images' features, by the first setting and seed."""
  from experiments.maxl_compare import NAMES

  images = parts.test.images[:_POINTS]
  classes = parts.test.labels[next(iter(plan.primary))][:_POINTS]
  maps = {}
  for method, outcome in outcomes.items():
    state: Any = outcome.state
    features = trainer.features(getattr(state, "network", state), 0, images)
    tsne = sklearn.manifold.TSNE(
      perplexity=min(30, (len(images) - 1) / 3), init="pca", random_state=0
    )
    # One thread: on so few points, and beside other work, several mostly wait for each other.
    with threadpoolctl.threadpool_limits(1):
      maps[NAMES[method]] = tsne.fit_transform(features.astype(np.float64))
  plots.plot_embeddings(
    folder / "tsne.png", maps, classes, title=f"t-SNE of {len(images)} test images' features"
  )


def _draw_images(
  plan: Plan, trainer: Trainer, parts: data.TaskSplits, outcome: Outcome, folder: pathlib.Path
) -> None:
  """The most likely test images of some generated classes, by the first setting and seed."""
  task, size = next(iter(plan.primary.items()))
  state = jax.tree.map(lambda leaf: leaf[:1], outcome.state)
  soft = trainer.labels_of(state, parts.test)[f"auxiliary_{task}"][0]
  psi = plan.settings[0].psi[task][0]
  first = np.cumsum(psi) - psi
  rows: dict[str, dict[str, np.ndarray]] = {}
  for c in range(min(size, _ROWS)):
    groups = {}
    for k in range(min(int(psi[c]), _GROUPS)):
      # Images of other primary classes have probability 0.
      order = np.argsort(-soft[:, first[c] + k], kind="stable")[:_IMAGES]
      groups[f"generated class {k + 1}"] = parts.test.images[order]
    rows[f"class {c}"] = groups
  plots.plot_image_groups(
    folder / "images.png", rows, title="most likely test images of each generated class"
  )
