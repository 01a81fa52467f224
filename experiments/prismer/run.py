"""Prismer's trainings as a whole: data, networks, what they say, tables and figures."""

from __future__ import annotations

import pathlib
from typing import Any

from experiments.prismer import figures, report
from experiments.prismer.asked import Texts, ask
from experiments.prismer.config import PRESETS, SCENES, Config
from experiments.prismer.jobs import Key, Planned, plan
from experiments.prismer.material import Material, load
from experiments.prismer.trained import keep
from experiments.problems.own_data import note_ignored
from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main, say

PROG = "python -m experiments.prismer"


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all networks, asks them, and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.run.workdir`.

  Returns:
    What `results.json` holds.

  Raises:
    ValueError: for options that do not fit, before anything is compiled.
    OSError: if data are not there; the message says what is missing.
  """
  config.check()
  if config.data.dataset != SCENES:
    note_ignored(config, PRESETS[config.preset], "most_digits")
  material = load(config)
  planned = plan(config, material)
  jobs = [one.job for one in planned.values()]
  for job in jobs:
    job.data_fingerprint  # noqa: B018  # files that cannot be read are named before any is written
  root = pathlib.Path(workdir or config.run.workdir)
  runner = config.run.runner(root)
  folder = report_folder(config, root)

  def write(outcomes: dict[str, Outcome], partial: str | None = None) -> dict[str, Any]:
    found = _asked(config, material, planned, outcomes)
    summary = report.write(config, planned, found, folder, partial)
    figures.draw(config, material, planned, found, folder)
    return summary

  def so_far(outcomes: dict[str, Outcome]) -> None:
    write(outcomes, f"{len(outcomes)} of {len(jobs)} trainings")

  summary = write(runner.run_all(jobs, after_each=so_far))
  say(f"Results and figures are in {folder}.")
  return summary


def _asked(
  config: Config,
  material: Material,
  planned: dict[Key, Planned],
  outcomes: dict[str, Outcome],
) -> dict[Key, tuple[Outcome, Texts | None]]:
  """Those that are finished, with what they say."""
  found: dict[Key, tuple[Outcome, Texts | None]] = {}
  for key, one in planned.items():
    outcome = outcomes.get(one.job.name)
    if outcome is None:
      continue
    if outcome.failure:
      found[key] = outcome, None
      continue
    if is_main():
      keep(outcome, material)
    found[key] = outcome, ask(config, material, one, outcome)
  return found


def main(args: list[str] | None = None) -> None:
  """The command line of the trainings."""
  command_line(run, PRESETS, PROG, args)
