"""The grid as a whole: data, trainings, tables and heat maps."""

from __future__ import annotations

import pathlib
from typing import Any

from experiments.grid import report
from experiments.grid.config import PRESETS, Config
from experiments.grid.jobs import plan
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import say


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all models, and writes tables, heat maps and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds, rows as `experiments.runner.report.row` makes them, with the models
    in the same order, and the errors of both baselines, beside.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
    FileNotFoundError: if the data are not there; the message says what is missing.
  """
  config.check()
  parts = config.images.load()
  root = pathlib.Path(workdir or config.run.workdir)
  runner = config.run.runner(root)
  jobs = plan(config, parts, runner.layout)
  folder = report_folder(config, root)

  def so_far(outcomes: dict[str, Outcome]) -> None:
    found = {cell: outcomes[job.name] for cell, job in jobs.items() if job.name in outcomes}
    report.write(config, parts, found, folder, f"{len(found)} of {len(jobs)} models")
    # Methods on one network share its first parameters and its evaluation. Beyond that, hundreds of
    # compiled networks would fill the memory.
    if len(found) % len(config.methods) == 0:
      runner.forget()

  outcomes = runner.run_all(jobs.values(), after_each=so_far)
  found = {cell: outcomes[job.name] for cell, job in jobs.items()}
  summary = report.write(config, parts, found, folder)
  say(f"Results and figures are in {folder}.")
  return summary


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.grid", args)
