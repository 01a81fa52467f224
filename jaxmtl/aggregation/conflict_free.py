"""Conflict-free inverse gradients (ConFIG)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import GramianAggregator, gramian_aggregator
from jaxmtl.aggregation.spectrum import spectrum
from jaxmtl.gradients.conflict import cosine_matrix
from jaxmtl.gradients.inner_products import reciprocal
from jaxmtl.tasks import check_num_tasks


def conflict_free(
  num_tasks: int, preference: Sequence[float] | jax.Array | None = None
) -> GramianAggregator:
  r"""The direction with equal cosines to all task gradients, as long as they project on it.

  .. math:: u = U^+ p, \quad U_t = \frac{g_t}{\|g_t\|}, \qquad
            g = \frac{\sum_t \langle g_t, u \rangle}{\|u\|^2} u

  With p, the cosines are proportional to the preferences. For linearly independent gradients no
  task conflicts with the update; for others u is the least-squares solution, and the update is zero
  where p has no part in their span, as for two opposite gradients. One task is the identity. A task
  without labels, or with a zero gradient, takes no part.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    preference: p, T numbers, not negative and not all zero; only their ratios matter. Ones where
      None.

  Returns:
    A `GramianAggregator` without state.

  Raises:
    ValueError: if the preference is not as above.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.conflict_free(2)
    >>> grads = jnp.array([[3.0, 0.0], [0.0, 1.0]])
    >>> grad, _ = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(float(g), 3) for g in grad]
    [2.0, 2.0]

  Reference:
    Liu, Chu and Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural
    Networks", 2025, section 3.1.
  """
  check_num_tasks(num_tasks)
  ones = (1.0,) * num_tasks
  wanted = guards.check_preference(ones if preference is None else preference, num_tasks)

  def weigh(gramian: jax.Array, state: Any, *, losses: Any, mask: jax.Array) -> Any:
    del losses
    target = jnp.where(mask, wanted.astype(gramian.dtype), 0)
    norms = jnp.sqrt(jnp.diagonal(gramian))
    inverse = reciprocal(norms)
    cosines = cosine_matrix(gramian)
    units = spectrum(cosines).times(target, -1)  # u = sum of units_t U_t
    inner = jnp.matmul(cosines, units, precision="highest")  # <U_t, u>
    square, length = jnp.sum(units * inner), jnp.sum(norms * inner)
    # |u|^2 is at least 1/T of what the span holds of |p|^2.
    nothing = square <= jnp.finfo(gramian.dtype).eps * jnp.sum(target**2)
    factor = jnp.where(nothing, 0, length / jnp.where(nothing, 1, square))
    return factor * units * inverse, state

  return gramian_aggregator(num_tasks, weigh)
