"""The ReCo experiment as a whole: data, draws of labels, trainings, tables and figures."""

from __future__ import annotations

import pathlib
from dataclasses import fields
from typing import Any

from experiments.problems.map_pictures import draw_own
from experiments.problems.map_sources import note_unused
from experiments.problems.own_data import note_ignored
from experiments.reco import figures, report
from experiments.reco.config import PRESETS, Config
from experiments.reco.images import EMBEDDED, READERS, load
from experiments.reco.jobs import plan
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import say


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all methods in all settings, and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds; with `predict`, the paths of the figures.

  Raises:
    ValueError: for options that do not fit, before anything is compiled.
    FileNotFoundError: if the data are not there; the message says what is missing.
  """
  config.check()
  note_unused(config.data.dataset, config.data.data_dir, config.data.folder, EMBEDDED, READERS)
  if config.data.dataset not in EMBEDDED:
    note_ignored(config, PRESETS[config.preset], *(f.name for f in fields(config.data.embedded)))
  images = load(config.data, config.run.seed)
  root = pathlib.Path(workdir or config.run.workdir)
  planned = plan(config, images, root)
  jobs = [job for of_key in planned.values() for job in of_key]
  if config.predict is not None:
    trained = [(" ".join(key), of_key[0]) for key, of_key in planned.items()]
    path = pathlib.Path(config.predict)
    found = draw_own(path, root, trained, images.tasks, images.shape[0])
    return {"predictions": [str(path) for path in found]}
  for job in jobs:
    job.data_fingerprint  # noqa: B018  # files that cannot be read are named before any is written
  runner = config.run.runner(root)
  folder = report_folder(config, root)

  def write(outcomes: dict[str, Outcome], partial: str | None = None) -> dict[str, Any]:
    done = report.finished(planned, outcomes)
    summary = report.write(config, images, done, folder, partial)
    figures.draw(config, images, done, folder)
    return summary

  def so_far(outcomes: dict[str, Outcome]) -> None:
    write(outcomes, f"{len(outcomes)} of {len(jobs)} trainings")

  summary = write(runner.run_all(jobs, after_each=so_far))
  say(f"Results and figures are in {folder}.")
  return summary


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.reco", args)
