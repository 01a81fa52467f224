"""Multi-task learning with excess risks (ExcessMTL)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator, elementwise_aggregator, history
from jaxmtl.gradients.combinations import combine, per_row
from jaxmtl.gradients.inner_products import accumulator_dtype, row_norms

_EPSILON = 1e-7
# Bound of risks and of the logarithms of weights, so that their sums stay in float32's range.
_LARGEST = 1e30


class ExcessMTLState(NamedTuple):
  """Gradient history and weights.

  Attributes:
    roots: sqrt(S + 1e-7), leaves `[T, *shape]`, float32 or wider; S itself would leave float32's
      range at gradients of 1e19.
    first: `[T]`, the excess risk in the task's last warm-up step so far, -1 before the first.
    seen: int32 `[T]`, the task's steps with labels.
    log_weights: `[T]`, of weights that sum to 1.
  """

  roots: Any
  first: jax.Array
  seen: jax.Array
  log_weights: jax.Array


def excess_mtl(
  num_tasks: int, eta: float = 0.01, warm_up_steps: int = 1, weigh_heads: bool = True
) -> Aggregator:
  r"""Weights tasks by the estimated distance to their own optimum, multiplicatively.

  .. math:: S_i \leftarrow S_i + g_i^2, \quad
            e_i = \sum \frac{g_i^2}{\sqrt{S_i + 10^{-7}}}, \quad
            w_i \propto w_i \exp \Big( \eta \frac{e_i}{e_i^{(0)} + 10^{-7}} \Big), \qquad
            g = \sum_i w_i g_i

  from S = 0 and equal weights that sum to 1 (the authors' sum to T: scale by it for their length);
  squares and quotients are elementwise, the sum runs over all elements. The excess risk e of a
  task, here by a diagonal approximation of the Hessian,
  is near zero for one that is learnt as well as its noise allows; e^(0) is its first value, which
  makes tasks comparable. The weights are kept as logarithms. S costs T times the parameters'
  memory, in float32.

  A task without labels keeps S, e^(0) and w and adds nothing; the others share what weight they
  had together, and their update is that of weights that sum to 1. A gradient that is not finite
  gives NaN, and leaves the whole state as it was.
  Task-specific parameters receive their own task's gradient, times its w.

  Args:
    num_tasks: T, a static integer.
    eta: step of the weights, at least 0; 0 keeps them equal.
    warm_up_steps: the task's first steps with labels, at least 1, before its weight moves; e^(0) is
      the risk in the last of them. Later ones compare with gradients that have settled.
    weigh_heads: whether task-specific parameters receive their own task's gradient times its
      weight, as in the authors' program, or unscaled.

  Returns:
    An elementwise `Aggregator` with an `ExcessMTLState`.

  Raises:
    ValueError: if `eta` is negative or `warm_up_steps` below 1.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.excess_mtl(2, eta=1.0)
    >>> state = aggregator.init(jnp.zeros(2))
    >>> for grads in ([[1.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]):
    ...   grad, state = aggregator.update(jnp.array(grads), state)
    >>> [round(float(w), 2) for w in jnp.exp(state.log_weights)]  # the second task learnt more
    [0.66, 0.34]

  Reference:
    He et al., "Robust Multi-Task Learning with Excess Risks", 2024, algorithm 1.
  """
  if not guards.is_traced(eta) and not eta >= 0:
    raise ValueError(f"eta must be at least 0, got {eta}; 0 keeps equal weights.")
  if not guards.is_traced(warm_up_steps) and not warm_up_steps >= 1:
    raise ValueError(f"warm_up_steps must be at least 1, got {warm_up_steps}; the authors use 1.")

  def init(params: Any) -> ExcessMTLState:
    dtype = accumulator_dtype(params)
    return ExcessMTLState(
      roots=history(num_tasks, params, math.sqrt(_EPSILON)),
      first=jnp.full(num_tasks, -1, dtype),
      seen=jnp.zeros(num_tasks, jnp.int32),
      log_weights=jnp.full(num_tasks, -math.log(num_tasks), dtype),
    )

  def aggregate(
    task_grads: Any, state: ExcessMTLState, *, losses: Any, mask: jax.Array
  ) -> tuple[Any, ExcessMTLState]:
    del losses
    sound = jnp.all(jnp.isfinite(row_norms(task_grads)))
    learns = mask & sound

    def accumulate(root: jax.Array, leaf: jax.Array) -> jax.Array:
      return jnp.where(per_row(learns, leaf), jnp.hypot(root, leaf), root).astype(root.dtype)

    def excess(root: jax.Array, leaf: jax.Array) -> jax.Array:
      rows = leaf.astype(root.dtype)
      # The quotient's size is at most 1: no square of a gradient is ever formed.
      return jnp.sum((rows * (rows / root)).reshape(num_tasks, -1), axis=1)

    roots = jax.tree.map(accumulate, state.roots, task_grads)
    risks = jax.tree.leaves(jax.tree.map(excess, roots, task_grads))
    risk = jnp.minimum(sum(risks, jnp.zeros_like(state.first)), _LARGEST)
    warms = state.seen < warm_up_steps
    first = jnp.where(learns & warms, risk, state.first)
    growth = jnp.minimum(eta * risk / (first + _EPSILON), _LARGEST)
    # The authors' weights move in the first step too, by exp(eta).
    growth = jnp.where(state.seen + 1 < warm_up_steps, 0, growth)
    logits = jnp.where(mask, state.log_weights + growth, -jnp.inf)
    weights = jnp.where(mask, jax.nn.softmax(logits), 0)
    share = jax.nn.logsumexp(jnp.where(mask, state.log_weights, -jnp.inf))
    moved = jnp.maximum(jax.nn.log_softmax(logits) + share, -_LARGEST)
    log_weights = jnp.where(learns, moved, state.log_weights).astype(first.dtype)
    update = combine(task_grads, jnp.where(sound, weights, jnp.nan))
    return update, ExcessMTLState(roots, first, state.seen + learns, log_weights)

  def of_heads(state: ExcessMTLState, *, losses: Any, mask: jax.Array, weights: Any) -> jax.Array:
    del losses, weights
    return jnp.where(mask, jax.nn.softmax(jnp.where(mask, state.log_weights, -jnp.inf)), 0)

  return elementwise_aggregator(
    num_tasks, aggregate, init, head_weights=of_heads if weigh_heads else None
  )
