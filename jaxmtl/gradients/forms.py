"""What is known of the gradients of several losses, and three ways to it.

The fourth, `jaxmtl.gradients.layerwise`, has a file of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.gradients.combinations import combine, scale_tasks, zero_rows
from jaxmtl.gradients.inner_products import gramian, scaled_gramian
from jaxmtl.gradients.losses import stack_losses
from jaxmtl.gradients.one_by_one import map_tasks, pull_back_tasks

PyTree = Any
Average = Callable[[Callable[..., Any]], Callable[..., Any]]


class WeightedSum(NamedTuple):
  """Only the gradient of a weighted sum of the losses can be had.

  Attributes:
    losses: `[T]`.
    aux: what the function returned beside the losses.
    pullback: `weights [T] -> (gradient of the shared, of the task-specific parameters)`.
  """

  losses: jax.Array
  aux: Any
  pullback: Callable[[jax.Array], tuple[PyTree, PyTree]]

  def descend(self, weights: jax.Array) -> tuple[PyTree, PyTree]:
    """Gradients of the weighted sum, of shared and of task-specific parameters."""
    return self.pullback(weights)

  def unscaled(self, scale: Any) -> WeightedSum:
    """Of losses that were multiplied by a number: without it."""
    pullback = self.pullback
    return WeightedSum(
      self.losses / scale, self.aux, lambda weights: _divided(pullback(weights), scale)
    )


class TaskGradients(NamedTuple):
  """What is known of the task gradients of shared parameters.

  Attributes:
    losses: `[T]`.
    aux: what the function returned beside the losses.
    factors: pytree with leaves `[T, ...]`, linear in the task axis (scale or zero a row and the
      task gradient is scaled or zero): the task gradients, or cotangents that they follow from.
    products: `factors -> [T, T]`, the Gramian.
    sums: `(factors, weights [T]) -> gradient` of the shared parameters.
    specific: `weights [T] -> gradient` of the task-specific parameters.
  """

  losses: jax.Array
  aux: Any
  factors: PyTree
  products: Callable[[PyTree], jax.Array]
  sums: Callable[[PyTree, jax.Array], PyTree]
  specific: Callable[[jax.Array], PyTree]

  def gramian(self) -> jax.Array:
    """Inner products `[T, T]`."""
    return self.products(self.factors)

  def scaled_gramian(self, present: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The Gramian as `scale**2 * gramian`, in float32's range whatever the gradients' size."""
    return scaled_gramian(self.factors, present, products=self.products)

  def combine(self, weights: jax.Array) -> PyTree:
    """The weighted sum of the task gradients."""
    return self.sums(self.factors, weights)

  def descend(self, weights: jax.Array) -> tuple[PyTree, PyTree]:
    """Gradients of the weighted sum, of shared and of task-specific parameters."""
    return self.combine(weights), self.specific(weights)

  def scaled(self, weights: jax.Array) -> TaskGradients:
    """Task gradient i times `weights[i]`."""
    return self._replace(factors=scale_tasks(self.factors, weights))

  def unscaled(self, scale: Any) -> TaskGradients:
    """Of losses that were multiplied by a number: without it.

    Factors that are cotangents keep it: those in half precision would vanish.
    """
    products, sums, specific = self.products, self.sums, self.specific
    if products is gramian:  # the factors are the gradients
      return self._replace(
        losses=self.losses / scale,
        factors=_divided(self.factors, scale),
        specific=lambda weights: _divided(specific(weights), scale),
      )
    return self._replace(
      losses=self.losses / scale,
      products=lambda factors: products(factors) / scale / scale,
      sums=lambda factors, weights: _divided(sums(factors, weights), scale),
      specific=lambda weights: _divided(specific(weights), scale),
    )

  def masked(self, present: jax.Array) -> TaskGradients:
    """Zero task gradients where `present` `[T]` is False."""
    return self._replace(factors=zero_rows(self.factors, present))


