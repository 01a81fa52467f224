"""Task gradients in, task gradients or one gradient out: sums, scaling, rows without labels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl._platform import on_cpu
from jaxmtl.gradients.inner_products import task_count

PyTree = Any


def combine(task_grads: PyTree, weights: jax.Array) -> PyTree:
  r"""The weighted sum of the task gradients.

  .. math:: g = \sum_t w_t g_t

  Args:
    task_grads: pytree with leaves `[T, *shape]`.
    weights: float `[T]`.

  Returns:
    Pytree with leaves `[*shape]`, each in its own dtype; sums run in float32 or wider.

  Raises:
    ValueError: if a leaf has no task axis of the length of `weights`.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> jaxmtl.combine(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1.0, 0.5])).tolist()
    [2.5, 4.0]
  """
  if jax.tree.leaves(task_grads) and task_count(task_grads) != len(weights):
    raise ValueError(
      f"weights has length {len(weights)}, the task gradients have {task_count(task_grads)} tasks; "
      "give one weight a task."
    )

  def contract(leaf: jax.Array) -> jax.Array:
    wide = jnp.promote_types(leaf.dtype, weights.dtype)
    if not on_cpu(leaf):
      # Exact in float32, where a product of matrices rounds; and of slices over devices (`spread`)
      # one gradient is gathered, where a product gathers all.
      return (per_row(weights, leaf).astype(wide) * leaf).sum(0).astype(leaf.dtype)
    return jnp.tensordot(weights.astype(wide), leaf.astype(wide), axes=1).astype(leaf.dtype)

  return jax.tree.map(contract, task_grads)


def scale_tasks(task_grads: PyTree, weights: jax.Array) -> PyTree:
  """Row i of every leaf times `weights[i]`; dtypes stay."""

  def scale(leaf: jax.Array) -> jax.Array:
    return (leaf * per_row(weights, leaf)).astype(leaf.dtype)

  return jax.tree.map(scale, task_grads)


def per_row(values: jax.Array, leaf: jax.Array) -> jax.Array:
  """`values` `[T]` in the shape that multiplies row i of the leaf `[T, *shape]` by the i-th."""
  return values.reshape((-1,) + (1,) * (leaf.ndim - 1))


def zero_rows(task_grads: PyTree, present: jax.Array) -> PyTree:
  """Zero rows where `present` `[T]` is False, whatever they hold."""
  return jax.tree.map(lambda leaf: jnp.where(per_row(present, leaf), leaf, 0), task_grads)
