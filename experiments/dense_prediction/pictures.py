"""Test images with what a network says of them."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from matplotlib.figure import Figure

from experiments.auto_lambda.jobs import MULTI_TASK, Key
from experiments.dense_prediction.config import Config
from experiments.problems.map_pictures import SHOWN, maps_of, some
from experiments.problems.maps import MapImages
from experiments.runner.job import Job, Outcome
from experiments.runner.mesh import is_main
from jaxmtl import plots, training


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
  chosen = some(images.parts["test"], ("image", *config.tasks))
  variables = outcomes[job.name].first_variables
  found = training.predict(job.problem.predict, variables, chosen, batch_size=SHOWN)
  kinds = {t: images.tasks[t] for t in config.tasks}
  figure = plots.plot_maps(
    folder / "pictures.png",
    chosen["image"],
    {t: maps_of(kind, found[t], chosen[t]) for t, kind in kinds.items()},
    title=f"{name}: test images, seed {config.run.all_seeds[0]}",
  )
  return {"pictures.png": figure}
