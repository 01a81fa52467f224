"""Priority-constrained descent (PCD): the primary gradient, with progress for every other task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import guards
from jaxmtl.aggregation.base import (
  GramianAggregator,
  SolverState,
  gramian_aggregator,
  init_solver_state,
)
from jaxmtl.aggregation.dual_cone import bounded_minimum
from jaxmtl.gradients.inner_products import accumulator_dtype
from jaxmtl.tasks import check_num_tasks, task_index

# In units of round-off: what makes weights of parallel gradients unique, and what counts as zero.
_ROUND_OFF = 32
# Share of the wanted progress that may be missing before the constraints count as contradictory.
_SHORTFALL = 0.1


class PCDState(NamedTuple):
  """Moving means of the gradients' norms, and the last solve.

  Attributes:
    norms: `[T]`, roots of the moving means of squared norms, not yet corrected for their start.
    steps: int32 `[T]`, how many steps had labels of the task.
    solver: of the last step; not converged where the constraints contradict each other.
  """

  norms: jax.Array
  steps: jax.Array
  solver: SolverState


def pcd(
  num_tasks: int,
  primary: int | str = 0,
  tau: float | Sequence[float] | Mapping[str, float] | jax.Array = 0.02,
  beta: float = 0.999,
  eps: float = 1e-8,
) -> GramianAggregator:
  r"""The direction nearest to the primary gradient on which every other task makes progress.

  With gradients normalised by moving means of their squared norms,
  :math:`\tilde g_t = g_t / \sqrt{\hat v_t + \epsilon}`,

  .. math:: \tilde d = \arg\min_d \| d - \tilde g_{pri} \|^2 \quad \text{subject to} \quad
            \langle \tilde g_j, d \rangle \ge \tau_j \|\tilde g_j\|^2 \;\; \forall j \ne pri,
            \qquad g = \|g_{pri}\| \frac{\tilde d}{\|\tilde d\|}

  and :math:`\hat v_t` the moving mean of :math:`\|g_t\|^2` with decay beta, corrected for its start
  at zero. One task is the identity. Where the constraints contradict each other, g is the primary
  gradient, and the state's solver has not converged. Without a primary gradient, or where the
  direction's length is zero, g is zero.

  A task without labels has no constraint and keeps its mean; if it is the primary one, g is zero.
  Gradients that are not finite show in the update, and leave the means as they were. Task-specific
  parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    primary: the primary task by index or name, static.
    tau: progress of the others, as a fraction of what a step along their own gradient would bring,
      in [0, 1]: one number, or one a task (in order, or by name; the primary's does not count).
    beta: decay of the means, in [0, 1).
    eps: added to the means, at least 0.

  Returns:
    A `GramianAggregator` with a `PCDState`.

  Raises:
    ValueError: if an option is outside its range.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.pcd(2, tau=0.5)
    >>> grads = jnp.array([[3.0, 0.0], [0.0, 4.0]])
    >>> grad, _ = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(float(g), 2) for g in grad]  # along (1, .5), as long as the primary gradient
    [2.68, 1.34]

  Reference:
    "Not All Objectives Are Born Equal: Priority-Constrained Descent for Hierarchical
    Multi-Objective Optimization", TMLR 2026.
  """
  check_num_tasks(num_tasks)
  place = task_index("primary", primary, num_tasks)
  tau = guards.check_vector("tau", tau, num_tasks) if isinstance(tau, Mapping) else tau
  if not guards.is_traced(tau):
    if np.shape(tau) not in ((), (num_tasks,)):
      raise ValueError(f"tau must be one number, or {num_tasks}, got shape {np.shape(tau)}.")
    if not np.all((np.asarray(tau) >= 0) & (np.asarray(tau) <= 1)):
      raise ValueError(f"tau must be in [0, 1], got {tau}; 0.02 is usual.")
  if not guards.is_traced(beta) and not 0 <= beta < 1:
    raise ValueError(f"beta must be in [0, 1), got {beta}; 0.999 is usual.")
  if not guards.is_traced(eps) and not eps >= 0:
    raise ValueError(f"eps must be at least 0, got {eps}; 1e-8 is usual.")
  is_primary = jnp.arange(num_tasks) == place

  def init(params: Any) -> PCDState:
    norms = jnp.zeros(num_tasks, accumulator_dtype(params))
    return PCDState(norms, jnp.zeros(num_tasks, jnp.int32), init_solver_state(params))

  def weigh(
    gramian: jax.Array,
    state: PCDState,
    *,
    losses: jax.Array | None,
    mask: jax.Array,
    scale: jax.Array,
  ) -> tuple[jax.Array, PCDState]:
    del losses
    roots = jnp.sqrt(jnp.diagonal(gramian))  # the norms, over `scale`
    due = mask & jnp.all(jnp.isfinite(gramian))
    steps = state.steps + due
    # Roots, as squares of huge and tiny norms do not fit into float32.
    rates = jnp.sqrt(jnp.asarray(beta, roots.dtype)), jnp.sqrt(jnp.asarray(1 - beta, roots.dtype))
    old = state.norms.astype(roots.dtype)
    norms = jnp.where(due, jnp.hypot(rates[0] * old, rates[1] * scale * roots), old)
    start = -jnp.expm1(jnp.maximum(steps, 1) * jnp.log(jnp.asarray(beta, roots.dtype)))
    typical = jnp.hypot(norms / jnp.sqrt(start), jnp.sqrt(jnp.asarray(eps, roots.dtype)))
    factors = scale / jnp.where(typical > 0, typical, 1)

    # Only the direction counts: of order 1, no scale of the gradients is lost in the products.
    largest = jnp.max(factors * roots)
    factors /= jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    known = roots > 0  # a row of zeros constrains nothing
    matrix = jnp.where(known[:, None] & known[None, :], factors[:, None] * gramian * factors, 0)
    multipliers, solver = _multipliers(matrix, jnp.asarray(tau, roots.dtype), is_primary)
    products, sizes = matrix @ multipliers, jnp.abs(matrix) @ multipliers
    square = multipliers @ products
    vanishes = square <= _ROUND_OFF * jnp.finfo(roots.dtype).eps * (multipliers @ sizes)
    length = jnp.sqrt(jnp.where(vanishes, 1, square))
    weights = jnp.where(vanishes, 0, multipliers * factors * (roots[place] / length))
    weights = jnp.where(jnp.all(jnp.isfinite(gramian)), weights, jnp.nan)
    return weights, PCDState(norms.astype(state.norms.dtype), steps, solver)

  return gramian_aggregator(num_tasks, weigh, init, needs_scale=True)


def _multipliers(
  matrix: jax.Array, tau: jax.Array, is_primary: jax.Array
) -> tuple[jax.Array, SolverState]:
  """Weights of the normalised gradients: 1 for the primary one, multipliers for the others."""
  round_off = _ROUND_OFF * jnp.finfo(matrix.dtype).eps
  squares = jnp.diagonal(matrix)
  lower, wanted = jnp.asarray(is_primary, matrix.dtype), tau * squares
  # Relative to each row, so that a small gradient's constraint is met as well as a large one's.
  ridge = jnp.where(squares > 0, round_off * squares, 1)
  found, solver = bounded_minimum(matrix + jnp.diag(ridge), lower, wanted, is_primary)
  missing = wanted - matrix @ found
  # Contradictions drive multipliers up until the ridge holds them, far from the progress wanted;
  # where none is wanted, zero is an answer, and the ridge's share is at most this root.
  allowed = jnp.where(wanted > 0, _SHORTFALL * wanted, jnp.sqrt(ridge * (lower @ squares)))
  met = solver.converged & jnp.all(is_primary | (missing <= allowed))
  return jnp.where(met, found, lower), SolverState(met, solver.iterations)
