"""Dual-balancing multi-task learning (DB-MTL)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator, elementwise_aggregator, history
from jaxmtl.gradients.combinations import combine, per_row
from jaxmtl.gradients.inner_products import row_norms

_EPSILON = 1e-8


class DBMTLState(NamedTuple):
  """Moving means.

  Attributes:
    means: of the log-losses' gradients, leaves `[T, *shape]`, float32 or wider.
    steps: int32 `[T]`, how many steps had labels of the task.
  """

  means: Any
  steps: jax.Array


def db_mtl(
  num_tasks: int, beta: float = 0.9, sigma: float = 0.0, weigh_heads: bool = True
) -> Aggregator:
  r"""Moving means of the log-losses' gradients, all brought to the largest one's norm, summed.

  .. math:: m_i \leftarrow \beta_k m_i + (1 - \beta_k) \frac{g_i}{L_i + 10^{-8}}, \quad
            \beta_k = \frac{\beta}{k^\sigma}, \qquad
            g = \max_j \|m_j\| \sum_i \frac{m_i}{\|m_i\|}

  from m = 0, with k the number of steps that had labels of the task. Needs `losses=`, which must
  not be negative: where one is, the update is NaN. A zero m adds nothing. The means cost T times
  the parameters' memory, in float32.

  g are the gradients that `update` gets: behind a weighting, in a chain or in a train step, they
  come scaled by its weights while the losses do not, so that the weights scale the g_i / L_i.

  A task without labels keeps its m and k and adds nothing. A gradient that is not finite gives NaN,
  and leaves the whole state as it was.
  Task-specific parameters receive their own task's gradient of the log-loss.

  Args:
    num_tasks: T, a static integer.
    beta: forgetting rate, in [0, 1); 0 keeps no history.
    sigma: how fast it fades, at least 0; 0 keeps it constant.
    weigh_heads: whether task-specific parameters receive the gradient of the log-loss, as in the
      authors' program, or of the loss.

  Returns:
    An elementwise `Aggregator` with a `DBMTLState`.

  Raises:
    ValueError: if an option is outside its range; at update, if losses are missing.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.db_mtl(2, beta=0.5)
    >>> grads, losses = jnp.array([[4.0, 0.0], [0.0, 8.0]]), jnp.array([1.0, 4.0])
    >>> grad, state = aggregator.update(grads, aggregator.init(jnp.zeros(2)), losses=losses)
    >>> grad.tolist()
    [2.0, 2.0]

  Reference:
    Lin et al., "Dual-Balancing for Multi-Task Learning", 2023, algorithm 1.
  """
  if not guards.is_traced(beta) and not 0 <= beta < 1:
    raise ValueError(f"beta must be in [0, 1), got {beta}; the paper tries 0.1 to 0.9.")
  if not guards.is_traced(sigma) and not sigma >= 0:
    raise ValueError(f"sigma must be at least 0, got {sigma}; 0 keeps beta constant.")

  def init(params: Any) -> DBMTLState:
    return DBMTLState(history(num_tasks, params), jnp.zeros(num_tasks, jnp.int32))

  def of_logarithm(losses: Any, mask: jax.Array) -> jax.Array:
    losses = guards.check_losses(losses, num_tasks)
    losses = jnp.where(mask, losses.astype(jnp.promote_types(losses.dtype, jnp.float32)), 1)
    return jnp.where(losses + _EPSILON > 0, 1 / (losses + _EPSILON), jnp.nan)

  def of_heads(state: Any, *, losses: Any, mask: jax.Array, weights: Any) -> jax.Array:
    del state, weights
    return jnp.where(mask, of_logarithm(losses, mask), 0)

  def aggregate(
    task_grads: Any, state: DBMTLState, *, losses: Any, mask: jax.Array
  ) -> tuple[Any, DBMTLState]:
    inverse = of_logarithm(losses, mask)
    sound = jnp.all(jnp.isfinite(row_norms(task_grads) * inverse))
    learns = mask & sound
    steps = state.steps + learns
    forget = beta / jnp.maximum(steps, 1).astype(inverse.dtype) ** sigma

    def track(mean: jax.Array, leaf: jax.Array) -> jax.Array:
      moved = per_row(forget, leaf) * mean + per_row((1 - forget) * inverse, leaf) * leaf
      return jnp.where(per_row(learns, leaf), moved, mean).astype(mean.dtype)

    means = jax.tree.map(track, state.means, task_grads)
    norms = jnp.where(mask, row_norms(means), 0)
    # Finite, as infinity times the zero entries would be NaN.
    factors = jnp.minimum(norms.max() / jnp.where(norms > 0, norms, 1), jnp.finfo(norms.dtype).max)
    factors = jnp.where(sound, jnp.where(norms > 0, factors, 0), jnp.nan)
    update = jax.tree.map(lambda u, g: u.astype(g.dtype), combine(means, factors), task_grads)
    return update, DBMTLState(means, steps)

  return elementwise_aggregator(
    num_tasks, aggregate, init, head_weights=of_heads if weigh_heads else None
  )
