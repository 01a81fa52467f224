"""Smooth Tchebycheff scalarisation (STCH)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.tasks import check_num_tasks
from jaxmtl.weighting.base import Weighting, loss_weighting


def stch(
  num_tasks: int,
  mu: float,
  reference: Any = None,
  preference: Any = None,
) -> Weighting:
  r"""Descends a smooth maximum of the preferred losses.

  .. math:: L = \mu \log \sum_t e^{x_t / \mu}, \quad x_t = p_t (L_t - r_t), \quad
            w_t = p_t \, \mathrm{softmax}(x / \mu)_t

  With mu towards 0 only the largest x counts. A task without labels in the batch takes no part, and
  the preferences of the others grow by one factor so that their sum stays: with the default they
  are 1/n, n being the number of tasks with labels.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    mu: smoothing > 0, in units of the preferred losses; the paper has no default.
    reference: r, T numbers below the losses (an ideal point); zeros where None.
    preference: p, T numbers, not negative and not all zero; 1/T each where None.

  Returns:
    A `Weighting` without state.

  Raises:
    ValueError: if `mu` is not positive, or `reference` or `preference` is not as above.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.stch(2, mu=0.5)  # softmax of (3, 1)
    >>> weights, _ = weighting.weigh(jnp.array([3.0, 1.0]), weighting.init(None))
    >>> [round(float(w), 3) for w in weights]
    [0.44, 0.06]

  Reference:
    Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", 2024,
    section 3.
  """
  check_num_tasks(num_tasks)
  if not guards.is_traced(mu) and not mu > 0:
    raise ValueError(f"mu must be positive, got {mu}; smaller is closer to the largest loss alone.")
  zeros = jnp.zeros(num_tasks)
  ideal = zeros if reference is None else guards.check_vector("reference", reference, num_tasks)
  equal = [1 / num_tasks] * num_tasks
  wanted = guards.check_preference(equal if preference is None else preference, num_tasks)

  def weigh(losses: jax.Array, state: Any, mask: jax.Array) -> tuple[jax.Array, Any]:
    present = jnp.where(mask, wanted, 0).astype(losses.dtype)
    total = present.sum()
    present *= wanted.sum() / jnp.where(total > 0, total, 1)
    scores = present * (losses - ideal) / mu
    return present * jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)), state

  return loss_weighting(num_tasks, weigh)
