"""FORUM: task weights as a multi-objective problem, constrained by the lower level's optimality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.aggregation.base import SolverState, init_solver_state
from jaxmtl.aggregation.simplex import minimize_on_simplex
from jaxmtl.meta.base import (
  LogitState,
  along_logits,
  bilevel_weighting,
  check_learning_rate,
  logit_weights,
  move_logits,
)
from jaxmtl.tasks import check_num_tasks, task_indices
from jaxmtl.weighting.base import Bilevel, Weighting
from jaxmtl.weighting.learned import init_tasks


def forum(
  num_tasks: int,
  primary: str | Sequence[int | str] | None = None,
  *,
  phi: float = 0.1,
  learning_rate: optax.ScalarOrSchedule = 1e-3,
  look_ahead: optax.GradientTransformation | None = None,
) -> Weighting:
  r"""Learns weights that lower every primary loss and bring the training losses to rest.

  .. math:: w = T \, \mathrm{softmax}(s), \qquad
            \theta' = \theta + u\Big(\sum_t w_t \nabla L_t(\theta)\Big), \qquad
            q = \sum_t w_t \big(L_t(\theta) - L_t(\theta')\big)

  .. math:: \min_d \; \max_{p \in P} \, \langle \nabla_s L^{val}_p(\theta'), d \rangle
            + \tfrac{1}{2} \|d\|^2 \quad \text{where} \quad
            \langle \nabla_s q, d \rangle \le -\tfrac{\varphi}{2} \|\nabla_s q\|^2, \qquad
            s \leftarrow \mathrm{Adam}(s, -d)

  with u the optimiser's step. Training is the lower level of a bi-level problem; FORUM puts in its
  place the constraint that the training loss be at its least, `f(w, theta) - f*(w) <= 0`, whose
  value function f* it takes from steps on the lower level, here the look-ahead step. The gap q is
  zero where theta is stationary for the weights, and phi asks how fast it should fall. The
  direction is

  .. math:: -d = \sum_p \gamma_p \nabla_s L^{val}_p + \nu \nabla_s q, \qquad
            \nu = \max\Big(0, \tfrac{\varphi}{2} - \frac{\langle \nabla_s q,
            \sum_p \gamma_p \nabla_s L^{val}_p \rangle}{\|\nabla_s q\|^2}\Big)

  with gamma on the simplex. Without the gap it is MOML's.

  The paper moves weights and parameters by one such direction, with partial derivatives of first
  order only: there the weights feel the second batch through the parameters alone. Here, as in
  `jaxmtl.auto_lambda` and `jaxmtl.moml`, the parameters take the optimiser's own step with the
  weights, and all derivatives are exact ones through the look-ahead step, so that the weights see
  what they do to the primary losses. The paper's moving mean of gamma is left out: Adam averages.

  Batches, aggregators that follow, plain chains, partitions and `look_ahead` are as for
  `jaxmtl.moml`; in a plain chain `update` takes `losses_fn=` too, `params -> losses [T]` of the
  batch that the gradients are of. A primary task whose derivative is zero takes no part in the
  maximum. A task without labels takes no part in the softmax and keeps its logit. Task-specific
  parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    primary: the primary tasks by index or name, all where None.
    phi: how much the gap should fall, >= 0; at 0 it must only not rise.
    learning_rate: of Adam.
    look_ahead: optimiser of the look-ahead step in a plain chain; the train step uses its own.

  Returns:
    A `Weighting` with `bilevel` and a `LogitState`. Its `hypergradient` has a last row, the gap's.

  Raises:
    ValueError: if `primary` are not tasks, or `phi` or `learning_rate` are out of range; at update,
      if `primary_loss_fn`, `losses_fn`, `params` or `look_ahead` is missing, or `params` is a
      masked tree.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.forum(2, learning_rate=0.1)
    >>> state = weighting.init(None)
    >>> derivatives = jnp.array([[-1.0, 1.0], [-2.0, 0.5], [0.1, 0.2]])  # the last one is the gap's
    >>> weights, state = weighting.weigh(None, state, hypergradient=derivatives)
    >>> [round(float(w), 2) for w in weights]
    [1.1, 0.9]

  Reference:
    Ye, Lin, Cao, Zhang and Tsang, "A First-Order Multi-Gradient Algorithm for Multi-Objective
    Bi-Level Optimization", 2024.
  """
  judged = task_indices("primary", primary, check_num_tasks(num_tasks))
  check_learning_rate(learning_rate)
  if not guards.is_traced(phi) and not phi >= 0:
    raise ValueError(f"phi must be >= 0, got {phi}; the default is 0.1.")
  adam = optax.adam(learning_rate)
  outer = jax.nn.one_hot(jnp.array(judged), num_tasks)

  def init_fn(params: Any) -> LogitState:
    logits = jnp.zeros(num_tasks, jnp.float32)
    return LogitState(logits, init_tasks(adam, logits), init_solver_state(params))

  def weigh(
    state: LogitState, mask: jax.Array, hypergradient: jax.Array
  ) -> tuple[jax.Array, LogitState]:
    derivatives = along_logits(hypergradient, state.logits, mask)
    direction, solver = _direction(derivatives[:-1], derivatives[-1], phi)
    return move_logits(adam, state, mask, derivatives, direction, solver)

  bilevel = Bilevel(lambda state: logit_weights(state.logits), outer, gap=True)
  return bilevel_weighting(num_tasks, weigh, init_fn, bilevel, look_ahead)


def _direction(
  objectives: jax.Array, gap: jax.Array, phi: jax.Array | float
) -> tuple[jax.Array, SolverState]:
  """`-d [T]` of the problem above for derivatives `[S, T]` and `[T]`, by its dual in gamma.

  The dual is smooth and convex, a quadratic where the constraint binds and another where it does
  not; its minimum is that of the one or the other, on the side where this holds.
  """
  # Neither gamma nor nu times the gap's length depends on a common scale.
  largest = jnp.max(jnp.abs(objectives))
  scale = jnp.where(largest > 0, largest, 1)
  length = jnp.linalg.norm(gap)
  unit = gap / jnp.where(length > 0, length, 1)
  objectives, slack = objectives / scale, phi / 2 * length / scale
  products = jnp.matmul(objectives, objectives.T, precision=jax.lax.Precision.HIGHEST)
  along = objectives @ unit
  mask = jnp.diagonal(products) > 0

  free, first = minimize_on_simplex(lambda g: (products @ g, products), mask, products.dtype)
  across = products - along[:, None] * along[None, :]
  bound, second = minimize_on_simplex(
    lambda g: (across @ g + slack * along, across), mask, products.dtype
  )
  holds = free @ along >= slack
  gamma = jnp.where(holds, free, bound)
  nu = jnp.maximum(slack - gamma @ along, 0)
  solver = jax.tree.map(lambda a, b: jnp.where(holds, a, b), first, second)
  return scale * (gamma @ objectives + nu * unit), solver
