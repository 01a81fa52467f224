"""Fair resource allocation among tasks (FairGrad)."""

from __future__ import annotations

import jax

from jaxmtl import guards
from jaxmtl.aggregation.bargaining import solve_bargaining
from jaxmtl.aggregation.base import (
  GramianAggregator,
  SolverState,
  gramian_aggregator,
  init_solver_state,
)


def fairgrad(num_tasks: int, alpha: float = 1.0, weigh_heads: bool = True) -> GramianAggregator:
  r"""The update that shares its progress among the tasks alpha-fairly.

  .. math:: G x = x^{-1/\alpha}, \quad x > 0, \qquad g = \sum_t x_t g_t

  Task t progresses by :math:`\langle g_t, g \rangle = x_t^{-1/\alpha}`: alpha = 1 is proportional
  fairness (Nash-MTL up to scale), and more of it helps the worst-off task more. The update does not
  scale with the gradients: n times as large ones give :math:`n^{(1 - \alpha) / (1 + \alpha)}` times
  it. alpha = 1 makes it :math:`\sqrt T` long always, alpha > 1 the longer the smaller the gradients
  are. One task gives :math:`\|g_1\|^{-2 \alpha / (1 + \alpha)} g_1`.

  At a Pareto-stationary point no x solves the equation; then the update is near zero, though its
  weights are large, and the state's `converged` is False. In float32 that is already so where
  gradients oppose each other to a thousandth, and with many more tasks than parameters; what is
  left of the update then is round-off, and changes with the gradients' scale. Gradients of zero, to
  round-off of the longest one, get weight 0. A task without labels is
  left out of the equation.
  Task-specific parameters receive their own task's gradient, times its x.

  Args:
    num_tasks: T, a static integer.
    alpha: > 0; the paper uses 1 and 2.
    weigh_heads: whether task-specific parameters receive their own task's gradient times its
      weight, as in the authors' program, or unscaled.

  Returns:
    A `GramianAggregator` whose state says whether the last solve converged.

  Raises:
    ValueError: if `alpha` is not positive.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.fairgrad(2)
    >>> grads = jnp.array([[4.0, 0.0], [0.0, 0.5]])
    >>> grad, _ = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(float(g), 3) for g in grad]
    [1.0, 1.0]

  Reference:
    Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", 2024, section 4.
  """
  if not guards.is_traced(alpha) and not 0 < alpha < float("inf"):
    raise ValueError(f"alpha must be positive and finite, got {alpha}; the paper uses 1 and 2.")

  def weigh(
    gramian: jax.Array,
    state: SolverState,
    *,
    losses: jax.Array | None,
    mask: jax.Array,
    scale: jax.Array,
  ) -> tuple[jax.Array, SolverState]:
    del state, losses, mask
    weights, solver = solve_bargaining(gramian, 1 / alpha)
    # The Gramian is scale**2 times this one.
    return weights * scale ** (-2 * alpha / (1 + alpha)), solver

  return gramian_aggregator(
    num_tasks, weigh, init_solver_state, needs_scale=True, weigh_heads=weigh_heads
  )
