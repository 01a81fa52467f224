"""Images beside the maps that a trained network makes of them: of a data set, or one's own."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from experiments.problems.binary_maps import BINARY
from experiments.problems.maps import VOID, MapTask
from experiments.runner import store
from experiments.runner.job import WEIGHTS, Job
from experiments.runner.mesh import say
from jaxmtl import data, plots, training

# Images of a figure.
SHOWN = 4
UNITS = {"depth": "m", "disparity": "pixels"}


def some(part: Any, names: Sequence[str], count: int = SHOWN) -> dict[str, np.ndarray]:
  """A few examples of a part, from its first to its last."""
  whole = len(part["image"]) if isinstance(part, Mapping) else len(part)
  rows = np.unique(np.linspace(0, whole - 1, count).round().astype(int))
  if isinstance(part, Mapping):
    return {k: np.asarray(part[k][rows]) for k in names}
  examples = [part[int(i)] for i in rows]
  return {k: np.stack([np.asarray(example[k]) for example in examples]) for k in names}


def maps_of(kind: MapTask, prediction: np.ndarray, truth: np.ndarray | None = None) -> plots.Maps:
  """What a figure shows of a task."""
  if kind.kind in BINARY:
    return _probabilities(prediction, truth)
  void: Any = VOID[kind.kind]
  valid = None
  if truth is not None and void is not None:
    known = truth != void
    valid = known if kind.kind == "classes" else known.any(-1)
  shown = prediction.argmax(-1) if kind.kind == "classes" else prediction
  return plots.Maps(kind.kind, shown, truth, valid, kind.names, UNITS.get(kind.kind, ""))


def _probabilities(logits: np.ndarray, truth: np.ndarray | None) -> plots.Maps:
  shown = np.asarray(jax.nn.sigmoid(logits))
  if truth is None:
    return plots.Maps("probability", shown, unit="probability")
  labels = truth[..., None].astype(np.float32)
  return plots.Maps("probability", shown, labels, truth >= 0, unit="probability")


def draw_own(
  path: pathlib.Path,
  root: pathlib.Path,
  trained: Sequence[tuple[str, Job]],
  tasks: Mapping[str, MapTask],
  height: int,
) -> list[pathlib.Path]:
  """Draws each image of one's own with the maps that the last finished training makes of it.

  Images are brought to the height of the training images; their sides keep their ratio.

  Args:
    path: an image, or a folder of images.
    root: the folder of the trainings.
    trained: name and job of those that may be asked, in the order of the command.
    tasks: whose maps are drawn.
    height: of the training images.

  Returns:
    The figures' paths, under `predictions` in the folder.

  Raises:
    FileNotFoundError: if there is no such file, no image in the folder, or no finished training.
  """
  if not path.exists():
    raise FileNotFoundError(f"predict: there is no {path}.")
  files = data.find_images(path) if path.is_dir() else [path]
  if not files:
    raise FileNotFoundError(f"predict: there is no image in {path}.")
  name, job, home = _finished(trained, root)
  variables = jax.tree.map(lambda leaf: leaf[0], training.load_weights(home / WEIGHTS))
  folder = root / "predictions"
  folder.mkdir(exist_ok=True)
  written = []
  stems = [file.stem for file in files]
  for file in files:
    image = _scaled(data.read_image(file, data.Form(3, None)), height)[None]
    found = training.predict(job.problem.predict, variables, {"image": image}, batch_size=1)
    maps = {task: maps_of(kind, found[task]) for task, kind in tasks.items()}
    # a.png and a.jpg have a figure each.
    target = folder / f"{file.stem if stems.count(file.stem) == 1 else file.name}.png"
    plots.plot_maps(target, image, maps, title=f"{name}: {file.name}")
    written.append(target)
  say(f"{len(written)} figure(s) of {name} are in {folder}.")
  return written


def _finished(
  trained: Sequence[tuple[str, Job]], root: pathlib.Path
) -> tuple[str, Job, pathlib.Path]:
  for name, job in trained[::-1]:
    home, _ = store.find_home(root, job)
    saved = store.read_outcome(home)
    if saved is not None and not saved["failure"]:
      return name, job, home
  raise FileNotFoundError(
    f"predict: {root} has no finished training of these options; give the same command without "
    "--predict first."
  )


def _scaled(image: np.ndarray, height: int) -> np.ndarray:
  width = max(1, round(image.shape[1] * height / image.shape[0]))
  return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
