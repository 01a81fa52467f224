"""Penalty-based boundary intersection (PBI)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.tasks import check_num_tasks
from jaxmtl.weighting.base import Weighting, loss_weighting


def pbi(
  num_tasks: int, preference: Any = None, penalty: float = 5.0, reference: Any = None
) -> Weighting:
  r"""Descends along a ray of loss ratios, and towards it.

  .. math:: L = d_1 + \theta d_2, \quad d_1 = \langle L - z, u \rangle, \quad
            d_2 = \|L - z - d_1 u\|, \quad u = \frac{p}{\|p\|}, \qquad
            w_t = \frac{\partial L}{\partial L_t}

  d_1 is the distance along the ray from z in direction p, d_2 the one from the ray. Weights may be
  negative, where a task is better than its share. A task without labels takes no part.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    preference: p, T numbers, not negative and not all zero; 1/T each where None. A larger one lets
      a task's loss be larger.
    penalty: theta >= 0; larger ones keep the losses closer to the ray.
    reference: z, T numbers below the losses (an ideal point); zeros where None.

  Returns:
    A `Weighting` without state. It takes losses of any sign.

  Raises:
    ValueError: if `penalty` is negative, or `preference` or `reference` is not as above.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.pbi(2, penalty=0.5)
    >>> weights, _ = weighting.weigh(jnp.array([3.0, 1.0]), weighting.init(None))
    >>> [round(float(w), 3) for w in weights]  # the first loss is above the ray (1, 1)
    [1.061, 0.354]

  Reference:
    Zhang and Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition", 2007,
    section II.C.
  """
  check_num_tasks(num_tasks)
  if not guards.is_traced(penalty) and not penalty >= 0:
    raise ValueError(f"penalty must be at least 0, got {penalty}; 5 is usual.")
  zeros = jnp.zeros(num_tasks)
  ideal = zeros if reference is None else guards.check_vector("reference", reference, num_tasks)
  equal = [1 / num_tasks] * num_tasks
  wanted = guards.check_preference(equal if preference is None else preference, num_tasks)

  def weigh(losses: jax.Array, state: Any, mask: jax.Array) -> tuple[jax.Array, Any]:
    ray = jnp.where(mask, wanted, 0).astype(losses.dtype)
    length = jnp.linalg.norm(ray)
    ray /= jnp.where(length > 0, length, 1)
    above = jnp.where(mask, losses - ideal, 0)
    beside = above - (above @ ray) * ray
    distance = jnp.linalg.norm(beside)
    return ray + penalty * beside / jnp.where(distance > 0, distance, 1), state

  return loss_weighting(num_tasks, weigh)
