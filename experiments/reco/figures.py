"""Figures of the ReCo experiment: curves, pictures, queries, relations of classes, ablations."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import matplotlib.figure
import numpy as np
from scipy.cluster import hierarchy

from experiments.problems.map_pictures import SHOWN, maps_of, some
from experiments.problems.maps import MapImages
from experiments.reco import augment
from experiments.reco.config import Config
from experiments.reco.jobs import Key
from experiments.reco.methods import SEGMENTATION, Semi
from experiments.reco.problem import learned, nearest
from experiments.reco.teaching import pseudo_labels
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from jaxmtl import contrast, models, plots

# Images of which relations of classes are means.
_MOST = 200
# The smallest size in inches of a cell with a number of two digits.
_CELL = 0.28


def draw(
  config: Config, images: MapImages, found: Mapping[Key, Outcome], folder: pathlib.Path
) -> dict[str, matplotlib.figure.Figure]:
  """Writes the figures of what there is so far.

  Args:
    config: the options.
    images: the data.
    found: outcomes by setting and method.
    folder: where they go.

  Returns:
    The figures by the names of their files.
  """
  done = {key: outcome for key, outcome in found.items() if not outcome.failure}
  if not is_main() or not done:
    return {}
  drawn = {}
  if "validation" in images.parts:
    drawn["curves.png"] = curves(done, folder / "curves.png")
  setting = next(iter(done))[0]
  here = {method: outcome for (where, method), outcome in done.items() if where == setting}
  usual = {method: outcome for method, outcome in here.items() if method in config.methods}
  if usual:
    target = folder / "pictures.png"
    drawn["pictures.png"] = pictures(config, images, setting, usual, target)
  if any("+reco" in method for method in usual):
    name = [method for method in usual if "+reco" in method][-1]
    outcome = usual[name]
    drawn["queries.png"] = queries(config, images, name, outcome, folder / "queries.png")
    without = {method: usual[method] for method in usual if method == name.split("+")[0]}
    shown = {**without, name: outcome}
    drawn["relations.png"] = relations(config, images, shown, folder / "relations.png")
  if config.ablations:
    drawn["ablations.png"] = ablations(here, setting, folder / "ablations.png")
  return drawn


def curves(found: Mapping[Key, Outcome], path: pathlib.Path) -> matplotlib.figure.Figure:
  """Of the validation part by epoch."""
  settings = {setting for setting, _ in found}
  names = {key: key[1] if len(settings) == 1 else " ".join(key[::-1]) for key in found}
  values = {names[key]: o.curve("validation", "miou", SEGMENTATION) for key, o in found.items()}
  epochs = {names[key]: o.epochs_of("validation", "miou") for key, o in found.items()}
  return plots.plot_curves(
    path,
    values,
    xlabel="epoch",
    ylabel="mIoU (%)",
    title="Validation images",
    epochs=epochs,
  )


def pictures(
  config: Config,
  images: MapImages,
  setting: str,
  outcomes: Mapping[str, Outcome],
  path: pathlib.Path,
) -> matplotlib.figure.Figure:
  """Test images, labels, and what the first seed of each method says."""
  kind = images.tasks[SEGMENTATION]
  chosen = some(images.parts["test"], ("image", SEGMENTATION))
  shown = {}
  for number, (method, outcome) in enumerate(outcomes.items()):
    logits = _predicted(config, images, method, outcome, chosen["image"])
    truth = chosen[SEGMENTATION] if number == len(outcomes) - 1 else None
    shown[method] = maps_of(kind, logits, truth)
  seed = config.run.all_seeds[0]
  return plots.plot_maps(path, chosen["image"], shown, title=f"{setting}: test images, seed {seed}")


def queries(
  config: Config, images: MapImages, method: str, outcome: Outcome, path: pathlib.Path
) -> matplotlib.figure.Figure:
  """How sure the network is of each pixel, and which are in doubt."""
  chosen = some(images.parts["test"], ("image", SEGMENTATION))
  logits = _predicted(config, images, method, outcome, chosen["image"])
  sure = np.asarray(pseudo_labels(chosen["image"], logits).confidence)
  parsed = Semi.parse(method, config.reco)
  assert parsed.reco is not None
  limit, least = parsed.reco.strong_threshold, parsed.reco.weak_threshold
  shown = {
    "confidence": plots.Maps("numbers", sure[..., None]),
    "queries": plots.Maps(
      "classes",
      (sure < limit).astype(int) + (sure < least),
      None,
      None,
      (
        f"easy, {limit:g} or surer",
        "hard",
        f"below {least:g}: hard where labelled, else left out",
      ),
    ),
  }
  title = f"{method}: test images, seed {config.run.all_seeds[0]}"
  return plots.plot_maps(path, chosen["image"], shown, title=title)


def relations(
  config: Config, images: MapImages, outcomes: Mapping[str, Outcome], path: pathlib.Path
) -> matplotlib.figure.Figure:
  """Cosine between the means of classes, and average linkage of one less the cosine.

  Of the decoder's pixels, which the classifier reads, and of the representations.
  """
  names = images.tasks[SEGMENTATION].names
  panels = {}
  for method, outcome in outcomes.items():
    means = _class_means(config, images, method, outcome)
    for embedding, (values, known) in means.items():
      if embedding == "representation" and "+reco" not in method:
        continue  # never trained
      panels[f"{method}: {embedding}"] = np.asarray(contrast.class_relations(values)), known
  side = max(2.2, _CELL * len(names) / 2)
  figure = matplotlib.figure.Figure(
    figsize=(max(4.0, (side + 0.9) * len(panels)), 2 * side + 1.4), layout="constrained"
  )
  grid = figure.subplots(2, len(panels), squeeze=False)
  for column, (title, (graph, known)) in enumerate(panels.items()):
    shown = [name for name, there in zip(names, known, strict=True) if there]
    graph = graph[np.ix_(known, known)]
    above, below = grid[:, column]
    picture = above.imshow(graph, vmin=-1, vmax=1, cmap="viridis")
    above.set_title(title.replace(": ", ":\n"), fontsize=8)
    above.set_xticks(range(len(shown)), shown, rotation=90, fontsize=6)
    above.set_yticks(range(len(shown)), shown, fontsize=6)
    if len(shown) > 1:
      apart = np.clip(1 - graph[np.triu_indices(len(shown), 1)], 1e-6, None)
      tree = hierarchy.linkage(apart, "average")
      hierarchy.dendrogram(
        tree, ax=below, labels=shown, orientation="right", leaf_font_size=6, color_threshold=0
      )
    below.set_xlabel("1 - cosine", fontsize=7)
    below.tick_params(axis="x", labelsize=6)
  bar = figure.colorbar(picture, ax=grid[0].tolist(), fraction=0.03)
  bar.set_label("cosine", fontsize=7)
  bar.ax.tick_params(labelsize=6)
  return plots.finish(
    figure, path, "How alike mean pixels of classes are: test images, the first seed"
  )


def ablations(
  outcomes: Mapping[str, Outcome], setting: str, path: pathlib.Path
) -> matplotlib.figure.Figure:
  """Test mIoU of each method, a point a seed and a bar for the mean."""
  names = list(outcomes)
  figure = matplotlib.figure.Figure(
    figsize=(7.0, max(2.5, 0.3 * len(names) + 1.0)), layout="constrained"
  )
  axes = figure.subplots()
  for row, name in enumerate(names):
    values = outcomes[name].values["miou"][SEGMENTATION]
    color = "tab:purple" if "+reco" in name else "0.6"
    axes.barh(row, values.mean(), color=color, alpha=0.5)
    axes.plot(values, np.full(len(values), row), "o", color=color, markersize=4)
  lowest = min(o.values["miou"][SEGMENTATION].min() for o in outcomes.values())
  left = max(0, lowest - 5)
  axes.set_xlim(left=left)
  axes.set_yticks(range(len(names)), names, fontsize=7)
  axes.invert_yaxis()
  cut = "; the axis does not start at 0" if left else ""
  axes.set_xlabel(f"test mIoU (%), points are seeds{cut}", fontsize=8)
  return plots.finish(figure, path, setting)


def _predicted(
  config: Config, images: MapImages, method: str, outcome: Outcome, image: np.ndarray
) -> np.ndarray:
  """Logits at the images' resolution."""
  network, variables = _network(config, images, method), outcome.first_variables
  return np.concatenate([np.asarray(_logits(network, variables, one[None])) for one in image])


