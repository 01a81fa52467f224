"""The MAXL experiment as a whole: data, trainings, tables and figures."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

from experiments.maxl import complexity, data, report
from experiments.maxl.comparison import compared
from experiments.maxl.config import PRESETS, Config
from experiments.maxl.jobs import plan
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import say


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all methods (or combinations), and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds, rows as `experiments.runner.report.row` makes them, one a method and
    hierarchy (or a combination), with the share of auxiliary classes in use in the last epoch, the
    cosine of auxiliary and primary gradient (mean over epochs, of all and by filters) and the
    training accuracy beside.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
    FileNotFoundError: if the data are not there; the message says how to get them.
  """
  config.check()
  images = data.load(config)
  root = pathlib.Path(workdir or config.run.workdir)
  runner = config.run.runner(root)
  write: Any
  if config.combinations:
    groups = complexity.combined(config, images)
    jobs = complexity.plan(config, images, groups)
    write = functools.partial(complexity.write, config, images, groups)
  else:
    comparison = compared(config, images)
    jobs = plan(config, images, comparison, lambda job: runner.run(job, required=True))
    write = functools.partial(report.write, config, images, comparison)
  folder = report_folder(config, root)

  def so_far(outcomes: dict[str, Outcome]) -> None:
    write(outcomes, folder, f"{len(outcomes)} of {len(jobs)} trainings")

  summary = write(runner.run_all(jobs, after_each=so_far), folder)
  say(f"Results and figures are in {folder}.")
  return summary


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.maxl", args)
