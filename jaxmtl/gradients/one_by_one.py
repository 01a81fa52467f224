"""One pullback a task: all at once, one after the other, or so many at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl._platform import on_cpu, partitioned
from jaxmtl.gradients.task_vmap import task_vmap

PyTree = Any


def pull_back_tasks(
  pullback: Callable[[jax.Array], PyTree], losses: jax.Array, chunk_size: int | None = None
) -> PyTree:
  """Stacks `pullback(e_t)` over the T one-hot cotangents; leaves `[T, *shape]`."""
  num_tasks = losses.shape[0]
  # Zeros plus the identity, so that the cotangents vary over the mesh axes that the losses do.
  one_hots = jnp.eye(num_tasks, dtype=losses.dtype) + jnp.zeros_like(losses)
  return map_tasks(pullback, one_hots, chunk_size, losses)


def map_tasks(
  fn: Callable[[jax.Array], PyTree],
  tasks: jax.Array,
  chunk_size: int | None = None,
  beside: jax.Array | None = None,
) -> PyTree:
  """Stacks `fn` over the first axis of `tasks`, so many at once; None takes what is fastest.

  `beside` is an array that is where the computation is; `tasks` itself where None.
  """
  beside = tasks if beside is None else beside
  if chunk_size is None:
    chunk_size = len(tasks) if not on_cpu(beside) else _fastest_chunk(fn, tasks)
  if chunk_size >= len(tasks):
    # On CPU convolutions are products of matrices, which the compiler divides well.
    if partitioned(beside) and not on_cpu(beside):
      return task_vmap(fn, tasks)
    return jax.vmap(fn)(tasks)
  # A batch size of 1 would add a useless axis to every operand.
  return jax.lax.map(fn, tasks, batch_size=chunk_size if chunk_size > 1 else None)


def _fastest_chunk(fn: Callable[[jax.Array], PyTree], tasks: jax.Array) -> int:
  """On CPU."""
  jaxpr = jax.make_jaxpr(fn)(tasks[0])
  return len(tasks) if "conv_general_dilated" in str(jaxpr) else 1