# Compiled once for methods whose networks are alike, and all times that figures are drawn.
@functools.partial(jax.jit, static_argnums=0)
def _logits(network: models.DeepLabV3Plus, variables: Any, image: Any) -> Any:
  outputs: Any = network.apply(variables, augment.normalised(image))
  return models.resize_aligned(outputs["classes"], image.shape[1:3])


@functools.partial(jax.jit, static_argnums=0)
def _means(network: models.DeepLabV3Plus, variables: Any, image: Any, labels: Any) -> Any:
  """Means of classes and their pixels, by embedding."""
  outputs, kept = network.apply(variables, augment.normalised(image), mutable=["intermediates"])
  decoder = kept["intermediates"]["decoder"][0]
  at = nearest(labels, decoder.shape[1:3])
  made = {"decoder": decoder, "representation": outputs["representation"]}
  return {n: contrast.class_means(values, at, network.num_classes) for n, values in made.items()}


def _class_means(
  config: Config, images: MapImages, method: str, outcome: Outcome
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Means of classes over test images `[C, D]`, and which have any pixel, by embedding."""
  network, variables = _network(config, images, method), outcome.first_variables
  part = images.parts["test"]
  count = len(part["image"]) if isinstance(part, Mapping) else len(part)
  chosen = some(part, ("image", SEGMENTATION), min(count, _MOST))
  total: dict[str, list[np.ndarray]] = {}
  for begin in range(0, len(chosen["image"]), SHOWN):
    rows = slice(begin, begin + SHOWN)
    image, labels = chosen["image"][rows], chosen[SEGMENTATION][rows].astype(np.int32)
    for name, (means, counts) in _means(network, variables, image, labels).items():
      found = [np.asarray(means) * np.asarray(counts)[:, None], np.asarray(counts)]
      total[name] = (
        [a + b for a, b in zip(total[name], found, strict=True)] if name in total else found
      )
  return {
    name: (values / np.maximum(counts, 1)[:, None], counts > 0)
    for name, (values, counts) in total.items()
  }


def _network(config: Config, images: MapImages, method: str) -> models.DeepLabV3Plus:
  kind = images.tasks[SEGMENTATION]
  return learned(config, kind, images.shape, Semi.parse(method, config.reco)).network
