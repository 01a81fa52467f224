"""Multi-task learning as a bargaining game (Nash-MTL)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.bargaining import solve_bargaining
from jaxmtl.aggregation.base import (
  GramianAggregator,
  SolverState,
  gramian_aggregator,
  init_solver_state,
)
from jaxmtl.gradients.inner_products import accumulator_dtype


class NashMTLState(NamedTuple):
  """The bargain in force.

  Attributes:
    alpha: `[T]`, the weights of the last solve in which a task had labels; ones at first.
    step: int32 scalar, updates so far.
    solver: how the last solve went.
  """

  alpha: jax.Array
  step: jax.Array
  solver: SolverState


def nash_mtl(
  num_tasks: int, update_every: int = 1, max_norm: float = 1.0, weigh_heads: bool = True
) -> GramianAggregator:
  r"""The update on which the tasks agree in Nash's bargaining.

  .. math:: \frac{G}{\|G\|_F} \alpha = \frac{1}{\alpha}, \quad \alpha > 0, \qquad
            g = \sum_t \alpha_t g_t

  It maximises the product of the tasks' gains among updates of its length,
  :math:`\sqrt{T \|G\|_F}`, whatever their gradients' lengths. One task is the identity.

  At a Pareto-stationary point no alpha solves the equation; then the update is near zero, though
  its weights are large, and `converged` in the state is False. In float32 that is already so where
  gradients oppose each other to a thousandth, and with many more tasks than parameters; what is
  left of the update then is round-off, and changes with the gradients' scale. Gradients of zero, to
  round-off of the longest one, get weight 0. A task without labels
  is left out of the game and keeps its alpha.
  Task-specific parameters receive their own task's gradient, times its alpha (cut alike).

  Args:
    num_tasks: T, a static integer.
    update_every: updates between solves, at least 1; the ones between keep alpha.
    max_norm: length to which a longer update is cut, 1 in the authors' program; 0 does not cut.
    weigh_heads: whether task-specific parameters receive their own task's gradient times its
      weight, as in the authors' program, or unscaled.

  Returns:
    A `GramianAggregator` with a `NashMTLState`.

  Raises:
    ValueError: if `update_every` is less than 1 or `max_norm` is negative.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.nash_mtl(2, max_norm=5.0)
    >>> grads = jnp.array([[40.0, 0.0], [0.0, 30.0]])
    >>> grad, state = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(float(g), 3) for g in grad], bool(state.solver.converged)
    ([3.536, 3.536], True)

  Reference:
    Navon et al., "Multi-Task Learning as a Bargaining Game", 2022, section 3 and algorithm 1.
  """
  if not guards.is_traced(update_every) and (not update_every >= 1 or update_every % 1):
    raise ValueError(
      f"update_every must be at least 1, a whole number, got {update_every}; 1 solves every time."
    )
  if not guards.is_traced(max_norm) and not max_norm >= 0:
    raise ValueError(f"max_norm must be at least 0, got {max_norm}; 0 does not cut.")

  def init(params: Any) -> NashMTLState:
    alpha = jnp.ones(num_tasks, accumulator_dtype(params))
    return NashMTLState(alpha, jnp.zeros((), jnp.int32), init_solver_state(params))

  def weigh(
    gramian: jax.Array,
    state: NashMTLState,
    *,
    losses: jax.Array | None,
    mask: jax.Array,
    scale: jax.Array,
  ) -> tuple[jax.Array, NashMTLState]:
    del losses

    def solve() -> tuple[jax.Array, SolverState]:
      weights, solver = solve_bargaining(gramian, 1.0)
      largest = jnp.max(jnp.diagonal(gramian))  # squares of the entries could overflow
      norm = jnp.linalg.norm(gramian / jnp.where(largest > 0, largest, 1))
      return weights * jnp.sqrt(norm) * jnp.sqrt(largest), solver

    def keep() -> tuple[jax.Array, SolverState]:
      return state.alpha.astype(gramian.dtype), state.solver

    alpha, solver = jax.lax.cond(state.step % update_every == 0, solve, keep)
    weights = jnp.where(mask, alpha, 0)
    length = scale * jnp.sqrt(jnp.maximum(weights @ gramian @ weights, 0))
    cut = (max_norm > 0) & (length > max_norm)
    weights *= jnp.where(cut, max_norm / jnp.where(cut, length, 1), 1)
    fine = mask & jnp.isfinite(alpha)  # a NaN shows in the update, but stays for no later one
    alpha = jnp.where(fine, alpha, state.alpha).astype(state.alpha.dtype)
    return weights, NashMTLState(alpha, state.step + 1, solver)

  return gramian_aggregator(num_tasks, weigh, init, needs_scale=True, weigh_heads=weigh_heads)
