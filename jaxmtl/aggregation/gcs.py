"""Gradient cosine similarity: auxiliary gradients as far as they agree with the primary one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl.aggregation.base import GramianAggregator, gramian_aggregator
from jaxmtl.tasks import check_num_tasks, task_indices


def gcs(num_tasks: int, primary: int | tuple[int, ...] = 0) -> GramianAggregator:
  r"""Adds to the primary gradient the auxiliary ones, weighted by their cosines with it.

  .. math:: g = g_{pri} + \sum_{a} \max(0, \cos(g_{pri}, g_a)) \, g_a

  Where there are several primary tasks, g_pri is the sum of their gradients. An auxiliary gradient
  never makes the update shorter along g_pri. One task is the identity. A task without labels adds
  nothing; where that, or a zero sum, leaves no primary gradient, the auxiliary ones add nothing.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    primary: index of the primary task, or a tuple of indices, static.

  Returns:
    A `GramianAggregator` without state.

  Raises:
    ValueError: if `primary` is empty, names a task twice, or one that does not exist.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.gcs(3)
    >>> grads = jnp.array([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    >>> aggregator.update(grads, aggregator.init(jnp.zeros(2)))[0].tolist()
    [2.0, 0.0]

  Reference:
    Du et al., "Adapting Auxiliary Losses Using Gradient Similarity", 2018, section 3 (the weighted
    version).
  """
  check_num_tasks(num_tasks)
  indices = task_indices("primary", primary, num_tasks)

  def weigh(gramian: jax.Array, state: Any, *, losses: Any, mask: jax.Array) -> Any:
    del losses, mask
    is_primary = jnp.isin(jnp.arange(num_tasks), jnp.array(indices))
    inner = jnp.sum(gramian * is_primary, axis=1)  # <g_t, g_pri>
    squares = jnp.diagonal(gramian)
    square = jnp.sum(inner * is_primary)
    # Primary gradients that cancel leave a sum of round-off, whose direction says nothing.
    zero = square <= jnp.finfo(gramian.dtype).eps * jnp.sum(squares * is_primary)
    known = (squares > 0) & ~zero
    # One norm after the other: the product of two tiny norms underflows before the quotient does.
    cosines = inner / jnp.sqrt(jnp.where(known, squares, 1)) / jnp.sqrt(jnp.where(zero, 1, square))
    return jnp.where(is_primary, 1, jnp.where(known, jnp.clip(cosines, 0, 1), 0)), state

  return gramian_aggregator(num_tasks, weigh)
