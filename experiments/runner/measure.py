"""Metrics that several problems share, and times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.training import Metric


def accuracy(tasks: Sequence[str]) -> Metric:
  """Share of right classes in per cent; an example with a label below 0 has none.

  An answer that is NaN is wrong.

  Outputs are logits `[B, classes]` by task, and a batch holds integer labels `[B]` by task.
  """

  def count(outputs: Mapping[str, Any], batch: Any) -> dict[str, Any]:
    found = {}
    for task in tasks:
      labelled = batch["valid"] & (batch[task] >= 0)
      right = (most_likely(outputs[task]) == batch[task]) & labelled
      found[task] = {"right": right.sum(), "count": labelled.sum()}
    return found

  return Metric(count, lambda sums: 100 * ratio(sums["right"], sums["count"]))


def most_likely(logits: jax.Array) -> jax.Array:
  """The class with the highest logit, `[..., classes] -> [...]`; -1 where one is NaN.

  Such an answer is wrong, whatever the label: NaN counts as the highest, so that a network that is
  broken would have the share of class 0 right.
  """
  return jnp.where(jnp.isnan(logits).any(-1), -1, logits.argmax(-1))


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


def ms_per_step(history: Sequence[Mapping[str, Any]], phases: int = 1) -> float:
  """The median over rows of the time of a step of all runs together, in milliseconds.

  Of several phases a step is one of each, and a row is an epoch's, whatever was logged within it.

  Example:
    >>> from experiments.runner.measure import ms_per_step
    >>> rows = [{"epoch": 0.5, "step": 2, "seconds": 0.2}, {"epoch": 1, "step": 4, "seconds": 0.4}]
    >>> round(ms_per_step(rows)), round(ms_per_step(rows, phases=2))
    (150, 300)
  """
  if not history:
    return float("nan")
  seconds: dict[Any, float] = {}
  last: dict[Any, int] = {}
  for number, row in enumerate(history):
    group = number if phases == 1 else math.ceil(row["epoch"])
    seconds[group] = seconds.get(group, 0.0) + row["seconds"]
    last[group] = row["step"]
  steps = np.diff([0, *last.values()])
  return 1000 * phases * float(np.median(np.array(list(seconds.values())) / steps))
