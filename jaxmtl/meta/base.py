"""What every bi-level weighting is made of: derivatives of outer losses in, task weights out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.aggregation.base import SolverState
from jaxmtl.gradients.combinations import combine, scale_tasks
from jaxmtl.gradients.inner_products import accumulator_dtype, inner_products
from jaxmtl.gradients.one_by_one import pull_back_tasks
from jaxmtl.meta.look_ahead import LookAhead, defined_at_zero, take_step
from jaxmtl.tasks import method_name
from jaxmtl.weighting.base import Bilevel, Weighting
from jaxmtl.weighting.learned import step_tasks

PyTree = Any

# Of the longest derivative: what is left of a sum that should be zero.
_ROUNDING = 1e-4


class LogitState(NamedTuple):
  """Task weights learned as a softmax.

  Attributes:
    logits: s `[T]`.
    optimizer_state: of the T Adams that move them.
    solver: how the last solve for the direction went.
    look_ahead: state of the look-ahead's optimiser in a plain chain, else `()`.
  """

  logits: jax.Array
  optimizer_state: Any
  solver: SolverState
  look_ahead: Any = ()


def bilevel_weighting(
  num_tasks: int,
  weigh: Callable[..., tuple[jax.Array, Any]],
  init: Callable[[PyTree], Any],
  bilevel: Bilevel,
  look_ahead: optax.GradientTransformation | None,
) -> Weighting:
  """A weighting that learns from derivatives through look-ahead steps.

  In a train step the look-ahead is the optimiser's own step. In a plain chain, where a weighting
  does not see the optimiser, it is one of `look_ahead`, and the derivative with respect to weight
  t is the inner product of task gradient t with what the outer loss' gradient at the look-ahead
  point becomes when pulled back through that step.

  Args:
    num_tasks: T, a static integer.
    weigh: `(state, mask, hypergradient [S, T]) -> (weights, state)`; `mask` is False for tasks
      without labels in this batch.
    init: `params -> state`, a named tuple with a field `look_ahead`, left `()`.
    bilevel: what is differentiated.
    look_ahead: the optimiser of the look-ahead steps in a plain chain.

  Returns:
    A `Weighting`.
  """

  def with_look_ahead(params: PyTree) -> Any:
    state = init(params)
    return state if look_ahead is None else state._replace(look_ahead=look_ahead.init(params))

  def checked_weigh(
    losses: Any,
    state: Any,
    mask: Any = None,
    *,
    gramian: jax.Array | None = None,
    hypergradient: jax.Array | None = None,
  ) -> tuple[jax.Array, Any]:
    del losses, gramian
    if hypergradient is None:
      raise ValueError(
        "hypergradient is missing: this weighting learns from the derivatives of "
        f"{len(bilevel.outer)} outer loss(es); pass them as hypergradient=, or use "
        "jaxmtl.training.train_step, which takes them."
      )
    shape = (len(bilevel.outer) + bilevel.gap, num_tasks)
    mend = "one row an outer loss" + (", and one of the gap." if bilevel.gap else ".")
    guards.check_shape("hypergradient", hypergradient, shape, mend)
    mask = guards.check_mask(mask, num_tasks)
    weights, state = weigh(state, mask, hypergradient)
    return jnp.where(mask, weights, 0), state

  def update(
    updates: PyTree,
    state: Any,
    params: PyTree | None = None,
    *,
    losses: jax.Array | None = None,
    mask: Any = None,
    primary_loss_fn: Callable[[PyTree], jax.Array] | None = None,
    losses_fn: Callable[[PyTree], jax.Array] | None = None,
    **others: Any,
  ) -> tuple[PyTree, Any]:
    guards.check_extra(others)
    guards.check_task_gradients(updates, params, num_tasks)
    if _has_masked(params):
      raise ValueError(
        "params holds optax.MaskedNode: within optax.partition, masked or selective_transform this "
        "weighting sees a part of the parameters, of which primary_loss_fn cannot be taken; put it "
        "before: optax.chain(jaxmtl.auto_lambda(...), optax.partition(...))."
      )
    if look_ahead is None:
      raise ValueError(
        "look_ahead is missing: in a plain optax chain this weighting does not see the optimizer "
        "that follows; pass the same one, as jaxmtl.auto_lambda(3, look_ahead=optax.sgd(0.1))."
      )
    if params is None or primary_loss_fn is None:
      raise ValueError(
        f"{'params' if params is None else 'primary_loss_fn'} is missing: call update(grads, "
        "state, params, primary_loss_fn=lambda params: loss of another batch)."
      )
    if bilevel.gap and losses_fn is None:
      raise ValueError(
        "losses_fn is missing: this weighting also looks at the losses of the gradients' own batch "
        "after the step; call update(..., losses_fn=lambda params: losses [T] of that batch)."
      )
    updates, present = guards.drop_missing(updates, mask, num_tasks)
    defined = defined_at_zero(look_ahead, params)

    def step(weights: jax.Array) -> LookAhead:
      gradient = combine(updates, jnp.where(present, weights, 0))
      return take_step(look_ahead, gradient, state.look_ahead, params, defined_at_zero=defined)

    ahead = step(bilevel.weights(state))
    outer, pullback = jax.vjp(lambda p: _outer_losses(primary_loss_fn(p), bilevel), ahead.params)
    directions = pull_back_tasks(lambda c: ahead.pullback(pullback(c)[0], None)[0], outer)
    derivatives = _products(directions, updates)
    if losses_fn is not None and bilevel.gap:
      current = jnp.where(present, bilevel.weights(state), 0)
      after, pullback = jax.vjp(losses_fn, ahead.params)
      falling = ahead.pullback(pullback(-current.astype(after.dtype))[0], None)[0]
      before = losses_fn(params) if losses is None else losses
      gap = _products(jax.tree.map(lambda c: c[None], falling), updates) + (before - after)
      derivatives = jnp.concatenate([derivatives, gap.astype(derivatives.dtype)])
    weights, new_state = checked_weigh(losses, state, present, hypergradient=derivatives)
    return scale_tasks(updates, weights), new_state._replace(look_ahead=step(weights).state)

  return Weighting(
    with_look_ahead,
    update,
    checked_weigh,
    bilevel=bilevel,
    num_tasks=num_tasks,
    name=method_name(weigh),
  )


def _has_masked(params: PyTree) -> bool:
  def is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)

  return any(is_masked(node) for node in jax.tree.leaves(params, is_leaf=is_masked))


def check_learning_rate(learning_rate: optax.ScalarOrSchedule) -> None:
  """Raises ValueError where a constant rate is not positive."""
  if not callable(learning_rate) and not guards.is_traced(learning_rate) and not learning_rate > 0:
    raise ValueError(f"learning_rate must be positive, got {learning_rate}; 0.001 is usual.")


def logit_weights(logits: jax.Array, mask: jax.Array | None = None) -> jax.Array:
  """Weights `[T]` of logits: a softmax times the number of tasks, of those with labels if given."""
  if mask is None:
    return len(logits) * jax.nn.softmax(logits)
  return mask.sum() * jax.nn.softmax(jnp.where(mask, logits, -jnp.inf))


def along_logits(derivatives: jax.Array, logits: jax.Array, mask: jax.Array) -> jax.Array:
  """Derivatives `[S, T]` with respect to softmax weights as ones with respect to their logits.

  Without the weights' factor T, to which neither a shortest vector nor Adam's step is sensitive.
  """
  p = jnp.where(mask, jax.nn.softmax(jnp.where(mask, logits, -jnp.inf)), 0)
  derivatives = jnp.where(mask, derivatives, 0)
  return p * (derivatives - (derivatives @ p)[:, None])


def move_logits(
  adam: optax.GradientTransformation,
  state: LogitState,
  mask: jax.Array,
  derivatives: jax.Array,
  direction: jax.Array,
  solver: SolverState,
) -> tuple[jax.Array, LogitState]:
  """Descends a direction `[T]` made of derivatives `[S, T]`.

  Tasks without labels, and a direction that is not finite, move nothing. Nor does one that is what
  rounding leaves of the derivatives, of which Adam would make full steps.

  Returns:
    The new weights `[T]` and state.
  """
  longest = jnp.max(jnp.linalg.norm(derivatives, axis=1))
  direction = jnp.where(jnp.linalg.norm(direction) > _ROUNDING * longest, direction, 0)
  due = mask & jnp.all(jnp.isfinite(direction))
  logits, optimizer_state = step_tasks(
    adam, jnp.where(due, direction, 0), state.optimizer_state, state.logits, due
  )
  return logit_weights(logits, mask), LogitState(logits, optimizer_state, solver, state.look_ahead)


def _outer_losses(losses: jax.Array, bilevel: Bilevel) -> jax.Array:
  """The S outer losses `[S]` of what `primary_loss_fn` returned."""
  losses, num_tasks = jnp.asarray(losses), bilevel.outer.shape[1]
  if losses.ndim == 0 and len(bilevel.outer) == 1:
    return losses[None]
  if losses.shape != (num_tasks,):
    scalar = "a scalar or " if len(bilevel.outer) == 1 else ""
    raise ValueError(
      f"primary_loss_fn must return {scalar}the losses [{num_tasks}] of all tasks, got shape "
      f"{losses.shape}."
    )
  return bilevel.outer.astype(losses.dtype) @ losses


def _products(directions: PyTree, task_grads: PyTree) -> jax.Array:
  """Inner products `[S, T]`, summed over leaves."""
  dtype = accumulator_dtype(task_grads)
  pairs = zip(jax.tree.leaves(directions), jax.tree.leaves(task_grads), strict=True)
  parts = [
    inner_products(c.reshape(len(c), -1).astype(g.dtype), g.reshape(len(g), -1), dtype)
    for c, g in pairs
  ]
  return sum(parts[1:], parts[0])
