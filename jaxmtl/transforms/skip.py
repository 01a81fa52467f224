"""Steps that are left out, around a whole chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any


class SkipState(NamedTuple):
  """How often steps were left out.

  Attributes:
    inner: state of the chain.
    skipped: int32 scalar, steps left out so far.
    in_a_row: int32 scalar, of them, the last ones without one between that was made.
  """

  inner: Any
  skipped: jax.Array
  in_a_row: jax.Array


def skip_nonfinite(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
  """Leaves a step out where a task gradient or loss is infinite or NaN.

  Nothing of the chain changes in such a step: neither parameters, nor the states of weighting,
  aggregator and optimiser. `optax.apply_if_finite` cannot stand around an aggregator, whose updates
  have another shape than its gradients, and behind it the aggregator has seen the NaN already.

  Args:
    inner: the whole chain, with an aggregator in it.

  Returns:
    A transform with a `SkipState`.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx = jaxmtl.skip_nonfinite(jaxmtl.chain(jaxmtl.pcgrad(2), optax.adam(0.1)))
    >>> params = jnp.zeros(2)
    >>> updates, state = tx.update(jnp.array([[1.0, jnp.nan], [0.0, 1.0]]), tx.init(params), params)
    >>> updates.tolist(), int(state.skipped)
    ([0.0, 0.0], 1)
  """
  return skip_if(_nonfinite, inner)


def skip_if(
  condition: Callable[[PyTree, Any], Any], inner: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
  """Leaves a step out where a condition holds.

  Args:
    condition: `(task_gradients, losses) -> bool scalar`; losses as given to `update`, or None.
    inner: the whole chain, with an aggregator in it.

  Returns:
    A transform with a `SkipState`, whose updates are zero in a step that is left out.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx = jaxmtl.skip_if(
    ...   lambda grads, losses: losses.max() > 100, jaxmtl.chain(jaxmtl.pcgrad(2), optax.sgd(0.1)))
    >>> params, grads = jnp.zeros(2), jnp.eye(2)
    >>> updates, state = tx.update(grads, tx.init(params), params, losses=jnp.array([1.0, 1e3]))
    >>> updates.tolist()
    [0.0, 0.0]
  """
  chained = optax.with_extra_args_support(inner)

  def init(params: PyTree) -> SkipState:
    zero = jnp.zeros((), jnp.int32)
    return SkipState(chained.init(params), zero, zero + 0)

  def update(
    updates: PyTree, state: SkipState, params: PyTree | None = None, **extra: Any
  ) -> tuple[PyTree, SkipState]:
    def step() -> tuple[PyTree, PyTree]:
      return chained.update(updates, state.inner, params, **extra)

    shapes = jax.eval_shape(lambda: step()[0])

    def leave_out() -> tuple[PyTree, PyTree]:
      return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes), state.inner

    skip = jnp.asarray(condition(updates, extra.get("losses")))
    new, inner_state = jax.lax.cond(skip, leave_out, step)
    in_a_row = jnp.where(skip, state.in_a_row + 1, 0)
    return new, SkipState(inner_state, state.skipped + skip.astype(jnp.int32), in_a_row)

  return optax.GradientTransformationExtraArgs(init, update)


def _nonfinite(updates: PyTree, losses: Any) -> jax.Array:
  finite = [jnp.all(jnp.isfinite(jnp.asarray(x))) for x in jax.tree.leaves((updates, losses))]
  return ~jnp.all(jnp.stack(finite))
