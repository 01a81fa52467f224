"""Impartial multi-task learning, gradient branch (IMTL-G)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl.aggregation.base import GramianAggregator, gramian_aggregator
from jaxmtl.aggregation.spectrum import spectrum
from jaxmtl.gradients.conflict import cosine_matrix
from jaxmtl.gradients.inner_products import reciprocal


def imtl_g(num_tasks: int) -> GramianAggregator:
  r"""The update whose projections on all task gradients are equally long.

  .. math:: v = G^+ \sqrt{\mathrm{diag}\, G}, \qquad g = \sum_t \frac{v_t}{\sum_s v_s} g_t

  The weights sum to 1, but may be negative and large. Linearly independent gradients have equal
  projections, whatever their scales; for others v is the least-squares solution of smallest norm.
  Where the sum of v is round-off, the update is zero. One task is the identity. A task without
  labels takes no part.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.

  Returns:
    A `GramianAggregator` without state.

  Raises:
    ValueError: if `num_tasks` is not a positive integer.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.imtl_g(2)
    >>> grads = jnp.array([[3.0, 0.0], [0.0, 1.0]])
    >>> grad, _ = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(float(g), 3) for g in grad]
    [0.75, 0.75]

  Reference:
    Liu et al., "Towards Impartial Multi-Task Learning", 2021, section 3.1.
  """

  def weigh(gramian: jax.Array, state: Any, *, losses: Any, mask: jax.Array) -> Any:
    del losses, mask
    norms = jnp.sqrt(jnp.diagonal(gramian))
    inverse = reciprocal(norms)
    # Through the cosines, no scale of a gradient costs digits. Where they are singular, though,
    # they have another least-squares solution.
    cosines = spectrum(cosine_matrix(gramian), slack=16)
    weights = jax.lax.cond(
      cosines.rank == jnp.sum(norms > 0),
      lambda: inverse * cosines.times(jnp.ones(num_tasks, gramian.dtype), -1),
      lambda: spectrum(gramian, slack=16).times(norms, -1),
    )
    total = weights.sum()
    singular = jnp.abs(total) <= jnp.sqrt(jnp.finfo(gramian.dtype).eps) * jnp.abs(weights).sum()
    return jnp.where(singular, 0, weights / jnp.where(singular, 1, total)), state

  return gramian_aggregator(num_tasks, weigh)
