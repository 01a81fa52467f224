"""What a job leaves on disk, and how it is found again: by what its outcome depends on."""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.runner.job import Job, Outcome
from experiments.runner.measure import ms_per_step
from jaxmtl import training
from jaxmtl.training.differences import differences

OUTCOME, JOB, NETWORK, CHECKPOINTS = "outcome.json", "job.json", "network.json", "checkpoints"
LATER: dict[str, Any] = {"cosine": "step", "optimizer": "sgd", "decay": None}
"""Options on which jobs depend that came later than outcomes which are still to be found: what
these are taken to have, which is what the option's default does. Within groups by nested dicts."""
_DATA = "data_fingerprint"
_PARTS = ("epochs", "values", "compile_seconds", "failure", "history")


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a file that appears only when complete; numbers that are not finite become null."""
  with training.replacing(path) as draft:
    draft.write_text(json.dumps(plain(value), indent=2) + "\n")


def plain(value: Any) -> Any:
  """A value as JSON has it: lists for arrays and tuples, None for numbers that are not finite."""
  if isinstance(value, Mapping):
    return {str(key): plain(inner) for key, inner in value.items()}
  if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
    return plain(np.asarray(value).tolist())
  if isinstance(value, (list, tuple)):
    return [plain(inner) for inner in value]
  if isinstance(value, pathlib.Path):
    return str(value)
  return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: pathlib.Path) -> Any:
  """A file's value, or None where there is none.

  Raises:
    ValueError: naming the file, if it is no JSON.
  """
  try:
    return json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f"{path} cannot be read ({error}); move it away to train anew.") from error


def identity_of(job: Job) -> dict[str, Any]:
  """What a job's outcome depends on, as JSON has it."""
  epochs = {} if job.recipe.open_ended else {"epochs": job.recipe.epochs}
  return plain({**job.identity, **epochs, "seeds": list(job.seeds), _DATA: job.data_fingerprint})


def before_of(identity: Mapping[str, Any]) -> dict[str, Any]:
  """What outcomes are taken to have that were written before there was such an option."""
  return {**LATER, _DATA: identity[_DATA]}


def find_home(folder: pathlib.Path, job: Job) -> tuple[pathlib.Path, str | None]:
  """The folder of a job, and why it is not the one of its name, where it is not.

  The first configuration of a name gets the plain folder, any other one its own beside it.
  """
  identity, name = identity_of(job), folder_name(job.name)
  mark = json.dumps([identity, job.recipe.epochs], sort_keys=True).encode()
  first, own = folder / name, folder / f"{name}-{hashlib.sha256(mark).hexdigest()[:8]}"
  if (own / JOB).exists():
    return own, None
  if not first.exists():
    return first, None
  # One that was written before an option was there has another mark.
  for home in (first, *sorted(folder.glob(f"{name}-" + "[0-9a-f]" * 8))):
    why = _why_not(home, identity, job.recipe.epochs, exactly=home != first)
    if why is None:
      return home, None
    if home == first:
      reason = why
  return own, reason


def folder_name(name: str) -> str:
  """A job's name as a folder has it."""
  return re.sub(r"[^\w.+=-]+", "_", name).strip("_")


def _why_not(
  home: pathlib.Path, identity: Mapping[str, Any], epochs: int, *, exactly: bool
) -> str | None:
  """Why a folder is not that of a job, or None; `exactly` so many epochs, or at most."""
  found = read_json(home / JOB)
  if not isinstance(found, Mapping) or not isinstance(found.get("identity"), Mapping):
    return f"{home} holds something else"
  if changes := differences(found["identity"], identity, before_of(identity)):
    told = [f"{n}={_short(old)} instead of {_short(new)}" for n, (old, new) in changes.items()]
    return f"{home} has {', '.join(told)}"
  outcome = read_outcome(home)
  there = 0 if outcome is None else outcome["epochs"]
  if there > epochs or (exactly and there and there != epochs):
    return f"{home} has epochs={there} instead of {epochs}"
  return None


def _short(value: Any) -> str:
  text = str(value)
  return text if len(text) <= 60 else text[:57] + "..."


def read_outcome(home: pathlib.Path) -> Any:
  """What `outcome.json` holds, or None where there is none.

  Raises:
    ValueError: naming the file, if it is none of ours.
  """
  path = home / OUTCOME
  saved = read_json(path)
  if path.exists() and not (isinstance(saved, Mapping) and all(p in saved for p in _PARTS)):
    raise ValueError(f"{path} holds no outcome of a training; move it away to train anew.")
  return saved


def outcome_to_json(job: Job, outcome: Outcome, epochs: int) -> dict[str, Any]:
  """What `outcome.json` holds."""
  return plain(
    {
      "name": job.name,
      "identity": identity_of(job),
      "epochs": epochs,
      "values": outcome.values,
      "compile_seconds": outcome.compile_seconds,
      "failure": outcome.failure,
      "history": outcome.history,
    }
  )


def outcome_from_json(job: Job, saved: Mapping[str, Any], folder: pathlib.Path) -> Outcome:
  """The outcome that a file holds."""
  history = saved["history"]
  compile_seconds = saved["compile_seconds"]
  return Outcome(
    name=job.name,
    tasks=tuple(job.problem.tasks),
    values={
      metric: {task: np.asarray(runs, float) for task, runs in by_task.items()}
      for metric, by_task in saved["values"].items()
    },
    history=history,
    ms_per_step=ms_per_step(history, len(job.phases)),
    compile_seconds=compile_seconds,
    minutes=(sum(row["seconds"] for row in history) + compile_seconds) / 60,
    failure=saved["failure"],
    folder=folder,
  )
