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

OUTCOME, JOB, NETWORK = "outcome.json", "job.json", "network.json"


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
  return plain({**job.identity, **epochs, "seeds": list(job.seeds)})


def find_home(folder: pathlib.Path, job: Job) -> tuple[pathlib.Path, str | None]:
  """The folder of a job, and why it is not the one of its name, where it is not.

  The first configuration of a name gets the plain folder, any other one its own beside it.
  """
  identity, name = identity_of(job), re.sub(r"[^\w.+=-]+", "_", job.name).strip("_")
  mark = json.dumps([identity, job.recipe.epochs], sort_keys=True).encode()
  first, own = folder / name, folder / f"{name}-{hashlib.sha256(mark).hexdigest()[:8]}"
  if (own / JOB).exists():
    return own, None
  if not first.exists():
    return first, None
  found = read_json(first / JOB)
  if found is None:
    return own, f"{first} holds something else"
  if found["identity"] != identity:
    return own, f"{first} has {differences(found['identity'], identity)}"
  outcome = read_json(first / OUTCOME)
  if outcome is not None and outcome["epochs"] > job.recipe.epochs:
    return own, f"{first} has epochs={outcome['epochs']} instead of {job.recipe.epochs}"
  return first, None


def differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
  """What differs between two configurations, for people."""
  missing = object()
  names = [n for n in {**saved, **wanted} if saved.get(n, missing) != wanted.get(n, missing)]
  found = []
  for name in names:
    old, new = saved.get(name), wanted.get(name)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
      found.append(differences(old, new))
    else:
      found.append(f"{name}={_short(old)} instead of {_short(new)}")
  return ", ".join(found)


def _short(value: Any) -> str:
  text = str(value)
  return text if len(text) <= 60 else text[:57] + "..."


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
