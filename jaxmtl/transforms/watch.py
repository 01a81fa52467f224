"""The weights of a step, kept in the state."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator, GramianAggregator
from jaxmtl.gradients.inner_products import reciprocal, row_norms, scaled_gramian
from jaxmtl.weighting.base import Weighting

PyTree = Any


class WatchState(NamedTuple):
  """A method's state beside the weights it last used.

  Attributes:
    weights: float `[T]`, of the last update; zeros before.
    inner: the method's state.
  """

  weights: jax.Array
  inner: Any


def watch(
  method: Weighting | GramianAggregator,
) -> Weighting | Aggregator:
  """Keeps the weights of a step where one's own loop can read them.

  `optax.tree.get(opt_state, "weights")` then gives them, those of random methods too. (A train
  step has them in its metrics.)

  Args:
    method: a weighting, or a Gramian-based aggregator.

  Returns:
    An optax transform that does the same, with a `WatchState`. It is for chains, and has no
    `weigh`.

  Raises:
    TypeError: for anything else, such as an aggregator that has no weights.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx = jaxmtl.chain(jaxmtl.watch(jaxmtl.mgda(2)), optax.sgd(0.1))
    >>> params, grads = jnp.zeros(2), jnp.array([[2.0, 0.0], [0.0, 1.0]])
    >>> _, state = tx.update(grads, tx.init(params), params)
    >>> [round(float(w), 3) for w in optax.tree.get(state, "weights")]
    [0.2, 0.8]
  """
  is_weighting = isinstance(method, Weighting)
  if not is_weighting and getattr(method, "weigh", None) is None:
    raise TypeError(
      f"method must be a weighting or a Gramian-based aggregator of jaxmtl, got {method}: others "
      "have no weights."
    )
  num_tasks = method.num_tasks
  assert num_tasks is not None

  def init(params: PyTree) -> WatchState:
    return WatchState(jnp.zeros(num_tasks, jnp.float32), method.init(params))

  def update(
    updates: PyTree,
    state: WatchState,
    params: PyTree | None = None,
    *,
    mask: Any = None,
    **extra: Any,
  ) -> tuple[PyTree, WatchState]:
    new, inner = method.update(updates, state.inner, params, mask=mask, **extra)
    if is_weighting:
      # Rows are scaled, whatever chose the scale. Two norms are in range where a product is not.
      before = row_norms(updates)
      weights = row_norms(new) * reciprocal(before) * _signs(new, updates)
    else:
      # XLA merges this with what `update` computed.
      rows, present = guards.drop_missing(updates, mask, num_tasks)
      second = extra.get("second_gradients")
      gramian, scale = scaled_gramian(rows, present, other=second)
      losses = extra.get("losses")
      weigh: Any = method.weigh
      weights, _ = weigh(gramian, state.inner, losses=losses, mask=present, scale=scale)
    return new, WatchState(weights.astype(jnp.float32), inner)

  kind = Weighting if is_weighting else Aggregator
  return kind(init, update, None, num_tasks=num_tasks, name=method.name)  # type: ignore[arg-type]


def _signs(new: PyTree, old: PyTree) -> jax.Array:
  """The sign `[T]` of the factor between rows that are multiples of each other."""

  def of_leaf(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum((jnp.sign(a.real) * b.real).reshape(len(a), -1), axis=1)

  return jnp.sign(sum(jax.tree.leaves(jax.tree.map(of_leaf, new, old))))
