"""Random loss weighting (RLW)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl._keys import method_key
from jaxmtl.weighting.base import Weighting, loss_weighting


class RLWState(NamedTuple):
  """The random key, split at every update."""

  key: jax.Array


def rlw(
  num_tasks: int,
  key: jax.Array | int = 0,
  distribution: Literal["normal", "dirichlet"] = "normal",
  total: float | None = None,
) -> Weighting:
  r"""Draws the task weights anew at each step.

  .. math:: w = T \, \mathrm{softmax}(u), \; u_t \sim N(0, 1)
            \quad \text{or} \quad w \sim T \, \mathrm{Dirichlet}(1, \dots, 1)

  The weights sum to the number of tasks with labels in the batch, as equal weighting's do, so that
  both are compared at one learning rate; in the authors' program to 1 (`total=1.0`).
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    key: an int or a random key, for the draws; one each where seeds are vmapped.
    distribution: `"normal"` or `"dirichlet"`.
    total: what the weights sum to, positive; the number of tasks with labels where None.

  Returns:
    A `Weighting` with an `RLWState`.

  Raises:
    ValueError: if the distribution is unknown or `total` not positive.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.rlw(3, key=1)
    >>> weights, state = weighting.weigh(jnp.ones(3), weighting.init(None))
    >>> round(float(weights.sum()), 4)
    3.0

  Reference:
    Lin et al., "Reasonable Effectiveness of Random Weighting", 2022, section 3.
  """
  if distribution not in ("normal", "dirichlet"):
    raise ValueError(f"distribution must be 'normal' or 'dirichlet', got {distribution!r}.")
  if total is not None and not guards.is_traced(total) and not total > 0:
    raise ValueError(f"total must be positive, got {total}; None is the number of tasks.")

  def init_fn(params: Any) -> RLWState:
    del params
    return RLWState(method_key("rlw", key))

  def weigh(losses: jax.Array, state: RLWState, mask: jax.Array) -> tuple[jax.Array, RLWState]:
    key, use = jax.random.split(state.key)
    if distribution == "normal":
      logits = jax.random.normal(use, (num_tasks,), losses.dtype)
    else:  # Dirichlet(1) is a vector of exponentials divided by its sum
      draws = jax.random.exponential(use, (num_tasks,), losses.dtype)
      logits = jnp.log(jnp.maximum(draws, jnp.finfo(draws.dtype).tiny))  # a draw may be 0
    softmax = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf))
    return jnp.where(mask, (mask.sum() if total is None else total) * softmax, 0), RLWState(key)

  return loss_weighting(num_tasks, weigh, init_fn)
