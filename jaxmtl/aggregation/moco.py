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
    steps: int32 `[T]`, how many steps had labels of the task.
  """

  means: Any
  weights: jax.Array
  steps: jax.Array


def moco(
  num_tasks: int,
  beta: float = 0.5,
  gamma: float = 0.1,
  rho: float = 0.0,
  projection: Literal["softmax", "simplex"] = "softmax",
  times_loss: bool = True,
  beta_sigma: float = 0.5,
  gamma_sigma: float = 0.5,
) -> Aggregator:
  r"""Moving means of the normalised gradients, combined by slowly moving weights.

  .. math:: y_i \leftarrow y_i - \beta_k \Big( y_i - L_i \frac{g_i}{\|g_i\|} \Big), \quad
            \lambda \leftarrow \Pi \big( \lambda - \gamma_k (Y Y^\top + \rho I) \lambda \big), \quad
            g = \sum_i \lambda_i y_i

  from y = 0 and equal weights, with :math:`\beta_k = \beta / k^{\sigma_\beta}` and
  :math:`\gamma_k` alike, k being the steps so far that had labels of the task (of any task). The
  weights go towards those of the shortest combination (MGDA's); the means take out the bias that a
  mini-batch's noise would give them. The update is as long as the losses are large, whatever the
  gradients' scale, and no longer than 1 without the factor L: choose the learning rate accordingly.
  The means cost T times the parameters' memory, in float32.

  A task without labels keeps its y and its lambda and adds nothing; the others share what weight
  they had together, and their update is that of weights that sum to 1. A gradient that is not
  finite gives NaN, and leaves the whole state as it was.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    beta: step of the means, in (0, 1].
    gamma: step of the weights, at least 0.
    rho: regularisation towards equal weights, at least 0.
    projection: pi, `"softmax"` as in the authors' program, or the Euclidean projection onto the
      `"simplex"`.
    times_loss: whether unit gradients are multiplied by their loss, for which `losses=` is needed.
    beta_sigma: how fast beta falls, at least 0; 0 keeps it constant.
    gamma_sigma: the same of gamma.

  Returns:
    An elementwise `Aggregator` with a `MoCoState`.

  Raises:
    ValueError: if an option is outside its range.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.moco(2)
    >>> grads, losses = jnp.array([[4.0, 0.0], [0.0, 8.0]]), jnp.array([2.0, 2.0])
    >>> aggregator.update(grads, aggregator.init(jnp.zeros(2)), losses=losses)[0].tolist()
    [0.5, 0.5]

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
  for name, sigma in (("beta_sigma", beta_sigma), ("gamma_sigma", gamma_sigma)):
    if not guards.is_traced(sigma) and not sigma >= 0:
      raise ValueError(f"{name} must be at least 0, got {sigma}; 0 keeps the step constant.")
  if projection not in ("softmax", "simplex"):
    raise ValueError(f"projection must be 'softmax' or 'simplex', got {projection!r}.")

  def init(params: Any) -> MoCoState:
    weights = jnp.full(num_tasks, 1 / num_tasks, accumulator_dtype(params))
    return MoCoState(history(num_tasks, params), weights, jnp.zeros(num_tasks, jnp.int32))

  def aggregate(
    task_grads: Any, state: MoCoState, *, losses: Any, mask: jax.Array
  ) -> tuple[Any, MoCoState]:
    norms = row_norms(task_grads)
    factors = reciprocal(norms)
    sound = jnp.all(jnp.isfinite(norms))
    if times_loss:
      losses = jnp.where(mask, guards.check_losses(losses, num_tasks), 0)
      factors, sound = factors * losses, sound & jnp.all(jnp.isfinite(losses))
    learns = mask & sound
    steps = state.steps + learns
    count = jnp.maximum(steps, 1).astype(norms.dtype)
    step, gamma_now = beta / count**beta_sigma, gamma / count.max() ** gamma_sigma

    def track(mean: jax.Array, leaf: jax.Array) -> jax.Array:
      moved = mean - per_row(step, leaf) * (mean - per_row(factors, leaf) * leaf)
      return jnp.where(per_row(learns, leaf), moved, mean).astype(mean.dtype)

    means = jax.tree.map(track, state.means, task_grads)
    start, share = among_present(state.weights, mask)
    moved = start - gamma_now * (gramian(means) @ start + rho * start)
    if projection == "simplex":
      weights = project_on_simplex(moved, mask)
    else:
      weights = jax.nn.softmax(jnp.where(mask, moved, -jnp.inf))
    weights = jnp.where(mask, weights, 0).astype(state.weights.dtype)
    update = combine(means, jnp.where(sound, weights, jnp.nan))
    update = jax.tree.map(lambda u, leaf: u.astype(leaf.dtype), update, task_grads)
    return update, MoCoState(means, jnp.where(learns, share * weights, state.weights), steps)

  return elementwise_aggregator(num_tasks, aggregate, init)
