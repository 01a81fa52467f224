"""The mean and the sum of the task gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxmtl.aggregation.base import GramianAggregator, gramian_aggregator, mean_weights


def mean_tasks(num_tasks: int) -> GramianAggregator:
  r"""The mean of the task gradients.

  .. math:: g = \frac{1}{T} \sum_t g_t

  A task without labels in the batch does not count in T.

  Args:
    num_tasks: T, a static integer.

  Returns:
    An `Aggregator` without state.

  Raises:
    ValueError: if `num_tasks` is not a positive integer.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.mean_tasks(2)
    >>> grads = jnp.array([[1.0, 0.0], [3.0, 2.0]])
    >>> aggregator.update(grads, aggregator.init(jnp.zeros(2)))[0].tolist()
    [2.0, 1.0]

  Reference:
    Caruana, "Multitask Learning", 1997.
  """
  return _weighted("mean_tasks", num_tasks, mean_weights)


def sum_tasks(num_tasks: int) -> GramianAggregator:
  r"""The sum of the task gradients.

  .. math:: g = \sum_t g_t

  Args:
    num_tasks: T, a static integer.

  Returns:
    An `Aggregator` without state.

  Raises:
    ValueError: if `num_tasks` is not a positive integer.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.sum_tasks(2)
    >>> grads = jnp.array([[1.0, 0.0], [3.0, 2.0]])
    >>> aggregator.update(grads, aggregator.init(jnp.zeros(2)))[0].tolist()
    [4.0, 2.0]

  Reference:
    Caruana, "Multitask Learning", 1997.
  """
  return _weighted("sum_tasks", num_tasks, lambda mask, dtype: mask.astype(dtype))


def _weighted(
  name: str, num_tasks: int, weights: Callable[[jax.Array, Any], jax.Array]
) -> GramianAggregator:
  """Weights that depend on nothing but which tasks have labels."""

  def weigh(gramian: jax.Array, state: Any, *, losses: Any, mask: jax.Array) -> Any:
    del losses
    return weights(mask, gramian.dtype), state

  return gramian_aggregator(num_tasks, weigh, name=name)
