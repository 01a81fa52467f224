"""The weights of the best epoch instead of the last one's, chosen on the validation part."""

from __future__ import annotations

import pathlib
from typing import Any

import jax

from experiments.runner.job import Job
from experiments.runner.mesh import say
from jaxmtl import training
from jaxmtl.training.loop import Every

PyTree = Any
BEST = "best.safetensors"


def best_weights(
  job: Job, home: pathlib.Path, evaluate_every: Every
) -> training.BestWeights | None:
  """What keeps the weights that a job chooses, or None where it chooses none.

  Raises:
    ValueError: if it has no validation part, which is not measured after each epoch, or there are
      several processes.
  """
  if job.selection is None:
    return None
  if jax.process_count() > 1:
    raise ValueError(f"{job.name}: the best epoch is chosen by one process alone; start one.")
  if str(evaluate_every) != "1" or job.parts.get("validation") is None:
    raise ValueError(
      f"{job.name}: the best epoch is chosen on a validation part, which there must be, after each "
      f"epoch; evaluate_every must be 1, got {evaluate_every!r}."
    )
  return training.BestWeights(home / BEST, job.selection.score, job.variables)


def chosen(job: Job, best: training.BestWeights, like: PyTree) -> PyTree:
  """The best weights of each run, as a tree like another, of which files leave out empty parts."""
  say(f"{job.name}: best on the validation part after step {best.steps}")
  return jax.tree.unflatten(
    jax.tree.structure(like), jax.tree.leaves(training.load_weights(best.path))
  )
