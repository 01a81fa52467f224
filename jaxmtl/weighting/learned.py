"""One optimiser a task, for weightings that learn a number a task."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax


def init_tasks(optimizer: optax.GradientTransformation, values: jax.Array) -> Any:
  """The state of T optimisers, one for each of the values `[T]`."""
  return jax.vmap(optimizer.init)(values)


def step_tasks(
  optimizer: optax.GradientTransformation,
  gradient: jax.Array,
  state: Any,
  values: jax.Array,
  mask: jax.Array,
) -> tuple[jax.Array, Any]:
  """Moves the values `[T]` of the tasks with labels.

  The others keep theirs, and their momentum and step count: as if the step had not been.
  """
  updates, stepped = jax.vmap(optimizer.update)(gradient.astype(values.dtype), state, values)

  def keep(new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(mask.reshape((-1,) + (1,) * (old.ndim - 1)), new, old).astype(old.dtype)

  return jax.tree.map(keep, (optax.apply_updates(values, updates), stepped), (values, state))
