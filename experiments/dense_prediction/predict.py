"""What a trained network says of images of the user's own."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from PIL import Image

from experiments.auto_lambda.jobs import MULTI_TASK, Key
from experiments.dense_prediction.config import Config
from experiments.dense_prediction.pictures import maps_of
from experiments.problems.maps import MapImages
from experiments.runner import store
from experiments.runner.job import WEIGHTS, Job
from experiments.runner.mesh import say
from jaxmtl import data, plots, training


def predict(
  config: Config,
  images: MapImages,
  planned: Mapping[Key, Job],
  root: pathlib.Path,
  path: pathlib.Path,
) -> list[pathlib.Path]:
  """Draws each image with the maps that the last finished method of `--methods` makes of it.

  Images are brought to the height of the training images; their sides keep their ratio.

  Args:
    config: the options with which the network was trained.
    images: what it was trained on.
    planned: the jobs.
    root: the folder of the trainings.
    path: an image, or a folder of images.

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
  name, job, home = _finished(planned, root)
  variables = jax.tree.map(lambda leaf: leaf[0], training.load_weights(home / WEIGHTS))
  folder = root / "predictions"
  folder.mkdir(exist_ok=True)
  written = []
  stems = [file.stem for file in files]
  for file in files:
    image = _scaled(data.read_image(file, data.Form(3, None)), images.shape[0])[None]
    found = training.predict(job.problem.predict, variables, {"image": image}, batch_size=1)
    maps = {t: maps_of(images.tasks[t], found[t]) for t in config.tasks}
    # a.png and a.jpg have a figure each.
    target = folder / f"{file.stem if stems.count(file.stem) == 1 else file.name}.png"
    plots.plot_maps(target, image, maps, title=f"{name}: {file.name}")
    written.append(target)
  say(f"{len(written)} figure(s) of {name} are in {folder}.")
  return written


def _finished(planned: Mapping[Key, Job], root: pathlib.Path) -> tuple[str, Job, pathlib.Path]:
  several = [(name, job) for (setting, name), job in planned.items() if setting == MULTI_TASK]
  for name, job in several[::-1]:
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
