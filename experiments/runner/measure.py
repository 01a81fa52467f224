"""Metrics that several problems share, and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxmtl.training import Metric


def accuracy(tasks: Sequence[str]) -> Metric:
  """Share of right classes in per cent; an example with a label below 0 has none.

  Outputs are logits `[B, classes]` by task, and a batch holds integer labels `[B]` by task.
  """

  def count(outputs: Mapping[str, Any], batch: Any) -> dict[str, Any]:
    found = {}
    for task in tasks:
      labelled = batch["valid"] & (batch[task] >= 0)
      right = (outputs[task].argmax(-1) == batch[task]) & labelled
      found[task] = {"right": right.sum(), "count": labelled.sum()}
    return found

  return Metric(count, lambda sums: 100 * ratio(sums["right"], sums["count"]))


def ratio(part: Any, whole: Any) -> np.ndarray:
  """A quotient that is NaN, without a warning, where nothing was counted."""
  whole = np.asarray(whole, float)
  nothing = np.full(np.broadcast(part, whole).shape, np.nan)
  return np.divide(part, whole, out=nothing, where=whole > 0)


def mean_absolute_error(tasks: Sequence[str], scale: Mapping[str, float]) -> Metric:
  """Mean absolute error in the property's unit; an example whose target is NaN has none.

  Outputs are `[B, 1]` by task, in units of `scale`, and so are the targets `[B]`.
  """

  def count(outputs: Mapping[str, Any], batch: Any) -> dict[str, Any]:
    found = {}
    for task in tasks:
      labelled = batch["valid"] & ~jnp.isnan(batch[task])
      error = jnp.abs(outputs[task][..., 0] - jnp.nan_to_num(batch[task])) * scale[task]
      found[task] = {"error": jnp.where(labelled, error, 0).sum(), "count": labelled.sum()}
    return found

  return Metric(count, lambda sums: ratio(sums["error"], sums["count"]), lower_is_better=True)


def ms_per_step(history: Sequence[Mapping[str, Any]]) -> float:
  """The median over rows of the time of a step of all runs together, in milliseconds."""
  steps = np.diff([0, *(row["step"] for row in history)])
  seconds = np.array([row["seconds"] for row in history])
  return 1000 * float(np.median(seconds / steps)) if len(history) else float("nan")
