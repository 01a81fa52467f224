"""Metrics as sums that add over batches and devices; evaluation and prediction on whole data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Metric:
  """A measure of how well tasks are solved.

  Attributes:
    count: `(outputs, batch) -> sums by task`, pytrees of arrays that add over batches; examples
      with `batch["valid"]` False (padding) must add nothing.
    value: `sums of one task -> number`, on the host, in the unit that is reported; leading axes of
      the sums are runs.
    lower_is_better: whether it is an error.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.training import Metric, evaluator
    >>> positive = Metric(
    ...   lambda outputs, batch: {"x": {"hits": ((outputs > 0) & batch["valid"]).sum(),
    ...                                 "all": batch["valid"].sum()}},
    ...   lambda sums: 100 * sums["hits"] / sums["all"])
    >>> evaluate = evaluator(lambda w, batch: w * batch["x"], {"positive": positive}, batch_size=2)
    >>> evaluate(1.0, {"x": jnp.array([1.0, -1.0, 3.0, 2.0, 5.0])})
    {'positive': {'x': 80.0}}
  """

  count: Callable[[Any, Any], Mapping[str, PyTree]]
  value: Callable[[Any], Any]
  lower_is_better: bool = False


def batches_of(
  examples: Mapping[str, Any] | Any, batch_size: int, multiple: int = 1
) -> Iterator[dict[str, np.ndarray]]:
  """Cuts data into batches of one shape, in order, with `valid` False where padded.

  Args:
    examples: arrays by name with the same leading axis; or a source of such examples, with `len`
      and `[i]`, of which only a batch at a time is in memory.
    batch_size: examples a batch; fewer data make one batch of their own size.
    multiple: of which batches are, for devices that share them.
  """
  count = len(next(iter(examples.values()))) if isinstance(examples, Mapping) else len(examples)
  if count == 0:
    raise ValueError("examples must hold at least one example, got none.")
  batch_size = -(-min(batch_size, count) // multiple) * multiple
  for first in range(0, count, batch_size):
    rows = range(first, min(first + batch_size, count))
    if isinstance(examples, Mapping):
      chosen = slice(rows.start, rows.stop)
      batch = {name: np.asarray(values[chosen]) for name, values in examples.items()}
    else:
      # Sources of files and of TFDS read several at once sooner.
      several = getattr(examples, "__getitems__", None)
      found = several(list(rows)) if several else [examples[i] for i in rows]
      batch = {name: np.stack([np.asarray(e[name]) for e in found]) for name in found[0]}
    missing = batch_size - len(rows)
    batch["valid"] = np.ones(len(rows), bool)
    if missing:
      batch = {k: np.pad(v, [(0, missing)] + [(0, 0)] * (v.ndim - 1)) for k, v in batch.items()}
    yield batch


def evaluator(
  predict: Callable[[PyTree, Any], Any],
  metrics: Mapping[str, Metric],
  *,
  batch_size: int = 250,
  multiple: int = 1,
  runs: bool = False,
  place: Callable[[Any], Any] = lambda batch: batch,
  compile: Callable[[Callable[..., Any]], Callable[..., Any]] = jax.jit,
) -> Callable[[PyTree, Any], dict[str, dict[str, Any]]]:
  """Makes a function that measures a network on whole data sets.

  Args:
    predict: `(variables, batch) -> outputs`, what the metrics look at.
    metrics: by name.
    batch_size: examples at a time; a larger one takes more memory, and no other figures.
    multiple: of which batches are, for devices that share them.
    runs: whether variables have a leading axis of runs, as `jax.vmap` over seeds makes them.
    place: puts a batch on devices, for example sharded over a mesh.
    compile: what compiles, `jax.jit` with other options for example.

  Returns:
    `(variables, examples) -> {metric: {task: number or [runs]}}`, compiled once a shape; examples
    as in `batches_of`.
  """

  def count(variables: PyTree, batch: Any) -> dict[str, Any]:
    outputs = predict(variables, batch)
    return {name: dict(metric.count(outputs, batch)) for name, metric in metrics.items()}

  counted = compile(jax.vmap(count, in_axes=(0, None)) if runs else count)

  def evaluate(variables: PyTree, examples: Any) -> dict[str, dict[str, Any]]:
    total: Any = None
    for batch in batches_of(examples, batch_size, multiple):
      found = jax.tree.map(_wide, jax.device_get(counted(variables, place(batch))))
      total = found if total is None else jax.tree.map(np.add, total, found)
    return {
      name: {task: _number(metrics[name].value(sums)) for task, sums in by_task.items()}
      for name, by_task in total.items()
    }

  return evaluate


def predict(
  apply: Callable[[PyTree, Any], PyTree],
  variables: PyTree,
  examples: Mapping[str, Any] | Any,
  *,
  batch_size: int = 250,
) -> PyTree:
  """A network's outputs for whole data, on the host.

  Args:
    apply: `(variables, batch) -> outputs`, each with leading axis B; it is compiled here.
    variables: the network's.
    examples: as in `batches_of`.
    batch_size: examples at a time.

  Returns:
    The outputs, with leading axis N.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.training import predict
    >>> predict(lambda v, batch: batch["x"] * v, 2.0, {"x": jnp.arange(3.0)}, batch_size=2).tolist()
    [0.0, 2.0, 4.0]
  """
  compiled = jax.jit(apply)
  found = [
    jax.tree.map(lambda x, v=batch["valid"]: np.asarray(x)[v], compiled(variables, batch))
    for batch in batches_of(examples, batch_size)
  ]
  return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def _wide(value: Any) -> np.ndarray:
  """Sums of many batches lose nothing on the host."""
  value = np.asarray(value)
  return value.astype(np.int64 if np.issubdtype(value.dtype, np.integer) else np.float64)


def _number(value: Any) -> Any:
  return value if np.ndim(value) else float(value)
