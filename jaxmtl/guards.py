"""Checks at the public boundary: what optax would broadcast or accept silently raises here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmtl.gradients.combinations import zero_rows
from jaxmtl.tasks import by_task

PyTree = Any
Params = TypeVar("Params")

_EXTRA = ("losses", "mask", "second_gradients", "third_gradients", "params")
# Extra arguments of other transforms, some of whose names are near to those of a method.
_ELSEWHERE = {"grad", "losses_fn", "primary_loss_fn", "value", "value_fn"}
_STACKED = (
  "an aggregator takes stacked task gradients [T, *param.shape], which jaxmtl.task_value_and_grad "
  "makes"
)


def apply_updates(params: Params, updates: PyTree) -> Params:
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
  check_updates(params, updates)
  return optax.apply_updates(params, updates)


def check_updates(params: PyTree, updates: PyTree) -> None:
  """Raises where an update is not of its parameter's shape."""

  def check(path: Any, param: Any, update: Any) -> None:
    if update is not None and jnp.shape(update) != jnp.shape(param):
      raise ValueError(
        f"updates{jax.tree_util.keystr(path)} has shape {jnp.shape(update)}, its parameter "
        f"{jnp.shape(param)}; a leading task axis means that no aggregator is in the chain (or "
        "that optax.masked hides leaves from it): add one, for example jaxmtl.sum_tasks."
      )

  jax.tree_util.tree_map_with_path(check, params, updates)


def check_losses(losses: Any, num_tasks: int) -> jax.Array:
  """The `losses` extra argument as an array `[T]`, or a clear error."""
  if losses is None:
    raise ValueError(
      "losses is missing: this method needs the task losses, "
      "so call update(grads, state, params, losses=losses)."
    )
  return check_vector("losses", losses, num_tasks)


def check_mask(mask: Any, num_tasks: int) -> jax.Array:
  """The `mask` extra argument as a bool array `[T]`, all True where it is None."""
  if mask is None:
    return jnp.ones(num_tasks, bool)
  found = check_vector("mask", mask, num_tasks)
  if found.dtype != bool:
    numbers = None if is_traced(found) else np.asarray(found)
    whole = numbers is not None and bool(np.isin(numbers, (0, 1)).all())
    if not whole and not (numbers is None and jnp.issubdtype(found.dtype, jnp.integer)):
      raise ValueError(
        f"mask must be bool, True for tasks with labels, got {found.dtype}"
        f"{'' if numbers is None else f' {numbers.tolist()}'}; soft weights are a weighting's."
      )
  return found.astype(bool)


def check_preference(preference: Any, num_tasks: int) -> jax.Array:
  """The `preference` option as an array `[T]`, or a clear error."""
  value = check_vector("preference", preference, num_tasks)
  if not is_traced(value):
    numbers = np.asarray(value)
    if not np.all((numbers >= 0) & (numbers < np.inf)) or not np.any(numbers):
      raise ValueError(f"preference must be finite, >= 0 and not all zero, got {preference}.")
  return value


class NoTaskGradients(ValueError):
  """An aggregator or weighting got something else than stacked task gradients."""


def check_task_gradients(task_grads: PyTree, params: PyTree | None, num_tasks: int) -> None:
  """Raises unless every leaf is floating point, `[num_tasks, *param.shape]`."""
  if not jax.tree.leaves(task_grads):
    raise NoTaskGradients(f"updates holds no array; {_STACKED}.")
  if params is not None:
    _check_structure(task_grads, params, num_tasks)

  def check(path: Any, leaf: Any, *param: Any) -> None:
    name, shape = f"updates{jax.tree_util.keystr(path)}", jnp.shape(leaf)
    if not shape or shape[0] != num_tasks:
      raise NoTaskGradients(
        f"{name} has shape {shape} but num_tasks={num_tasks}; {_STACKED}. An optimiser, an "
        "accumulator or a gradient transform of one gradient comes after the aggregator "
        "(jaxmtl.per_task and jaxmtl.accumulate go before it)."
      )
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
      raise NoTaskGradients(
        f"{name} has dtype {jnp.result_type(leaf)}, which is no gradient; keep integer and key "
        "leaves out of the parameters."
      )
    if param and shape[1:] != jnp.shape(param[0]):
      raise NoTaskGradients(
        f"{name} has shape {shape}, its parameter {jnp.shape(param[0])}: the aggregate "
        f"{shape[1:]} would be broadcast by optax.apply_updates; {_STACKED}."
      )

  trees = (task_grads,) if params is None else (task_grads, params)
  jax.tree_util.tree_map_with_path(check, *trees)


