"""The command line of an experiment: presets, options, one line where something does not fit."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import tyro

from experiments.runner.config import check_finite, flat
from experiments.runner.mesh import say, start_processes
from jaxmtl import training

FAULTS = (
  *(ValueError, OSError, RuntimeError, EOFError, ImportError, MemoryError, zipfile.BadZipFile),
  training.TrainingDiverged,
)
"""What files, options, devices and training raise."""


def one_line(error: BaseException) -> str:
  """What users are told of an error: the text of our own, kind and first line of all others'."""
  if isinstance(error, (ValueError, OSError, training.TrainingDiverged)) and str(error):
    return str(error)
  kind, lines = type(error).__name__, str(error).strip().splitlines()
  return f"{kind}: {lines[0]}" if lines else kind


def command_line(
  run: Callable[[Any], Any], presets: Mapping[str, Any], prog: str, args: list[str] | None
) -> None:
  """Runs an experiment with options from the command line.

  Args:
    run: the experiment, of one configuration.
    presets: configurations by the name that `--preset` takes, the default one first.
    prog: the command, for its help, which begins with the first lines of its package's docstring.
    args: instead of the process' arguments.

  Raises:
    SystemExit: with one line, where options do not fit, data are missing, training diverges, or it
      was asked to stop.
  """
  parser = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
  parser.add_argument("--preset", choices=list(presets), default=next(iter(presets)))
  chosen = presets[parser.parse_known_args(args)[0].preset]
  docstring = getattr(sys.modules.get(prog.split()[-1]), "__doc__", None) or ""
  about = docstring.split("\n\n")[0]
  config = tyro.cli(
    type(chosen),
    default=chosen,
    args=args,
    prog=prog,
    description=f"{about} --preset sets the defaults of all other options.",
    config=(tyro.conf.OmitArgPrefixes,),
  )
  options = flat(config)
  started = time.perf_counter()
  # Processes that stop at different steps would wait for each other: several end at once instead.
  several = options.get("coordinator") is not None
  with contextlib.nullcontext() if several else training.stop_on_signal():
    try:
      check_finite(config)
      start_processes(
        options.get("coordinator"), options.get("num_processes"), options.get("process")
      )
      run(config)
    except FAULTS as error:
      raise SystemExit(f"error: {one_line(error)}") from error
    except (training.Stopped, KeyboardInterrupt) as error:
      say(f"{str(error) or 'Interrupted.'} The same command goes on from there.")
      if isinstance(error, KeyboardInterrupt) and args is None:
        # Python's orderly end crashes while XLA compiles.
        os._exit(130)
      terminated = training.stop_requested() == signal.SIGTERM
      raise SystemExit(0 if terminated else 130) from None
  say(f"{time.perf_counter() - started:.0f} s in all.")
