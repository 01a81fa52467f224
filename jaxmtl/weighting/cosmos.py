"""Conditioned one-shot multi-objective search (COSMOS)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.tasks import check_num_tasks
from jaxmtl.weighting.base import Weighting, loss_weighting


def cosmos(num_tasks: int, preference: Any = None, lam: float = 1.0) -> Weighting:
  r"""Descends the preferred sum of the losses, and pulls them towards the preference's ratio.

  .. math:: L = \sum_t p_t L_t - \lambda \frac{\langle p, L \rangle}{\|p\| \|L\|}, \qquad
            w_t = \frac{\partial L}{\partial L_t}

  Weights may be negative, where a task is better than its share. A task without labels takes no
  part in both terms.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    preference: p, T numbers, not negative and not all zero; 1/T each where None. The paper gives it
      to the network too, and draws it anew from a Dirichlet distribution at each step.
    lam: lambda >= 0, the pull towards losses proportional to p; 0 is the weighted sum.

  Returns:
    A `Weighting` without state. It takes losses of any sign.

  Raises:
    ValueError: if `lam` is negative or `preference` is not as above.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.cosmos(2, lam=2.0)
    >>> weights, _ = weighting.weigh(jnp.array([3.0, 4.0]), weighting.init(None))
    >>> [round(float(w), 3) for w in weights]  # the larger loss is to fall
    [0.455, 0.534]

  Reference:
    Ruchte and Grabocka, "Scalable Pareto Front Approximation for Deep Multi-Objective Learning",
    2021, section 3.
  """
  check_num_tasks(num_tasks)
  if not guards.is_traced(lam) and not lam >= 0:
    raise ValueError(f"lam must be at least 0, got {lam}; 0 is the weighted sum.")
  equal = [1 / num_tasks] * num_tasks
  wanted = guards.check_preference(equal if preference is None else preference, num_tasks)

  def weigh(losses: jax.Array, state: Any, mask: jax.Array) -> tuple[jax.Array, Any]:
    share = jnp.where(mask, wanted, 0).astype(losses.dtype)
    return share - lam * _cosine_gradient(share, losses), state

  return loss_weighting(num_tasks, weigh)


def _cosine_gradient(share: jax.Array, losses: jax.Array) -> jax.Array:
  """Of the cosine between both with respect to the losses; 0 where one of them is zero."""
  lengths = jnp.linalg.norm(share), jnp.linalg.norm(losses)
  first, second = (
    vector / jnp.where(length > 0, length, 1)
    for vector, length in zip((share, losses), lengths, strict=True)
  )
  return (first - (first @ second) * second) / jnp.where(lengths[1] > 0, lengths[1], jnp.inf)
