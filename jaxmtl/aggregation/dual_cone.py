"""Projection onto the dual cone of the task gradients, on device: block principal pivoting.

The nearest update that conflicts with no task, or that makes each a given progress, is a small
quadratic program with bounds. Pivoting finds which bounds are tight in a few solves of a T x T
system, exactly but for round-off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import (
  GramianAggregator,
  SolverState,
  gramian_aggregator,
  init_solver_state,
  preferred_weights,
)
from jaxmtl.aggregation.positive_definite import positive_definite_solver

# Relative to the trace; without it, the weights of opposite gradients would not be unique.
REGULARIZATION = 1e-4
# Exchanges of whole blocks that may fail to lessen the number of violations before single ones.
_PATIENCE = 3
_ROWS_AT_ONCE = 48
# What counts as a violation, in units of round-off.
_SLACK = 20


def dual_cone_aggregator(
  name: str,
  num_tasks: int,
  preference: Any,
  updates: Callable[[jax.Array], jax.Array],
  reg_eps: float = REGULARIZATION,
  norm_eps: float = 0.0,
) -> GramianAggregator:
  """The sum of the projections of some updates onto the dual cone of the task gradients.

  Args:
    name: of the method.
    num_tasks: T, a static integer.
    preference: weights of the tasks, 1/T each where None.
    updates: `weights [T] -> [K, T]`, each row the task gradients' weights in an update.
    reg_eps: multiple of the identity beside the Gramian over its trace.
    norm_eps: a Gramian of a smaller trace counts as zero.

  Raises:
    ValueError: if `reg_eps` is not positive or `norm_eps` is negative.
  """
  if not guards.is_traced(reg_eps) and not reg_eps > 0:
    raise ValueError(f"reg_eps must be positive, got {reg_eps}; 1e-4 is usual.")
  if not guards.is_traced(norm_eps) and not norm_eps >= 0:
    raise ValueError(f"norm_eps must be at least 0, got {norm_eps}; 0 takes every gradient.")
  wanted = preferred_weights(num_tasks, preference)

  def weigh(
    gramian: jax.Array,
    state: SolverState,
    *,
    losses: jax.Array | None,
    mask: jax.Array,
    scale: jax.Array,
  ) -> tuple[jax.Array, SolverState]:
    del state, losses
    rows = updates(wanted(mask, gramian.dtype))
    small = scale * jnp.sqrt(jnp.trace(gramian)) < jnp.sqrt(norm_eps)
    gramian = jnp.where(small, 0, gramian)
    projections, solver = project_onto_dual_cone(gramian, rows, reg_eps)
    return projections.sum(axis=0), solver

  return gramian_aggregator(num_tasks, weigh, init_solver_state, needs_scale=True, name=name)


def project_onto_dual_cone(
  gramian: jax.Array, lower: jax.Array, reg_eps: float | jax.Array = REGULARIZATION
) -> tuple[jax.Array, SolverState]:
  r"""Weights of the projections of several updates onto the dual cone of the task gradients.

  For every row u of `lower`, with :math:`H = G / \mathrm{tr}\, G + 10^{-4} I`,

  .. math:: \min_{v \ge u} v^\top H v

  All rows are solved together, by `bounded_minimum`.

  Args:
    gramian: `[T, T]` in float32 or wider; rows and columns of tasks without labels are zero.
    lower: bounds u, `[K, T]`, zero for tasks without labels.
    reg_eps: what stands for 1e-4 above.

  Returns:
    v `[K, T]` and a `SolverState`: whether all rows converged, and the pivots of the slowest. A row
    that did not, for lack of a finite Gramian, is the last guess raised to its bounds.
  """
  trace = jnp.trace(gramian)
  identity = jnp.eye(len(gramian), dtype=gramian.dtype)
  matrix = gramian / jnp.where(trace > 0, trace, 1) + reg_eps * identity
  # Together, all rows take as many pivots as the slowest; of many, each by itself is cheaper.
  at_once = min(len(lower), _ROWS_AT_ONCE)
  v, state = jax.lax.map(lambda bounds: bounded_minimum(matrix, bounds), lower, batch_size=at_once)
  return v, SolverState(state.converged.all(), state.iterations.max())


def bounded_minimum(
  matrix: jax.Array,
  lower: jax.Array,
  linear: jax.Array | float = 0.0,
  fixed: jax.Array | bool = False,
) -> tuple[jax.Array, SolverState]:
  r"""Minimum of a small quadratic with lower bounds.

  .. math:: \min_{v \ge u} \tfrac12 v^\top H v - q^\top v

  It is where `z = v - u >= 0`, `w = H v - q >= 0` and `z_i w_i = 0`. A pivot guesses which z_i are
  free, solves for them with w_i = 0, and exchanges all violated indices at once, as long as their
  number falls (Júdice and Pires); else only the last one, which ends in finitely many pivots
  (Murty).

  Args:
    matrix: H, `[T, T]`, positive definite.
    lower: bounds u, `[T]`.
    linear: q, `[T]`.
    fixed: bool `[T]`, True where v_i stays at u_i.

  Returns:
    v `[T]` and a `SolverState`; after `50 + 5 T` pivots the last guess raised to its bounds.
  """
  num_tasks = len(matrix)
  slack = _SLACK * jnp.finfo(matrix.dtype).eps
  identity = jnp.eye(num_tasks, dtype=matrix.dtype)
  places = jnp.arange(num_tasks)

  def violated_at(v: jax.Array, free: jax.Array) -> jax.Array:
    """Which z and w are negative where these z are free."""
    round_off = slack * (jnp.abs(matrix) @ jnp.abs(v) + jnp.abs(linear))
    below, falling = v - lower < -slack * jnp.abs(v), matrix @ v - linear < -round_off
    return jnp.where(free, below, falling) & ~jnp.asarray(fixed)

  def guess(free: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The point with these z free, and which of its z and w are negative."""
    system = jnp.where(free[:, None] & free[None, :], matrix, identity)
    right = jnp.where(free, linear - matrix @ jnp.where(free, 0, lower), lower)
    v = positive_definite_solver(system)(right)
    return v, violated_at(v, free)

  def pivot(carry: tuple) -> tuple:
    free, _, violated, fewest, patience, pivots = carry
    count = violated.sum(dtype=fewest.dtype)
    patience = jnp.where(count < fewest, _PATIENCE, patience - 1)
    last = places == jnp.max(jnp.where(violated, places, -1))
    free ^= jnp.where(patience >= 0, violated, last)
    return free, *guess(free), jnp.minimum(count, fewest), patience, pivots + 1

  def unfinished(carry: tuple) -> jax.Array:
    return carry[2].any() & (carry[-1] < 50 + 5 * num_tasks)

  free = jnp.zeros(num_tasks, bool)
  integer = jnp.zeros((), jnp.int32)
  at_bounds = (lower, violated_at(lower, free))  # nothing is solved where no task conflicts
  start = (free, *at_bounds, integer + num_tasks + 1, integer + _PATIENCE, integer)
  _, v, violated, _, _, pivots = jax.lax.while_loop(unfinished, pivot, start)
  converged = ~violated.any() & jnp.all(jnp.isfinite(matrix @ v))
  return jnp.maximum(v, lower), SolverState(converged, pivots)
