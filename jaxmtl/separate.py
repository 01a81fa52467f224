"""Task gradients where every task has a batch of its own.

A pullback through a program of all tasks' batches passes all of them for each task, mostly with
zeros: T times the work. Here each task's part of the program is differentiated by itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl.gram import combine, gramian
from jaxmtl.implicit import TaskGradients
from jaxmtl.jacobian import map_tasks, stack_losses

PyTree = Any


def separate_gradients(
  losses_fn: Callable[..., tuple[Any, Any]],
  shared: PyTree,
  specific: PyTree,
  chunk_size: int | None = None,
  average: Callable[[Callable], Callable] = lambda pullback: pullback,
) -> TaskGradients:
  """Task gradients of a function each of whose losses looks at a batch of its own.

  Args:
    losses_fn: `(shared, specific) -> (losses, aux)`. A dict of scalar losses is differentiated
      entry by entry: what an entry does not depend on is neither computed again nor passed. Where
      losses are an array, it is called once more for each task, as `(shared, specific, tasks=[t])`,
      and returns the loss `[1]` of this one; random draws may then differ from those behind `aux`.
    shared: parameters to take stacked task gradients for.
    specific: parameters of single tasks.
    chunk_size: how many tasks of an array run at once, as in `task_value_and_grad`.
    average: wraps pullbacks, for averages over devices.

  Returns:
    The same as `implicit.explicit_gradients`.
  """

  def take(loss_fn: Callable[[PyTree, PyTree], jax.Array]) -> tuple[jax.Array, PyTree, PyTree]:
    loss, pullback = jax.vjp(loss_fn, shared, specific)
    return loss, *average(pullback)(jnp.ones_like(loss))

  losses, aux = losses_fn(shared, specific)
  count = len(stack_losses(losses))  # raises where they are not scalars
  if isinstance(losses, Mapping):
    # The entries are programs of their own; XLA merges what they have in common.
    found = [
      take(lambda s, o, name=name: jnp.asarray(losses_fn(s, o)[0][name]))  # type: ignore[misc]
      for name in sorted(losses)
    ]
    values, rows, own = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)
  else:
    values, rows, own = map_tasks(
      lambda task: take(lambda s, o: _of_one_task(losses_fn(s, o, tasks=task[None])[0])),
      jnp.arange(count),
      chunk_size,
    )
  return TaskGradients(values, aux, rows, gramian, combine, lambda weights: combine(own, weights))


def check_takes_tasks(losses_fn: Callable[..., Any]) -> None:
  """Raises unless a function can be asked for the losses of some tasks alone."""
  parameters = inspect.signature(losses_fn).parameters.values()
  if not any(p.name == "tasks" or p.kind is p.VAR_KEYWORD for p in parameters):
    raise ValueError(
      "own_batches=True needs a losses_fn that returns a dict of losses, or one with a parameter "
      "tasks=None, int [K], that returns the losses [K] of these tasks alone; got an array of "
      "losses and no such parameter."
    )


def _of_one_task(losses: Any) -> jax.Array:
  losses = stack_losses(losses)
  if losses.shape != (1,):
    raise ValueError(
      f"losses_fn(..., tasks=) must return one loss for each of them, got {losses.shape[0]} "
      "losses for one task; compute those of `tasks` alone."
    )
  return losses[0]