def check_extra(given: Mapping[str, Any]) -> None:
  """Raises for a misspelt extra argument; others are for other transforms in the chain."""
  for name in set(given) - _ELSEWHERE:
    if near := difflib.get_close_matches(name, _EXTRA, 1, cutoff=0.8):
      raise TypeError(f"update got {name}=; did you mean {near[0]}=?")


def _check_structure(task_grads: PyTree, params: PyTree, num_tasks: int) -> None:
  """Raises, saying what differs, unless both are trees of the same structure."""
  wanted: Any = jax.tree.structure(params)
  if wanted == jax.tree.structure(task_grads):
    return
  unstacked = isinstance(task_grads, (list, tuple)) and len(task_grads) == num_tasks
  if unstacked and all(wanted == jax.tree.structure(one) for one in task_grads):
    raise NoTaskGradients(
      f"updates is a list of {num_tasks} gradients; stack them: "
      "jax.tree.map(lambda *g: jnp.stack(g), *updates)."
    )
  found, expected = (
    {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}
    for tree in (task_grads, params)
  )
  missing, more = sorted(expected - found), sorted(found - expected)
  what = (
    f"updates has no gradient for the parameter {missing[0]}"
    if missing
    else (
      f"updates has a gradient {more[0]} of no parameter"
      if more
      else f"updates and params are trees of different types: {jax.tree.structure(task_grads)} and "
      f"{wanted}"
    )
  )
  raise NoTaskGradients(
    f"{what}; both must be the same tree (with Equinox: of eqx.partition(model, "
    "eqx.is_inexact_array))."
  )


def is_traced(value: Any) -> bool:
  """Whether a value is known only at run time, under `jax.jit` or `optax.inject_hyperparams`.

  It cannot be checked then.

  Raises:
    TypeError: if it is text, which no option that may be traced is.
  """
  if isinstance(value, str):
    raise TypeError(f"an option that is a number got {value!r}.")
  return isinstance(value, jax.core.Tracer)


def drop_missing(task_grads: PyTree, mask: Any, num_tasks: int) -> tuple[PyTree, jax.Array]:
  """Zero rows for tasks without labels, and the mask as a bool array `[T]`."""
  present = check_mask(mask, num_tasks)
  return (task_grads if mask is None else zero_rows(task_grads, present)), present


def keep_finite(new: PyTree, old: PyTree) -> PyTree:
  """A state without what one bad step made infinite or NaN: these entries stay as they were.

  The bad step shows in its update; it must not stay in the state for good.
  """

  def keep(new: jax.Array, old: jax.Array) -> jax.Array:
    if not jnp.issubdtype(new.dtype, jnp.inexact):
      return new
    return jnp.where(jnp.isfinite(new), new, old)

  return jax.tree.map(keep, new, old)


def check_shape(name: str, value: jax.Array, shape: tuple[int, ...], mend: str) -> None:
  """Raises ValueError, naming the argument and the mend, where the shape is another one."""
  if jnp.shape(value) != tuple(shape):
    shape = tuple(map(int, shape))
    raise ValueError(f"{name} has shape {jnp.shape(value)} but must have {shape}; {mend}")


def check_vector(name: str, value: Any, num_tasks: int) -> jax.Array:
  """One value a task as an array `[T]`, of an array or a dict by name, or a clear error."""
  value = by_task(name, value, num_tasks)
  value = jnp.stack([jnp.asarray(x) for x in value]) if isinstance(value, list) else value
  value = jnp.asarray(value)
  mend = f"pass one value a task, num_tasks={num_tasks} in all."
  check_shape(name, value, (num_tasks,), mend)
  return value
