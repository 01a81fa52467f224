"""Multi-objective meta learning (MOML) of task weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmtl.aggregation.mgda import mgda
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


def moml(
  num_tasks: int,
  primary: str | Sequence[int | str] | None = None,
  *,
  learning_rate: optax.ScalarOrSchedule = 1e-3,
  look_ahead: optax.GradientTransformation | None = None,
) -> Weighting:
  r"""Learns weights whose look-ahead step lowers every primary task's loss on another batch.

  .. math:: w = T \, \mathrm{softmax}(s), \qquad
            \theta' = \theta + u\Big(\sum_t w_t \nabla L_t(\theta)\Big), \qquad
            s \leftarrow \mathrm{Adam}\Big(s, \sum_{p \in P} \gamma_p
            \nabla_s L^{val}_p(\theta') \Big)

  with u the optimiser's step and gamma MGDA's weights of the derivatives, on the simplex, so that
  their sum lowers all primary losses or is zero. (It often is where all tasks are primary: weights
  of a constant sum have one direction less than there are losses.) The derivatives are exact: one
  gradient on the second batch and two forward passes for each primary task. Where Auto-lambda
  lowers the sum of the primary losses, MOML treats them as several objectives.

  Batches, aggregators that follow, plain chains, partitions and `look_ahead` are as for
  `jaxmtl.auto_lambda`; `primary_loss_fn` returns the losses `[T]` of all tasks, scalars where
  one task is primary. A primary task whose derivative is zero, as without labels in the second
  batch, takes no part in MGDA. A task without labels in the batch takes no part in the softmax and
  keeps its logit. Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    primary: the primary tasks by index or name, all where None.
    learning_rate: of Adam.
    look_ahead: optimiser of the look-ahead step in a plain chain; the train step uses its own.

  Returns:
    A `Weighting` with `bilevel` and a `LogitState`.

  Raises:
    ValueError: if `primary` are not tasks or `learning_rate` is not positive; at update, if
      `primary_loss_fn`, `params` or `look_ahead` is missing, or `params` is a masked tree.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.moml(2, learning_rate=0.1)
    >>> state = weighting.init(None)
    >>> derivatives = jnp.array([[-1.0, 1.0], [-2.0, 0.5]])  # both fall with the first weight
    >>> weights, state = weighting.weigh(None, state, hypergradient=derivatives)
    >>> [round(float(w), 2) for w in weights]
    [1.1, 0.9]

  Reference:
    Ye et al., "Multi-Objective Meta Learning", 2021, algorithm 1.
  """
  judged = task_indices("primary", primary, check_num_tasks(num_tasks))
  check_learning_rate(learning_rate)
  adam, shortest = optax.adam(learning_rate), mgda(len(judged))
  outer = jax.nn.one_hot(jnp.array(judged), num_tasks)

  def init_fn(params: Any) -> LogitState:
    logits = jnp.zeros(num_tasks, jnp.float32)
    return LogitState(logits, init_tasks(adam, logits), shortest.init(params))

  def weigh(
    state: LogitState, mask: jax.Array, hypergradient: jax.Array
  ) -> tuple[jax.Array, LogitState]:
    derivatives = along_logits(hypergradient, state.logits, mask)
    products = jnp.matmul(derivatives, derivatives.T, precision=jax.lax.Precision.HIGHEST)
    assert shortest.weigh is not None
    gamma, solver = shortest.weigh(products, state.solver, mask=jnp.diagonal(products) > 0)
    return move_logits(adam, state, mask, derivatives, gamma @ derivatives, solver)

  bilevel = Bilevel(lambda state: logit_weights(state.logits), outer)
  return bilevel_weighting(num_tasks, weigh, init_fn, bilevel, look_ahead)
