"""Checks at the public boundary: what optax would broadcast or accept silently raises here."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

PyTree = Any


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
  """`optax.apply_updates` that refuses to broadcast.

  optax adds an update `[T, *shape]` to a parameter `[*shape]` silently, which is what a chain
  without an aggregator produces.

  Args:
    params: pytree of parameters.
    updates: pytree of the same structure and shapes.

  Returns:
    The updated parameters.

  Raises:
    ValueError: if an update's shape is not its parameter's.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> jaxmtl.apply_updates(jnp.zeros(2), jnp.ones(2)).tolist()
    [1.0, 1.0]
  """

  def check(path: Any, param: Any, update: Any) -> None:
    if update is not None and jnp.shape(update) != jnp.shape(param):
      raise ValueError(
        f"updates{jax.tree_util.keystr(path)} has shape {jnp.shape(update)}, its parameter "
        f"{jnp.shape(param)}; a leading task axis means that no aggregator is in the chain (or "
        "that optax.masked hides leaves from it): add one, for example jaxmtl.sum_tasks."
      )

  jax.tree_util.tree_map_with_path(check, params, updates)
  return optax.apply_updates(params, updates)


def check_num_tasks(num_tasks: int) -> int:
  """`num_tasks` as given, or a clear error where it is not a positive integer."""
  if isinstance(num_tasks, bool) or not isinstance(num_tasks, int) or num_tasks < 1:
    raise ValueError(
      f"num_tasks must be a positive integer, got {num_tasks!r}; under optax.inject_hyperparams "
      "list it in static_args."
    )
  return num_tasks


def check_losses(losses: Any, num_tasks: int) -> jax.Array:
  """The `losses` extra argument as an array `[T]`, or a clear error."""
  if losses is None:
    raise ValueError(
      "losses is missing: this method needs the task losses, "
      "so call update(grads, state, params, losses=losses)."
    )
  return _vector("losses", losses, num_tasks)


def check_mask(mask: Any, num_tasks: int) -> jax.Array:
  """The `mask` extra argument as a bool array `[T]`, all True where it is None."""
  if mask is None:
    return jnp.ones(num_tasks, bool)
  return _vector("mask", mask, num_tasks).astype(bool)


def check_preference(preference: Any, num_tasks: int) -> jax.Array:
  """The `preference` option as an array `[T]`, or a clear error."""
  value = _vector("preference", preference, num_tasks)
  if not is_traced(value):
    numbers = np.asarray(value)
    if not np.all((numbers >= 0) & (numbers < np.inf)) or not np.any(numbers):
      raise ValueError(f"preference must be finite, >= 0 and not all zero, got {preference}.")
  return value


def check_task_gradients(task_grads: PyTree, params: PyTree | None, num_tasks: int) -> None:
  """Raises unless every leaf is `[num_tasks, *param.shape]`."""
  mend = (
    "an aggregator takes stacked task gradients [T, *param.shape], "
    "which jaxmtl.task_value_and_grad makes"
  )
  if not jax.tree.leaves(task_grads):
    raise ValueError(f"updates holds no array; {mend}.")

  def check(path: Any, leaf: Any, *param: Any) -> None:
    name, shape = f"updates{jax.tree_util.keystr(path)}", jnp.shape(leaf)
    if not shape or shape[0] != num_tasks:
      raise ValueError(f"{name} has shape {shape} but num_tasks={num_tasks}; {mend}.")
    if param and shape[1:] != jnp.shape(param[0]):
      raise ValueError(
        f"{name} has shape {shape}, its parameter {jnp.shape(param[0])}: the aggregate "
        f"{shape[1:]} would be broadcast by optax.apply_updates; {mend}."
      )

  trees = (task_grads,) if params is None else (task_grads, params)
  jax.tree_util.tree_map_with_path(check, *trees)


def is_traced(value: Any) -> bool:
  """Whether a value is known only at run time, under `jax.jit` or `optax.inject_hyperparams`.

  It cannot be checked then.
  """
  return isinstance(value, jax.core.Tracer)


def drop_missing(task_grads: PyTree, mask: Any, num_tasks: int) -> tuple[PyTree, jax.Array]:
  """Zero rows for tasks without labels, and the mask as a bool array `[T]`."""
  present = check_mask(mask, num_tasks)
  if mask is None:
    return task_grads, present

  def zero(leaf: jax.Array) -> jax.Array:
    return jnp.where(present.reshape((-1,) + (1,) * (leaf.ndim - 1)), leaf, 0)

  return jax.tree.map(zero, task_grads), present


def check_shape(name: str, value: jax.Array, shape: tuple[int, ...], mend: str) -> None:
  """Raises ValueError, naming the argument and the mend, where the shape is another one."""
  chex.assert_shape(
    value,
    shape,
    custom_message=f"{name} has shape {jnp.shape(value)} but must have {shape}; {mend}",
    exception_type=ValueError,
  )


def _vector(name: str, value: Any, num_tasks: int) -> jax.Array:
  value = jnp.asarray(value)
  mend = f"pass one value a task, num_tasks={num_tasks} in all."
  check_shape(name, value, (num_tasks,), mend)
  return value
