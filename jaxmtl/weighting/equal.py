"""Equal weighting, and any other fixed weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import guards
from jaxmtl.tasks import check_num_tasks
from jaxmtl.weighting.base import Weighting, loss_weighting


def equal(num_tasks: int) -> Weighting:
  r"""Equal weighting: the sum of the losses.

  .. math:: w_t = 1

  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.

  Returns:
    A `Weighting` without state.

  Raises:
    ValueError: if `num_tasks` is not a positive integer.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.equal(2)
    >>> weighting.weigh(jnp.array([3.0, 1.0]), weighting.init(None))[0].tolist()
    [1.0, 1.0]

  Reference:
    Caruana, "Multitask Learning", 1997.
  """
  weighting = constant(num_tasks, (1.0,) * check_num_tasks(num_tasks))
  weighting.name = "equal"
  return weighting


def constant(
  num_tasks: int, weights: Sequence[float] | Mapping[str, float] | jax.Array
) -> Weighting:
  r"""Fixed task weights.

  .. math:: w_t = c_t

  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    weights: T finite numbers, not negative; in the order of the tasks, or by name. Under
      `jax.jit`, `jax.vmap` or `jaxmtl.inject_hyperparams` they may be what is known only then.

  Returns:
    A `Weighting` without state.

  Raises:
    ValueError: if there is not one finite, non-negative weight a task.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.constant(2, (0.5, 0.25))
    >>> weighting.weigh(jnp.array([3.0, 1.0]), weighting.init(None))[0].tolist()
    [0.5, 0.25]

  Reference:
    "Multi Task Learning of Different Class Label Representations for Stronger Models", section 5.4:
    (.5, .5), (.9, .1) and (.1, .9).
  """
  check_num_tasks(num_tasks)
  values = guards.check_vector("weights", weights, num_tasks)
  if not guards.is_traced(values):
    numbers = np.asarray(values)
    if not np.all((numbers >= 0) & (numbers < np.inf)):
      raise ValueError(
        f"weights must hold {num_tasks} finite numbers >= 0, one a task, got {numbers.tolist()}."
      )

  def weigh(losses: jax.Array, state: Any, mask: jax.Array) -> tuple[jax.Array, Any]:
    del mask
    return jnp.asarray(values, losses.dtype), state

  return loss_weighting(num_tasks, weigh)
