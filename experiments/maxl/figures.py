"""Figures of the MAXL experiment, after those of the thesis's chapter 5."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.maxl.comparison import NAMES, Comparison
from experiments.maxl.config import Config
from experiments.maxl.jobs import auxiliary_of, bench_of
from experiments.maxl.network import Networks
from experiments.problems.images import ImageTasks
from experiments.runner.embeddings import tsne
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from jaxmtl import plots, training

ROWS, GROUPS, IMAGES = 6, 3, 5
"""Primary classes, generated classes of each, and images of each, in images.png, at most."""

Outcomes = Mapping[str, Outcome]


def draw(
  config: Config,
  images: ImageTasks,
  comparison: Comparison,
  outcomes: Outcomes,
  folder: pathlib.Path,
  complete: bool,
) -> None:
  """Writes the figures of finished methods; those that take long only when all is there."""
  if not is_main() or not outcomes:
    return
  _draw_curves(config, comparison, outcomes, folder)
  if complete:
    networks = bench_of(config, images, comparison).networks
    _draw_features(networks, images, comparison, outcomes, config.tsne_images, folder)
    first = next((o for method, o in outcomes.items() if method.startswith("maxl")), None)
    if first is not None:
      _draw_images(networks, images, comparison, first, folder)


def _draw_curves(
  config: Config, comparison: Comparison, outcomes: Outcomes, folder: pathlib.Path
) -> None:
  """A panel a hierarchy, a line a method."""
  task = next(iter(comparison.primary))

  def measured(outcome: Outcome) -> np.ndarray:
    return outcome.curve("validation", "accuracy", task)

  def learned(outcome: Outcome) -> np.ndarray:
    values = outcome.curve("train_accuracy")
    return 100 * values[..., 0] if values.ndim == 3 else values

  held_out = all(measured(outcome).size for outcome in outcomes.values())
  what = "validation" if held_out else "training"
  generated = [method for method in outcomes if method.startswith("maxl")]
  for file, values_of, methods, ylabel in (
    ("curves.png", measured if held_out else learned, list(outcomes), f"{what} accuracy (%)"),
    ("cosine.png", lambda o: o.curve("cosine"), list(outcomes), "cosine with primary gradient"),
    ("labels_in_use.png", lambda o: o.curve("labels_in_use"), generated, "labels in use (%)"),
  ):
    lines = {method: values for method in methods if (values := values_of(outcomes[method])).size}
    if not lines:
      continue
    plots.plot_panels(
      folder / file,
      {
        setting.name: {
          NAMES[method]: values[comparison.runs_of(method, index)]
          for method, values in lines.items()
        }
        for index, setting in enumerate(comparison.settings)
      },
      xlabel="epoch",
      ylabel=ylabel,
      title=f"{config.data.dataset}, {_classes(task)}",
      colors=plots.palette(NAMES.values()),
    )


def _draw_features(
  networks: Networks,
  images: ImageTasks,
  comparison: Comparison,
  outcomes: Outcomes,
  most: int,
  folder: pathlib.Path,
) -> None:
  """t-SNE of test images' features, by the first hierarchy and seed."""
  task, test = next(iter(comparison.primary)), images.parts["test"]
  shown = {"image": test["image"][:most]}
  count, everything = len(shown["image"]), len(test["image"])
  maps = {
    NAMES[method]: tsne(
      training.predict(networks.encode, _first_run(outcome), shown), name=NAMES[method]
    )
    for method, outcome in outcomes.items()
  }
  left_out = f"; the first of {everything} test images" if count < everything else ""
  plots.plot_embeddings(
    folder / "tsne.png",
    maps,
    test[task][:most],
    title=f"t-SNE of {count} test images' features, colours: {_classes(task)}\n"
    f"first seed{_of_first(comparison)}{left_out}",
    names=_names(images, task),
  )


def _draw_images(
  networks: Networks,
  images: ImageTasks,
  comparison: Comparison,
  outcome: Outcome,
  folder: pathlib.Path,
) -> None:
  """The most likely test images of some generated classes, by the first hierarchy and seed."""
  task, size = next(iter(comparison.primary.items()))
  test = images.parts["test"]
  given = {name: test[name] for name in ("image", *comparison.primary)}
  soft = training.predict(networks.label, _first_run(outcome), given)[auxiliary_of(task)]
  psi = comparison.settings[0].psi[task][0]
  first = np.cumsum(psi) - psi
  rows: dict[str, dict[str, np.ndarray]] = {}
  for c, name in list(enumerate(_names(images, task)))[:ROWS]:
    groups = {}
    for k in range(min(int(psi[c]), GROUPS)):
      # Images of other primary classes have probability 0.
      order = np.argsort(-soft[:, first[c] + k], kind="stable")[:IMAGES]
      groups[f"generated class {k + 1}"] = test["image"][order]
    rows[name] = groups
  left_out = []
  if size > ROWS:
    left_out.append(f"the first {ROWS} of {size} classes")
  if max(psi) > GROUPS:
    left_out.append(f"the first {GROUPS} of up to {max(psi)} generated classes")
  note = "; ".join([*left_out, f"first seed{_of_first(comparison)}"])
  plots.plot_image_groups(
    folder / "images.png", rows, title=f"most likely test images of generated classes\n{note}"
  )


def _first_run(outcome: Outcome) -> Any:
  return jax.tree.map(lambda leaf: leaf[0], outcome.variables)


def _of_first(comparison: Comparison) -> str:
  several = len(comparison.settings) > 1
  return f", {comparison.settings[0].name}" if several else ""


def _names(images: ImageTasks, task: str) -> Sequence[str]:
  kind = images.tasks[task]
  return kind.names or [f"class {c}" for c in range(kind.classes)]


def _classes(task: str) -> str:
  return f"{task.rpartition('_')[-1]} classes"
