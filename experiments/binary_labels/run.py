"""Binary Labels as a whole: data, trainings, tables and figures."""

from __future__ import annotations

import pathlib
from typing import Any

from experiments.binary_labels import report
from experiments.binary_labels.config import PRESETS, Config
from experiments.binary_labels.jobs import plan
from experiments.binary_labels.problem import MAIN, draw_codes, labelled, load
from experiments.problems.own_data import note_ignored
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import say


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains every variant, and writes table, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds, rows as `experiments.runner.report.row` makes them, with the last
    epoch's `train_accuracy`, `validation_accuracy` and `cosine` beside, and `labelled_images`.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
    FileNotFoundError: if the data are not there; the message says how to get them.
  """
  variants = config.check()
  if config.images.own:
    note_ignored(config, PRESETS[config.preset], "data_dir", "validation")
  images = load(config)
  subsets = labelled(config, images)
  codes: dict[str, Any] = {
    v.kind: draw_codes(config, v.kind, images.tasks[MAIN].classes) for v in variants
  }
  jobs = plan(config, variants, images, subsets, codes)
  root = pathlib.Path(workdir or config.run.workdir)
  runner = config.run.runner(root)
  folder = report_folder(config, root)

  def write(outcomes: dict[str, Outcome], partial: str | None = None) -> dict[str, Any]:
    found = {v: outcomes[v.job] for v in variants if v.job in outcomes}
    return report.write(config, found, images, codes, subsets.shape[1], folder, partial)

  def so_far(outcomes: dict[str, Outcome]) -> None:
    write(outcomes, f"{len(outcomes)} of {len(jobs)} trainings")

  summary = write(runner.run_all(jobs, after_each=so_far))
  say(f"Results, curves and figures are in {folder}.")
  return summary


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.binary_labels", args)
