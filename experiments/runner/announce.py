"""What users are told: how many trainings, how long, and what is waited for while nothing moves."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import rich.console

from experiments.runner.job import Job
from experiments.runner.mesh import is_main, say
from jaxmtl.training.progress import duration


class Plan:
  """How many trainings are to be done, and about how long that takes."""

  def __init__(self) -> None:
    """Knows of nothing yet."""
    self._steps_left = self._trainings = 0
    self._names: list[str] = []
    self._per_step: dict[int, float] = {}  # by phase, of the training that is heard

  def announce(self, jobs: list[Job], total: int) -> None:
    """Says what is to come."""
    self._steps_left = sum(job.steps for job in jobs)
    self._trainings = len(jobs)
    if not total:
      return
    before = f", {total - len(jobs)} of them on disk already" if len(jobs) < total else ""
    say(f"{total} training(s){before}: {self._steps_left} steps in all.")

  def took(self, job: Job, phase: int, steps: int, seconds: float, compile_seconds: float) -> None:
    """Hears what steps took, and says what that makes for all, after each phase's first call."""
    self._steps_left -= steps
    if job.name in self._names or not self._trainings:
      return
    self._per_step.setdefault(phase, seconds / steps)
    if self._steps_left > 0 and len(self._per_step) == len(job.phases):
      rest = self._steps_left * sum(self._per_step.values()) / len(self._per_step)
      rest += compile_seconds * (self._trainings - 1)
      if not self._names:
        say(f"About {duration(rest)} to go, if all are like {job.name}.")
      self._trainings -= 1
      self._names.append(job.name)
      self._per_step = {}


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
  """Shows what is being waited for: on a terminal while it lasts, in a log where it took long."""
  console = rich.console.Console()
  if not is_main():
    yield
  elif console.is_terminal:
    with console.status(text):
      yield
  else:
    started = time.monotonic()
    yield
    if (seconds := time.monotonic() - started) > 5:
      say(f"{text} took {duration(seconds)}")
