"""The command line: train, caption, ask, classify, experts, convert."""

from __future__ import annotations

import sys

from experiments.prismer import run


def main(args: list[str] | None = None) -> None:
  """Gives the arguments to the command that the first one names, or to the trainings."""
  given = sys.argv[1:] if args is None else args
  run.main(given[1:] if given[:1] == ["train"] else given)
