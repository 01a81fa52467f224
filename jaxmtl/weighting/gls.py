"""Geometric loss strategy (GLS)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.weighting.base import Weighting, loss_weighting, reject


class GLSState(NamedTuple):
  """How many steps left each task out for a loss that was not positive, int32 `[T]`."""

  rejected: jax.Array


def gls(num_tasks: int) -> Weighting:
  r"""Descends the geometric mean of the losses.

  .. math:: L = \Big( \prod_t L_t \Big)^{1/T}, \quad w_t = \frac{L}{T L_t}

  over the T tasks with labels, so that every task's relative progress counts the same. A loss that
  is not positive has no logarithm: outside of `jax.jit` it raises; inside, where values are not
  known, its task weighs 0 in that step, as one without labels does, and is counted in the state.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.

  Returns:
    A `Weighting` with a `GLSState`.

  Raises:
    ValueError: outside of `jax.jit`, if a loss is not positive.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.gls(2)  # L = 6
    >>> weights, _ = weighting.weigh(jnp.array([4.0, 9.0]), weighting.init(None))
    >>> [round(float(w), 4) for w in weights]
    [0.75, 0.3333]

  Reference:
    Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for
    Multi-Task Learning", 2019, section 3.2.
  """

  def init_fn(params: Any) -> GLSState:
    del params
    return GLSState(jnp.zeros(num_tasks, jnp.int32))

  def weigh(losses: jax.Array, state: GLSState, mask: jax.Array) -> tuple[jax.Array, GLSState]:
    rejected = reject("gls", losses, mask, "the geometric mean is of positive losses only")
    valid = mask & ~rejected
    logs = jnp.log(jnp.where(valid, losses, 1))
    count = jnp.maximum(valid.sum(), 1)
    weights = jnp.where(valid, jnp.exp(logs.sum() / count - logs) / count, 0)
    return weights, GLSState(state.rejected + rejected)

  return loss_weighting(num_tasks, weigh, init_fn)
