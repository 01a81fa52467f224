"""The toy problem as a whole: paths, table and figure."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

from experiments.runner.command_line import command_line
from experiments.runner.config import report_folder
from experiments.runner.mesh import say
from experiments.toy import paths, report
from experiments.toy.config import PRESETS, Config
from experiments.toy.problem import pareto_front
from jaxmtl import training


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains by every method, and writes the figure and results.

  Args:
    config: the options.
    workdir: instead of `config.workdir`.

  Returns:
    What `results.json` holds, rows as `experiments.runner.report.row` makes them, but by start
    instead of by seed: `loss` (without offset), `distance` to the Pareto front, and `end`; beside
    them the `starts`, and by name why methods were `left_out`.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
    training.Stopped: if asked to stop, after the method in progress.
  """
  left_out = config.check()
  folder = report_folder(config, pathlib.Path(workdir or config.workdir))
  for name, reason in left_out.items():
    say(f"{name} is left out: {reason}.")
  names = [name for name in config.methods if name not in left_out]
  saved = {name: paths.read(folder, name) for name in names}
  found = {name: path for name, path in saved.items() if path is not None}
  say(f"{len(names)} method(s), {len(found)} of them on disk already.")
  front = pareto_front(config.scale_first)
  with training.locked(folder) if len(found) < len(names) else contextlib.nullcontext():
    for name in names:
      if name in found:
        continue
      if training.stop_requested():
        raise training.Stopped(f"toy was stopped after {len(found)} of {len(names)} methods.")
      found[name] = paths.train(config, name)
      paths.write(folder, name, found[name])
      if len(found) < len(names):
        so_far = {n: found[n] for n in names if n in found}
        part = f"{len(found)} of {len(names)} methods"
        report.write(config, so_far, left_out, front, folder, part)
      say(f"{name}: {found[name].compile_seconds:.1f} s to compile, {found[name].seconds:.1f} s")
  summary = report.write(config, {name: found[name] for name in names}, left_out, front, folder)
  say(f"Results and figure are in {folder}.")
  return summary


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.toy", args)
