"""The Auto-lambda experiment as a whole: data, trainings, tables and figures."""

from __future__ import annotations

import pathlib
from typing import Any

from experiments.auto_lambda import report
from experiments.auto_lambda.config import PRESETS, Config
from experiments.auto_lambda.images import load, names_of
from experiments.auto_lambda.jobs import plan
from experiments.problems.domains import Domains
from experiments.problems.own_data import note_ignored
from experiments.problems.task_metrics import metrics_of
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import say


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all settings, and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds, rows as `experiments.runner.report.row` makes them, with
    `last_weight` by task among the values: the mean over the last steps that were logged. Beside
    them `exact_against_approximate`, by task, and `below_zero`, weights that became negative.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
    FileNotFoundError: if the data are not there.
  """
  config.check()
  if config.data.own:
    note_ignored(config, PRESETS[config.preset], "data_dir", "train_images", "validation")
  source = load(config.data, config.own_data, config.run.seed, config.tasks)
  config = config.with_tasks(names_of(source))
  metrics = None if isinstance(source, Domains) else metrics_of(source, config.tasks)
  planned = plan(config, source)
  names = {key: job.name for key, job in planned.items()}
  jobs = list(planned.values())
  root = pathlib.Path(workdir or config.run.workdir)
  runner = config.run.runner(root)
  folder = report_folder(config, root)
  if config.learns_weights:
    say(config.weights.explain(jobs[-1].steps))

  def so_far(outcomes: dict[str, Outcome]) -> None:
    text = f"{len(outcomes)} of {len(jobs)} trainings"
    report.write(config, names, outcomes, folder, text, metrics)

  outcomes = runner.run_all(jobs, after_each=so_far)
  summary = report.write(config, names, outcomes, folder, metrics=metrics)
  say(f"Results and figures are in {folder}.")
  return summary


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.auto_lambda", args)
