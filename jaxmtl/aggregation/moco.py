"""Multi-objective gradient with correction (MoCo)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator, elementwise_aggregator, history
from jaxmtl.aggregation.projection import among_present, project_on_simplex
from jaxmtl.gradients.combinations import combine, per_row
from jaxmtl.gradients.inner_products import accumulator_dtype, gramian, reciprocal, row_norms


class MoCoState(NamedTuple):
  """Moving means and weights.

  Attributes:
    means: of the normalised task gradients, leaves `[T, *shape]`, float32 or wider.
    weights: lambda `[T]`, summing to 1.
  """

  means: Any
  weights: jax.Array


def moco(
  num_tasks: int,
  beta: float = 0.5,
  gamma: float = 0.1,
  rho: float = 0.0,
  projection: Literal["softmax", "simplex"] = "softmax",
) -> Aggregator:
  r"""Moving means of the normalised gradients, combined by slowly moving weights.

  .. math:: y_i \leftarrow y_i - \beta \Big( y_i - \frac{g_i}{\|g_i\|} \Big), \qquad
            \lambda \leftarrow \Pi \big( \lambda - \gamma (Y Y^\top + \rho I) \lambda \big), \qquad
            g = \sum_i \lambda_i y_i

  from y = 0 and equal weights. The weights go towards those of the shortest combination (MGDA's);
  the means take out the bias that a mini-batch's noise would give them. The update is no longer
  than 1, whatever the gradients' scale: choose the learning rate accordingly. The means cost T
  times the parameters' memory, in float32.

  A task without labels keeps its y and its lambda and adds nothing; the others share what weight
  they had together, and their update is that of weights that sum to 1. A gradient that is not
  finite gives NaN, and leaves the whole state as it was.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    beta: step of the means, in (0, 1].
    gamma: step of the weights, at least 0.
    rho: regularisation towards equal weights, at least 0.
    projection: pi, `"softmax"`, or the Euclidean projection onto the `"simplex"`.

  Returns:
    An elementwise `Aggregator` with a `MoCoState`.

  Raises:
    ValueError: if an option is outside its range.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.moco(2)
    >>> grads = jnp.array([[4.0, 0.0], [0.0, 8.0]])
    >>> aggregator.update(grads, aggregator.init(jnp.zeros(2)))[0].tolist()
    [0.25, 0.25]

  Reference:
    Fernando et al., "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent
    Approach", 2023, algorithm 1.
  """
  if not guards.is_traced(beta) and not 0 < beta <= 1:
    raise ValueError(f"beta must be in (0, 1], got {beta}; 1 keeps no history.")
  if not guards.is_traced(gamma) and not gamma >= 0:
    raise ValueError(f"gamma must be at least 0, got {gamma}; 0 keeps equal weights.")
  if not guards.is_traced(rho) and not rho >= 0:
    raise ValueError(f"rho must be at least 0, got {rho}; 0 does not regularise.")
  if projection not in ("softmax", "simplex"):
    raise ValueError(f"projection must be 'softmax' or 'simplex', got {projection!r}.")

  def init(params: Any) -> MoCoState:
    weights = jnp.full(num_tasks, 1 / num_tasks, accumulator_dtype(params))
    return MoCoState(history(num_tasks, params), weights)

  def aggregate(
    task_grads: Any, state: MoCoState, *, losses: Any, mask: jax.Array
  ) -> tuple[Any, MoCoState]:
    del losses
    norms = row_norms(task_grads)
    sound = jnp.all(jnp.isfinite(norms))
    learns = mask & sound
    inverse = reciprocal(norms)

    def track(mean: jax.Array, leaf: jax.Array) -> jax.Array:
      moved = mean - beta * (mean - per_row(inverse, leaf) * leaf)
      return jnp.where(per_row(learns, leaf), moved, mean).astype(mean.dtype)

    means = jax.tree.map(track, state.means, task_grads)
    start, share = among_present(state.weights, mask)
    moved = start - gamma * (gramian(means) @ start + rho * start)
    if projection == "simplex":
      weights = project_on_simplex(moved, mask)
    else:
      weights = jax.nn.softmax(jnp.where(mask, moved, -jnp.inf))
    weights = jnp.where(mask, weights, 0).astype(state.weights.dtype)
    update = combine(means, jnp.where(sound, weights, jnp.nan))
    update = jax.tree.map(lambda u, leaf: u.astype(leaf.dtype), update, task_grads)
    return update, MoCoState(means, jnp.where(learns, share * weights, state.weights))

  return elementwise_aggregator(num_tasks, aggregate, init)
