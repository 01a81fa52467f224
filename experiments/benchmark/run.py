"""The benchmark as a whole: data, trainings, tables and figures."""

from __future__ import annotations

import pathlib
from typing import Any

from experiments.benchmark import report
from experiments.benchmark.config import PRESETS, Config
from experiments.benchmark.jobs import plan
from experiments.problems import multi_digits
from experiments.problems.images import ImageTasks
from experiments.problems.own_data import load_own, note_ignored
from experiments.problems.task_metrics import metrics_of
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import say


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains baselines and methods, and writes table, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds, rows as `experiments.runner.report.row` makes them, with
    `relative_change` by task and Delta_MTL of all tasks beside.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written, or a baseline
      that diverges: nothing could be compared with it.
  """
  config.check()
  if config.own:
    note_ignored(config, PRESETS[config.preset], "data_dir", "train_images")
  images = load(config)
  config = config.of(tuple(images.tasks))
  jobs = plan(config, images)
  metrics = metrics_of(images, config.tasks)
  root = pathlib.Path(workdir or config.run.workdir)
  runner = config.run.runner(root)
  folder = report_folder(config, root)

  def so_far(outcomes: dict[str, Outcome]) -> None:
    report.write(config, outcomes, folder, f"{len(outcomes)} of {len(jobs)} trainings", metrics)

  outcomes = runner.run_all(jobs, after_each=so_far)
  summary = report.write(config, outcomes, folder, metrics=metrics)
  say(f"Results and figures are in {folder}.")
  return summary


def load(config: Config) -> ImageTasks:
  """The images: multi-digits, or one's own."""
  digits, own, seed = config.digits, config.own_data, config.run.seed
  if not config.own:
    return multi_digits.load(digits, seed)
  return load_own(digits.dataset, own, image_size=digits.image_size, seed=seed, tasks=config.tasks)


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.benchmark", args)
