"""Multiple-gradient descent algorithm (MGDA)."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import (
  GramianAggregator,
  SolverState,
  gramian_aggregator,
  init_solver_state,
)
from jaxmtl.aggregation.simplex import minimize_on_simplex
from jaxmtl.gradients.inner_products import of_order_one, reciprocal

_NORMALIZATIONS = ("none", "l2", "loss", "loss+")


def mgda(
  num_tasks: int,
  normalization: Literal["none", "l2", "loss", "loss+"] = "none",
  combine: Literal["raw", "normalized"] = "raw",
) -> GramianAggregator:
  r"""The shortest vector in the convex hull of the task gradients.

  .. math:: \min_{w \in \Delta} w^\top G w, \qquad g = \sum_t w_t g_t

  It decreases every loss, or is zero at a Pareto-stationary point; one task is the identity. With
  a normalisation, w solves the problem of the gradients divided by n_t, and g combines the
  gradients as they are, as Sener and Koltun's program does, or, as LibMTL does, the divided ones
  (`combine="normalized"`): `"l2"` n_t = ‖g_t‖, `"loss"` n_t = L_t, `"loss+"` n_t = L_t ‖g_t‖. With
  two tasks, raw and `"l2"`, g is half the sum whatever the gradients' angle.
  Tasks without labels are left out of the hull.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    normalization: one of `"none"`, `"l2"`, `"loss"`, `"loss+"`; the last two need `losses=`.
    combine: whether g is made of the gradients as they are or of those divided by n_t. The latter
      makes steps whose length does not depend on the gradients' (`"l2"`).

  Returns:
    A `GramianAggregator` whose state says whether the last solve converged.

  Raises:
    ValueError: if the normalisation or what to combine is unknown, or losses are needed and there
      are none.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.mgda(2)
    >>> grads = jnp.array([[2.0, 0.0], [0.0, 1.0]])
    >>> grad, state = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(float(g), 3) for g in grad], bool(state.converged)
    ([0.4, 0.8], True)

  Reference:
    Désidéri, "Multiple-Gradient Descent Algorithm for Multiobjective Optimization", 2012; Sener
    and Koltun, "Multi-Task Learning as Multi-Objective Optimization", 2018, section 3.2.
  """
  if normalization not in _NORMALIZATIONS:
    raise ValueError(f"normalization must be one of {_NORMALIZATIONS}, got {normalization!r}.")

  if combine not in ("raw", "normalized"):
    raise ValueError(f"combine must be 'raw' or 'normalized', got {combine!r}.")

  def weigh(
    gramian: jax.Array,
    state: SolverState,
    *,
    losses: jax.Array | None,
    mask: jax.Array,
    scale: jax.Array,
  ) -> tuple[jax.Array, SolverState]:
    del state
    factors = jnp.ones(num_tasks, gramian.dtype)
    if normalization in ("l2", "loss+"):
      norms = jnp.sqrt(jnp.diagonal(gramian))
      factors = jnp.where(norms > 0, reciprocal(norms), 1)
    if normalization in ("loss", "loss+"):
      losses = guards.check_losses(losses, num_tasks).astype(gramian.dtype)
      factors /= jnp.where(losses > 0, losses, 1)
    gramian = gramian * factors[:, None] * factors[None, :]
    # Order 1, whatever the gradients' scale; zero gradients leave equal weights.
    gramian = of_order_one(gramian)
    weights, solver = minimize_on_simplex(lambda w: (gramian @ w, gramian), mask, gramian.dtype)
    if combine == "normalized":
      # The Gramian's factors hold norms without their scale.
      weights *= factors / scale if normalization in ("l2", "loss+") else factors
    return weights, solver

  return gramian_aggregator(num_tasks, weigh, init_solver_state, needs_scale=True)
