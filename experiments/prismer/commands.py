"""The command line: train, caption, ask, classify, experts, convert."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import tyro

from experiments.prismer import run
from experiments.prismer.export import Convert, convert
from experiments.prismer.label import Experts, experts
from experiments.prismer.speak import Ask, Caption, Classify, ask, caption, classify
from experiments.runner.command_line import FAULTS, one_line
from experiments.runner.config import check_finite
from experiments.runner.mesh import say

TRAIN = "train"
COMMANDS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
  "caption": (Caption, caption),
  "ask": (Ask, ask),
  "classify": (Classify, classify),
  "experts": (Experts, experts),
  "convert": (Convert, convert),
}


def main(args: list[str] | None = None) -> None:
  """Gives the arguments to the command that the first one names, or to the trainings.

  Args:
    args: instead of the process' arguments.

  Raises:
    SystemExit: with one line, where options or files do not fit; with code 1 where images of a
      folder failed.
  """
  given = sys.argv[1:] if args is None else args
  first = given[0] if given else TRAIN
  if first.startswith("-") or first == TRAIN:
    run.main(given[1:] if given[:1] == [TRAIN] else args)
    return
  if first not in COMMANDS:
    known = ", ".join((TRAIN, *COMMANDS))
    raise SystemExit(f"error: there is no command {first!r}; there are {known}.")
  options, function = COMMANDS[first]
  config = tyro.cli(
    options, args=given[1:], prog=f"{run.PROG} {first}", config=(tyro.conf.OmitArgPrefixes,)
  )
  try:
    check_finite(config)
    function(config)
  except FAULTS as error:
    raise SystemExit(f"error: {one_line(error)}") from error
  except KeyboardInterrupt:
    say("Interrupted.")
    raise SystemExit(130) from None
