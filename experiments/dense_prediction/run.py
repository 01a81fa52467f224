"""Dense prediction as a whole: data, trainings, tables and figures."""

from __future__ import annotations

import functools
import pathlib
from dataclasses import fields
from typing import Any

from experiments.auto_lambda import report
from experiments.auto_lambda.jobs import MULTI_TASK
from experiments.dense_prediction import groupings, paper, pictures
from experiments.dense_prediction.config import PRESETS, Config
from experiments.dense_prediction.images import NOISE, READERS, load
from experiments.dense_prediction.jobs import plan
from experiments.problems.map_pictures import draw_own
from experiments.problems.map_sources import ROOMS, note_unused
from experiments.problems.own_data import note_ignored
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import say


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains baselines and methods, and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds; with `predict`, the paths of the figures.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
  """
  config.check()
  note_unused(config.data.dataset, config.data.data_dir, config.data.folder, (ROOMS,), READERS)
  if config.data.dataset != ROOMS:
    note_ignored(config, PRESETS[config.preset], *(f.name for f in fields(config.data.rooms)))
  images = load(config.data, config.run.seed)
  config = config.with_tasks(tuple(images.tasks))
  metrics = {task: images.tasks[task].metric for task in config.tasks}
  planned = plan(config, images)
  names = {key: job.name for key, job in planned.items()}
  jobs = list(planned.values())
  root = pathlib.Path(workdir or config.run.workdir)
  if config.predict is not None:
    trained = [(name, job) for (setting, name), job in planned.items() if setting == MULTI_TASK]
    kinds = {task: images.tasks[task] for task in config.tasks}
    found = draw_own(pathlib.Path(config.predict), root, trained, kinds, images.shape[0])
    return {"predictions": [str(path) for path in found]}
  for job in jobs:
    job.data_fingerprint  # noqa: B018  # files that cannot be read are named before any is written
  runner = config.run.runner(root)
  folder = report_folder(config, root)

  def write(outcomes: dict[str, Outcome], partial: str | None = None) -> dict[str, Any]:
    gains = groupings.gains(config, names, outcomes, metrics) if config.groupings else None
    if gains is not None:
      groupings.draw(config, gains, folder)
    return report.write(
      config,
      {key: name for key, name in names.items() if key[0] != groupings.GROUP},
      outcomes,
      folder,
      partial,
      metrics,
      experiment="dense_prediction",
      published=functools.partial(_published, config),
      further=None if gains is None else (gains.rows, [groupings.table(config, gains)]),
    )

  def so_far(outcomes: dict[str, Outcome]) -> None:
    write(outcomes, f"{len(outcomes)} of {len(jobs)} trainings")

  outcomes = runner.run_all(jobs, after_each=so_far)
  summary = write(outcomes)
  pictures.draw(config, images, planned, outcomes, folder)
  say(f"Results and figures are in {folder}.")
  return summary


def _published(config: Config, setting: str, name: str) -> Any:
  """The papers' figures of a row, where the data and the network are their own."""
  primary = None if setting == MULTI_TASK else setting
  kind, noise = config.dense.architecture, NOISE in config.tasks
  backbone = config.network.backbone
  return paper.published(config.data.dataset, kind, noise, primary, name, backbone)


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.dense_prediction", args)
