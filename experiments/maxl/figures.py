"""Figures of the MAXL experiment, after those of the thesis's chapter 5."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

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
) -> dict[str, Figure]:
  """Writes the figures of finished methods, and returns them by file.

  Those that take long come only when all is there.
  """
  if not is_main() or not outcomes:
    return {}
  figures = _curves(config, comparison, outcomes, folder)
  if complete:
    networks = bench_of(config, images, comparison).networks
    path, most = folder / "tsne.png", config.tsne_images
    figures[path.name] = _features(networks, images, comparison, outcomes, most, path)
    first = next((o for method, o in outcomes.items() if method.startswith("maxl")), None)
    if first is not None:
      path = folder / "images.png"
      figures[path.name] = _images(networks, images, comparison, first, path)
  return figures


def _curves(
  config: Config, comparison: Comparison, outcomes: Outcomes, folder: pathlib.Path
) -> dict[str, Figure]:
  """A panel a hierarchy, a line a method."""
  task = next(iter(comparison.primary))
  measured: tuple[str, ...] = ("validation", "accuracy", task)
  accuracy = "validation accuracy (%)"
  if not all(outcome.curve(*measured).size for outcome in outcomes.values()):
    measured, accuracy = ("train_accuracy",), "training accuracy (%)"
  generated = {m: outcome for m, outcome in outcomes.items() if m.startswith("maxl")}
  figures = {}
  for file, path, shown, ylabel in (
    ("curves.png", measured, outcomes, accuracy),
    ("cosine.png", ("cosine",), outcomes, "cosine with primary gradient"),
    ("filter_cosine.png", ("filter_cosine",), outcomes, "the same, mean over filters"),
    ("labels_in_use.png", ("labels_in_use",), generated, "labels in use (%)"),
  ):
    lines = {m: curve for m, o in shown.items() if (curve := o.curve(*path)).size}
    if path == ("train_accuracy",):  # shares, a primary task each
      lines = {m: 100 * curve[..., 0] for m, curve in lines.items()}
    if not lines:
      continue
    epochs = {NAMES[m]: shown[m].epochs_of(*path) for m in lines}
    figures[file] = plots.plot_panels(
      folder / file,
      {
        setting.name: {NAMES[m]: curve[comparison.runs_of(m, index)] for m, curve in lines.items()}
        for index, setting in enumerate(comparison.settings)
      },
      xlabel="epoch",
      ylabel=ylabel,
      title=f"{config.data.dataset}, {_classes(task)}",
      baseline=0.0 if path[0].endswith("cosine") else None,
      epochs={setting.name: epochs for setting in comparison.settings},
      colors=plots.palette(NAMES.values()),
    )
  return figures


def _features(
  networks: Networks,
  images: ImageTasks,
  comparison: Comparison,
  outcomes: Outcomes,
  most: int,
  path: pathlib.Path,
) -> Figure:
  """t-SNE of test images' features, by the first hierarchy and seed."""
  task, test = next(iter(comparison.primary)), images.parts["test"]
  shown = {"image": test["image"][:most]}
  count, everything = len(shown["image"]), len(test["image"])
  maps = {
    NAMES[method]: tsne(
      training.predict(networks.encode, outcome.first_variables, shown), name=NAMES[method]
    )
    for method, outcome in outcomes.items()
  }
  left_out = f"; the first of {everything} test images" if count < everything else ""
  names = _names(images, task)
  return plots.plot_embeddings(
    path,
    maps,
    test[task][:most],
    title=f"t-SNE of {count} test images' features, colours: {_classes(task)}; "
    f"first seed{_of_first(comparison)}{left_out}",
    names=names,
    colors=plots.palette(names, plots.DATA_COLORS),
  )


def _images(
  networks: Networks,
  images: ImageTasks,
  comparison: Comparison,
  outcome: Outcome,
  path: pathlib.Path,
) -> Figure:
  """The most likely test images of some generated classes, by the first hierarchy and seed."""
  task, size = next(iter(comparison.primary.items()))
  test = images.parts["test"]
  given = {name: test[name] for name in ("image", *comparison.primary)}
  soft = training.predict(networks.label, outcome.first_variables, given)[auxiliary_of(task)]
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
  return plots.plot_image_groups(
    path,
    rows,
    title=f"most likely test images of generated classes, first seed{_of_first(comparison)}",
    num_rows=size,
    num_groups=max(psi),
    group="generated classes a class",
  )


def _of_first(comparison: Comparison) -> str:
  several = len(comparison.settings) > 1
  return f", {comparison.settings[0].name}" if several else ""


def _names(images: ImageTasks, task: str) -> Sequence[str]:
  kind = images.tasks[task]
  return kind.names or [f"class {c}" for c in range(kind.classes)]


def _classes(task: str) -> str:
  return f"{task.rpartition('_')[-1]} classes"
