"""Test images with what a network says of them."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.auto_lambda.jobs import MULTI_TASK, Key
from experiments.dense_prediction.config import Config
from experiments.problems.maps import VOID, MapImages, MapTask
from experiments.runner.job import Job, Outcome
from experiments.runner.mesh import is_main
from jaxmtl import plots, training

# Images of a figure.
SHOWN = 4
UNITS = {"depth": "m", "disparity": "pixels"}


def draw(
  config: Config,
  images: MapImages,
  planned: Mapping[Key, Job],
  outcomes: Mapping[str, Outcome],
  folder: pathlib.Path,
) -> dict[str, Figure]:
  """Writes pictures of the last method of multi-task learning that did not diverge."""
  finished = [
    (key, job)
    for key, job in planned.items()
    if key[0] == MULTI_TASK and not outcomes[job.name].failure
  ]
  if not is_main() or not finished:
    return {}
  (_, name), job = finished[-1]
  chosen = _some(images.parts["test"], ("image", *config.tasks))
  variables = jax.tree.map(lambda leaf: leaf[0], outcomes[job.name].variables)
  found = training.predict(job.problem.predict, variables, chosen, batch_size=SHOWN)
  kinds = {t: images.tasks[t] for t in config.tasks}
  figure = plots.plot_maps(
    folder / "pictures.png",
    chosen["image"],
    {t: maps_of(kind, found[t], chosen[t]) for t, kind in kinds.items()},
    title=f"{name}: test images, seed {config.run.all_seeds[0]}",
  )
  return {"pictures.png": figure}


def _some(part: Any, names: tuple[str, ...]) -> dict[str, np.ndarray]:
  """A few examples of a part, from its first to its last."""
  count = len(part["image"]) if isinstance(part, Mapping) else len(part)
  rows = np.unique(np.linspace(0, count - 1, SHOWN).round().astype(int))
  if isinstance(part, Mapping):
    return {k: np.asarray(part[k][rows]) for k in names}
  examples = [part[int(i)] for i in rows]
  return {k: np.stack([np.asarray(example[k]) for example in examples]) for k in names}


def maps_of(kind: MapTask, prediction: np.ndarray, truth: np.ndarray | None = None) -> plots.Maps:
  """What a figure shows of a task."""
  void: Any = VOID[kind.kind]
  valid = None
  if truth is not None and void is not None:
    known = truth != void
    valid = known if kind.kind == "classes" else known.any(-1)
  shown = prediction.argmax(-1) if kind.kind == "classes" else prediction
  return plots.Maps(kind.kind, shown, truth, valid, kind.names, UNITS.get(kind.kind, ""))