def weighted(
  losses_fn: Callable[[PyTree, PyTree], tuple[jax.Array, Any]],
  shared: PyTree,
  specific: PyTree,
  average: Average = lambda pullback: pullback,
) -> WeightedSum:
  """One pullback for all tasks together; arguments as those of `stacked`."""
  losses, transposed, aux = jax.vjp(losses_fn, shared, specific, has_aux=True)
  return WeightedSum(losses, aux, average(lambda c: transposed(c.astype(losses.dtype))))


def stacked(
  losses_fn: Callable[[PyTree, PyTree], tuple[jax.Array, Any]],
  shared: PyTree,
  specific: PyTree,
  chunk_size: int | None = None,
  average: Average = lambda pullback: pullback,
) -> TaskGradients:
  """All task gradients, one pullback each, of `losses_fn(shared, specific) -> (losses [T], aux)`.

  `average` wraps the pullback, for averages over devices.
  """
  losses, aux, pullback = weighted(losses_fn, shared, specific, average)
  rows = pull_back_tasks(lambda c: pullback(c)[0], losses, chunk_size)
  return TaskGradients(losses, aux, rows, gramian, combine, lambda weights: pullback(weights)[1])


def own_batches_of(
  losses_fn: Callable[..., tuple[Any, Any]],
  shared: PyTree,
  specific: PyTree,
  chunk_size: int | None = None,
  average: Average = lambda pullback: pullback,
) -> TaskGradients:
  """All task gradients of a function each of whose losses looks at a batch of its own.

  A pullback through a program of all tasks' batches passes all of them for each task, mostly with
  zeros: T times the work. Here each task's part of the program is differentiated by itself.

  Args:
    losses_fn: `(shared, specific) -> (losses, aux)`. A dict of scalar losses is differentiated
      entry by entry: what an entry does not depend on is neither computed again nor passed. Where
      losses are an array, it is called once more for each task, as `(shared, specific, tasks=[t])`,
      and returns the loss `[1]` of this one; random draws may then differ from those behind `aux`.
    shared: parameters to take stacked task gradients for.
    specific: parameters of single tasks.
    chunk_size: how many tasks of an array run at once, as in `task_value_and_grad`.
    average: wraps pullbacks, for averages over devices.

  Returns:
    The same as `stacked`.
  """

  def take(loss_fn: Callable[[PyTree, PyTree], jax.Array]) -> tuple[jax.Array, PyTree, PyTree]:
    loss, pullback = jax.vjp(loss_fn, shared, specific)
    return loss, *average(pullback)(jnp.ones_like(loss))

  losses, aux = losses_fn(shared, specific)
  together = stack_losses(losses)  # raises where they are not scalars
  if isinstance(losses, Mapping):
    # The entries are programs of their own; XLA merges what they have in common.
    found = [
      take(lambda s, o, name=name: jnp.asarray(losses_fn(s, o)[0][name]))  # type: ignore[misc]
      for name in sorted(losses)
    ]
    values, rows, own = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)
  else:
    values, rows, own = map_tasks(
      lambda task: take(lambda s, o: _of_one_task(losses_fn(s, o, tasks=task[None])[0])),
      jnp.arange(len(together)),
      chunk_size,
      together,
    )
  return TaskGradients(values, aux, rows, gramian, combine, lambda weights: combine(own, weights))


def _divided(tree: PyTree, scale: Any) -> PyTree:
  return jax.tree.map(lambda leaf: (leaf / scale).astype(leaf.dtype), tree)


def check_takes_tasks(losses_fn: Callable[..., Any]) -> None:
  """Raises unless a function can be asked for the losses of some tasks alone."""
  parameters = inspect.signature(losses_fn).parameters.values()
  if not any(p.name == "tasks" or p.kind is p.VAR_KEYWORD for p in parameters):
    raise ValueError(
      "own_batches=True needs a losses_fn that returns a dict of losses, or one with a parameter "
      "tasks=None, int [K], that returns the losses [K] of these tasks alone; got an array of "
      "losses and no such parameter."
    )


def _of_one_task(losses: Any) -> jax.Array:
  losses = stack_losses(losses)
  if losses.shape != (1,):
    raise ValueError(
      f"losses_fn(..., tasks=) must return one loss for each of them, got {losses.shape[0]} "
      "losses for one task; compute those of `tasks` alone."
    )
  return losses[0]
