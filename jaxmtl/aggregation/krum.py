"""Krum: the task gradients with the closest neighbours."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import GramianAggregator, gramian_aggregator
from jaxmtl.tasks import check_num_tasks


def krum(num_tasks: int, num_byzantine: int = 0, num_selected: int = 1) -> GramianAggregator:
  r"""The mean of the task gradients that are closest to others (Multi-Krum).

  .. math:: s_i = \sum_{j \in N(i)} \|g_i - g_j\|^2, \qquad
            g = \frac{1}{m} \sum_{i \in S} g_i

  N(i) are the T - f - 2 gradients closest to g_i, but at least one, and S the m tasks of lowest
  score, of equal ones the first. One task is the identity. Tasks without labels do not count in T;
  fewer tasks than m are averaged.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    num_byzantine: f, the number of gradients that may be arbitrarily wrong; 0, or at most T - 3.
    num_selected: m, from 1 to T; 1 is Krum.

  Returns:
    A `GramianAggregator` without state.

  Raises:
    ValueError: if an option is outside its range.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.krum(4, num_byzantine=1, num_selected=2)
    >>> grads = jnp.array([[1.0, 0.0], [100.0, 0.0], [1.5, 0.0], [3.0, 0.0]])
    >>> aggregator.update(grads, aggregator.init(jnp.zeros(2)))[0].tolist()
    [1.25, 0.0]

  Reference:
    Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
    2017, sections 4 and 5.
  """
  check_num_tasks(num_tasks)
  if not guards.is_traced(num_byzantine) and not 0 <= num_byzantine <= max(num_tasks - 3, 0):
    raise ValueError(
      f"num_byzantine must be 0, or at least 1 and at most num_tasks - 3 = {num_tasks - 3}, "
      f"got {num_byzantine}; use more tasks or expect fewer wrong ones."
    )
  if not guards.is_traced(num_selected) and not 1 <= num_selected <= num_tasks:
    raise ValueError(f"num_selected must be from 1 to num_tasks = {num_tasks}, got {num_selected}.")

  def weigh(gramian: jax.Array, state: Any, *, losses: Any, mask: jax.Array) -> Any:
    del losses
    count, places = mask.sum(), jnp.arange(num_tasks)
    # Halves of G and its transpose: ties must not be broken by round-off.
    inner = (gramian + gramian.T) / 2
    squares = jnp.diagonal(gramian)
    distances = jnp.maximum(squares[:, None] + squares[None, :] - 2 * inner, 0)
    others = mask[:, None] & mask[None, :] & (places[:, None] != places[None, :])
    ascending = jnp.sort(jnp.where(others, distances, jnp.inf), axis=1)
    near = places < jnp.minimum(jnp.maximum(count - num_byzantine - 2, 1), count - 1)
    scores = jnp.where(mask, jnp.sum(jnp.where(near, ascending, 0), axis=1), jnp.inf)
    ranks = jnp.argsort(jnp.argsort(scores, stable=True))
    selected = (ranks < num_selected) & mask
    return selected / jnp.maximum(selected.sum(), 1).astype(gramian.dtype), state

  return gramian_aggregator(num_tasks, weigh)
