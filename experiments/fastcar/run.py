"""The FastCAR experiment as a whole: data, one-epoch tests, trainings, tables and figures."""

from __future__ import annotations

import pathlib
from typing import Any

from experiments.fastcar import figures, report
from experiments.fastcar.config import PRESETS, Config
from experiments.fastcar.jobs import maker, pair_jobs, passing
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import say
from jaxmtl import labels


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all models, and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds, rows as `experiments.runner.report.row` makes them, with the trials
    of the one-epoch tests by approach, and the errors of both baselines, beside.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written; or if no trial
      of a one-epoch test passed.
    FileNotFoundError: if the data are not there; the message says what is missing.
  """
  config.check()
  parts = config.images.load()
  # Raises for a gap that does not fit, before anything is written.
  labels.FastCAR.fit(
    parts.train.values, parts.train.classes, gap=config.labels.gap, scale=config.labels.scale
  )
  root = pathlib.Path(workdir or config.run.workdir)
  runner = config.run.runner(root)
  make = maker(config, parts, runner.layout)
  jobs = pair_jobs(config, parts, make)
  folder = report_folder(config, root)

  approaches: tuple[str, ...] = config.approaches
  hybrids = {
    name: passing(config, parts, make, runner, scaled=name == "fastcar_scaled")
    for name in approaches
    if name not in jobs
  }
  jobs |= {name: hybrid.job for name, hybrid in hybrids.items()}
  # Both tests may end with the same labels.
  trainings = {jobs[name].name: jobs[name] for name in approaches}
  predicted: dict[str, figures.Prediction] = {}

  def write(outcomes: dict[str, Outcome], partial: str | None) -> dict[str, Any]:
    found = {n: outcomes[jobs[n].name] for n in approaches if jobs[n].name in outcomes}
    trials = {name: hybrid.trials for name, hybrid in hybrids.items()}
    summary = report.write(config, parts, found, trials, folder, partial)
    for name, outcome in found.items():
      if name not in predicted and not outcome.failure:
        predicted[name] = figures.predictions(jobs[name], outcome)
    fitted = {name: hybrid.labels for name, hybrid in hybrids.items()}
    figures.draw(parts, found, predicted, fitted, folder)
    return summary

  def so_far(outcomes: dict[str, Outcome]) -> None:
    write(outcomes, f"{len(outcomes)} of {len(trainings)} trainings")

  summary = write(runner.run_all(trainings.values(), after_each=so_far), None)
  say(f"Results and figures are in {folder}.")
  return summary


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.fastcar", args)
