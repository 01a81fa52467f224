"""Projection of the mean gradient onto the dual cone (DualProj)."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from jaxmtl.aggregation.base import GramianAggregator
from jaxmtl.aggregation.dual_cone import dual_cone_aggregator


def dual_proj(
  num_tasks: int,
  preference: Sequence[float] | jax.Array | None = None,
  reg_eps: float = 1e-4,
  norm_eps: float = 0.0,
) -> GramianAggregator:
  r"""The update nearest to the mean gradient that conflicts with no task.

  .. math:: g = \pi_C \Big( \sum_t p_t g_t \Big), \qquad
            C = \{d : \langle g_i, d \rangle \ge 0 \; \forall i\}

  It is :math:`\sum_i v_i g_i` with

  .. math:: \min_{v \ge p} v^\top \Big( \frac{G}{\mathrm{tr}\, G} + 10^{-4} I \Big) v

  Without conflict it is :math:`\sum_t p_t g_t`, by default the mean; one task is the identity,
  times its preference. The small multiple of the identity makes the weights unique, and bounds
  them; the update may conflict with g_t by 1e-4 v_t tr G. A task without labels counts neither in
  the trace, nor in C, nor in the T of 1/T; the preferences of the others stay as they are.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    preference: p, T numbers, not negative and not all zero; 1/T each where None.
    reg_eps: what stands for 1e-4 above, positive; larger ones bound the weights more, and
      allow more conflict.
    norm_eps: where tr G is smaller, gradients count as zero and nothing is projected.

  Returns:
    A `GramianAggregator` whose state says whether the last solve converged.

  Raises:
    ValueError: if an option is not as above.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.dual_proj(2)
    >>> grads = jnp.array([[2.0, 0.0], [-6.0, 2.0]])
    >>> grad, _ = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(abs(float(g)), 2) for g in grad]  # the mean is (-2, 1)
    [0.0, 1.0]

  Reference:
    Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", 2017, section 3;
    under this name in Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.
  """
  return dual_cone_aggregator(
    "dual_proj", num_tasks, preference, lambda weights: weights[None], reg_eps, norm_eps
  )
