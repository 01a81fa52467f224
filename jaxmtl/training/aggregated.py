"""How an aggregator makes the step's gradients of what is known of the task gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator
from jaxmtl.gradients.forms import TaskGradients
from jaxmtl.gradients.inner_products import row_norms

PyTree = Any


class Seen(NamedTuple):
  """The Gramian `scale**2 * gramian` of the tasks with labels `[T]`."""

  gramian: jax.Array
  scale: jax.Array
  labelled: jax.Array


def look_at(
  found: TaskGradients, mask: Any, losses: jax.Array, num_tasks: int
) -> tuple[TaskGradients, Seen]:
  """The task gradients of tasks with labels, and their Gramian.

  Where nobody says which have labels (`mask` is None), those have whose loss is not exactly 0, and
  those whose gradient is not.
  """
  told = guards.check_mask(mask, num_tasks)
  found = found if mask is None else found.masked(told)
  gramian, scale = found.scaled_gramian(told)
  labelled = told if mask is not None else (losses != 0) | (jnp.diagonal(gramian) != 0)
  return found, Seen(gramian, scale, labelled)


def labelled_in_other(found: TaskGradients, mask: Any, losses: jax.Array) -> jax.Array:
  """The same of another batch, whose Gramian nobody asks for."""
  if mask is not None:
    return guards.check_mask(mask, len(losses))
  return (losses != 0) | (row_norms(found.factors) != 0)


def aggregate(
  aggregator: Aggregator,
  state: Any,
  found: TaskGradients,
  seen: Seen,
  weights: jax.Array,
  losses: jax.Array,
  others: list[TaskGradients],
  present: jax.Array,
) -> tuple[tuple[PyTree, PyTree], Any, dict[str, jax.Array]]:
  """Gradients of shared and task-specific parameters, the new state, and metrics.

  Args:
    aggregator: the method.
    state: its state.
    found: task gradients.
    seen: their Gramian.
    weights: of the losses, `[T]`.
    losses: `[T]`.
    others: task gradients of further batches.
    present: bool `[T]`, tasks with labels in every batch.
  """
  if not others and aggregator.weigh is not None:
    chosen, state = aggregator.weigh(
      seen.gramian * weights[:, None] * weights[None, :],
      state,
      losses=losses,
      mask=present,
      scale=seen.scale,
    )
    own = _of_heads(aggregator, state, losses, present, chosen)
    gradients = found.combine(chosen * weights), found.specific(weights * own)
    return gradients, state, {"aggregation_weights": chosen}
  more = {}
  if others:
    more["second_gradients"] = others[0].scaled(weights).factors
  if len(others) > 1:
    more["third_gradients"] = others[1].scaled(weights).factors
  gradient, state = aggregator.update(
    found.scaled(weights).factors, state, losses=losses, mask=present, **more
  )
  weights = weights * _of_heads(aggregator, state, losses, present, None)
  heads = [one.specific(weights) for one in (others[1:] or [found, *others])]
  specific = jax.tree.map(lambda *g: sum(g[1:], g[0]) / len(g), *heads)
  return (gradient, specific), state, {}


def _of_heads(
  aggregator: Aggregator,
  state: PyTree,
  losses: jax.Array,
  present: jax.Array,
  chosen: jax.Array | None,
) -> jax.Array | float:
  """What the method's authors multiply the gradients of task-specific parameters with."""
  if aggregator.head_weights is None:
    return 1.0
  return aggregator.head_weights(state, losses=losses, mask=present, weights=chosen)
