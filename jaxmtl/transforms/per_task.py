"""A transform of one gradient, applied to each task's gradient by itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.gradients.combinations import per_row
from jaxmtl.tasks import check_num_tasks

PyTree = Any


class PerTask(optax.GradientTransformationExtraArgs):
  """A transform that keeps the task axis, so that it may stand before an aggregator."""


def per_task(num_tasks: int, transform: optax.GradientTransformation) -> PerTask:
  r"""Applies an optax transform to every task's gradient by itself, for example clipping.

  .. math:: g_t \leftarrow u(g_t), \quad t = 1 \dots T

  Before an aggregator, a transform of optax takes the T gradients for one: a norm over all tasks
  together, weight decay T times. Here it has T states, one a task, and T times their memory.

  A task without labels in the batch has a zero gradient, and its state stays as it was.

  Args:
    num_tasks: T, a static integer.
    transform: of one gradient `[*shape]`, such as `optax.clip_by_global_norm(1.0)`,
      `optax.normalize_by_update_norm()` or `optax.scale_by_adam()`.

  Returns:
    A transform of task gradients `[T, *shape]`, whose state has a leading task axis.

  Raises:
    ValueError: if `num_tasks` is not a positive integer; at update, if the task gradients do not
      have T rows.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx = jaxmtl.chain(
    ...   jaxmtl.per_task(2, optax.clip_by_global_norm(1.0)), jaxmtl.mean_tasks(2), optax.sgd(1.0))
    >>> grads = jnp.array([[100.0, 0.0], [0.0, 0.5]])
    >>> tx.update(grads, tx.init(jnp.zeros(2)), jnp.zeros(2))[0].tolist()
    [-0.5, -0.25]

  Reference:
    You et al., "Large Batch Training of Convolutional Networks", 2017, for norms by part; the
    task-wise form is Chen et al., "GradNorm", 2018, section 2.
  """
  check_num_tasks(num_tasks)
  inner = optax.with_extra_args_support(transform)

  def spread(leaf: Any) -> jax.Array:
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):  # tasks draw apart
      return jax.random.split(leaf, num_tasks)
    return jnp.broadcast_to(leaf, (num_tasks, *leaf.shape))

  def init(params: PyTree) -> PyTree:
    return jax.tree.map(spread, inner.init(params))

  def update(
    updates: PyTree, state: PyTree, params: PyTree | None = None, *, mask: Any = None, **extra: Any
  ) -> tuple[PyTree, PyTree]:
    guards.check_task_gradients(updates, params, num_tasks)
    updates, present = guards.drop_missing(updates, mask, num_tasks)

    def one(updates: PyTree, state: PyTree) -> tuple[PyTree, PyTree]:
      return inner.update(updates, state, params, **extra)

    changed, new = jax.vmap(one)(updates, state)
    if mask is None:
      return changed, new

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
      return jnp.where(per_row(present, new), new, old)

    changed, _ = guards.drop_missing(changed, mask, num_tasks)
    return changed, jax.tree.map(keep, new, state)

  return PerTask(init, update)
