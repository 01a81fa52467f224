"""The DGR experiment as a whole: data, trainings, probes, tables and figures."""

from __future__ import annotations

import pathlib
from typing import Any

from experiments.dgr import report
from experiments.dgr.config import PRESETS, Config
from experiments.dgr.frozen import Frozen
from experiments.dgr.jobs import SWEEP, Plan, best_weights, sweep_of, swept
from experiments.problems.own_data import note_ignored
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import say


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains baselines, methods and sweep, then DGR, and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds, rows as `experiments.runner.report.row` makes them, with accuracies
    of simple classifiers on frozen features and universality among their values; beside them the
    `sweep`, the `weights` it chose by method and `skipped_files`.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written, or a baseline
      or sweep that diverges: nothing could be compared with it, or chosen.
    FileNotFoundError: if the data are not there.
  """
  methods = config.check()
  if config.data.own:
    note_ignored(config, PRESETS[config.preset], "data_dir", "train_images")
  if config.penalty.weight is not None and config.penalty.sweep_each:
    say("Note: with --weight nothing is swept, and --sweep-each has no use.")
  images, skipped = config.data.load(config.run.seed, config.own_data, config.tasks)
  config = config.of(images)
  root = pathlib.Path(workdir or config.run.workdir)
  runner = config.run.runner(root)
  plan, frozen = Plan(config, images, methods), Frozen(config, images)
  first = plan.before()
  total = len(first) + len(methods)
  folder = report_folder(config, root)
  given = config.penalty.weight
  weights = {} if given is None else dict.fromkeys(methods, given)
  found: dict[str, Outcome] = {}

  def so_far(outcomes: dict[str, Outcome]) -> None:
    _stop_where_needed(outcomes)
    everything = found | outcomes
    text = f"{len(everything)} of {total} trainings"
    report.write(config, everything, frozen, folder, skipped=skipped, weights=weights, partial=text)

  say(f"{len(methods)} training(s) with DGR follow the first {len(first)}.")
  found |= runner.run_all(first, after_each=so_far)
  if given is None:
    _stop_where_needed(found)
    weights |= best_weights(config, swept(config, found))
    told = ", ".join(
      f"{weights[sweep]:g} ({sweep})" for sweep in methods if sweep_of(sweep) in found
    )
    say(f"DGR's weight, the best of the sweep on the validation part: {told}.")
  so_far({})
  found |= runner.run_all(plan.with_dgr(weights), after_each=so_far)
  summary = report.write(config, found, frozen, folder, skipped=skipped, weights=weights)
  say(f"Results and figures are in {folder}.")
  return summary


def _stop_where_needed(outcomes: dict[str, Outcome]) -> None:
  """Raises ValueError where what all others rest on diverged."""
  for name, outcome in outcomes.items():
    if outcome.failure and name.startswith(SWEEP):
      raise ValueError(f"the {name} diverged: {outcome.failure}; leave the largest weights out.")
    if outcome.failure and name.startswith("single_"):
      task = name.removeprefix("single_")
      raise ValueError(f"the baseline of task {task!r} diverged: {outcome.failure}")


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.dgr", args)
