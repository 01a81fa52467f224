"""Going on from another training's last checkpoint, with other options."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.runner import store
from experiments.runner.job import Job
from experiments.runner.mesh import is_main, say
from jaxmtl import training
from jaxmtl.training.writer import LOG, read_rows

PyTree = Any


class Restart:
  """A training, such as one that diverged, from which the job of its name goes on."""

  def __init__(self, folder: str | pathlib.Path):
    """Takes its folder.

    Raises:
      FileNotFoundError: if there is no training with a checkpoint in it.
    """
    self._folder = pathlib.Path(folder).expanduser()
    saved = store.read_json(self._folder / store.JOB)
    step = last_step(self._folder)
    if not isinstance(saved, Mapping) or step is None:
      raise FileNotFoundError(
        f"restart_from: {str(folder)!r} is no training with a checkpoint; name the folder of one, "
        "such as runs/benchmark/dwa."
      )
    self._name = saved["name"]
    text = json.dumps(saved["identity"], sort_keys=True)
    self._mark = f"step {step} of {hashlib.sha256(text.encode()).hexdigest()[:16]}"

  def note(self, names: Sequence[str]) -> None:
    """Says where none of these jobs is meant."""
    if self._name not in names:
      say(f"Note: restart_from is of {self._name!r}, which is none of {', '.join(names)}.")

  def is_for(self, job: Job) -> bool:
    """Whether the job is the one that goes on."""
    return job.name == self._name

  def named(self, job: Job) -> Job:
    """The job, which depends on where it goes on from."""
    if not self.is_for(job):
      return job
    return dataclasses.replace(job, identity={**job.identity, "restart_from": self._mark})

  def begin(self, state: PyTree, home: pathlib.Path) -> tuple[int, PyTree]:
    """Step and state of the last checkpoint; rows up to it become those of the new folder."""
    fields = list(state) if isinstance(state, Mapping) else [f.name for f in _fields(state)]
    with training.Checkpointer(self._folder / store.CHECKPOINTS, read_only=True) as saver:
      restored = saver.restore(state, only=fields)
    if restored is None:
      raise FileNotFoundError(f"restart_from: {self._folder} has no checkpoint any more.")
    step, state = restored
    say(f"{self._name}: goes on from step {step} of {self._folder}")
    if is_main():
      rows = [row for row in read_rows(self._folder / LOG) if row["step"] <= step]
      with training.replacing(home / LOG) as draft:
        draft.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return step, state


def _fields(state: Any) -> tuple[dataclasses.Field, ...]:
  return dataclasses.fields(state)


def last_step(folder: pathlib.Path) -> int | None:
  """Of a training's checkpoints, or None where there is none."""
  steps = [int(p.name) for p in (folder / store.CHECKPOINTS).glob("*") if p.name.isdigit()]
  return max(steps, default=None)


def how_to_go_on(folder: pathlib.Path) -> str:
  """What to do where a training diverged."""
  if (step := last_step(folder)) is None:
    return "There is no checkpoint to go on from: start again with a lower --learning-rate."
  return (
    f"To go on from step {step} with other options, a lower --learning-rate for example, add "
    f"--restart-from {folder}"
  )
