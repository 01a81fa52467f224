"""The train step: task losses, weighting, aggregator and optimiser as one pure function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator, solver_metrics
from jaxmtl.gradients.conflict import conflict_metrics
from jaxmtl.gradients.forms import (
  TaskGradients,
  WeightedSum,
  check_takes_tasks,
  own_batches_of,
  stacked,
  weighted,
)
from jaxmtl.gradients.layerwise import layerwise
from jaxmtl.gradients.losses import stack_losses
from jaxmtl.gradients.parts import Parts, parts_of
from jaxmtl.tasks import by_name, check_names, check_num_tasks
from jaxmtl.training.bilevel import check_pair, look_ahead_derivatives
from jaxmtl.training.devices import Devices
from jaxmtl.training.micro_batches import micro_batches
from jaxmtl.training.state import SECOND_BATCH, STEP_STREAM, Aux, TrainState, TrainStep
from jaxmtl.weighting import Weighting, equal

PyTree = Any


def train_step(
  losses_fn: Callable[[PyTree, PyTree, Any, jax.Array], tuple[Any, Aux]],
  optimizer: optax.GradientTransformation,
  num_tasks: int,
  *,
  weighting: Weighting | None = None,
  aggregator: Aggregator | None = None,
  shared: Callable[[PyTree], PyTree] | None = None,
  chunk_size: int | None = None,
  axis_name: str | None = None,
  own_batches: bool = False,
  accumulate: int = 1,
) -> TrainStep:
  r"""Builds the train step in the cheapest form that is exact for the method.

  .. math:: w = \mathrm{weigh}(L), \quad
            g_{shared} = \mathrm{aggregate}(w_1 g_1, \dots, w_T g_T), \quad
            g_{own} = \nabla \sum_t w_t L_t

  Without an aggregator it is one forward and one backward pass, with the weights as cotangent. A
  Gramian-based aggregator takes the Gramian in the form of `jaxmtl.task_gramian`, an elementwise
  one stacked task gradients, both of the shared parameters only; task-specific ones get their own
  tasks' gradient, scaled by the loss weights. It runs under `jax.jit`, `jax.vmap` over states,
  `lax.scan`, `jax.jit` with a sharded batch, and, with `axis_name`, under `jax.pmap` or
  `jax.shard_map`.

  A weighting with `needs_gramian` (GradNorm) costs the shared parameters' task gradients even
  without an aggregator. One with `revise` (FAMO) costs a second forward pass: of the same batch,
  model state and key with the new parameters, whose batch statistics are dropped. One with
  `bilevel` (Auto-lambda) takes pairs `(batch, second batch)` and looks ahead by the optimiser's
  step. So does an aggregator with `two_batches` (MoDo, SDMGrad), for task gradients of both: a
  task takes part that has labels in both, losses and model state are those of the first.

  Args:
    losses_fn: `(params, model_state, batch, key) -> (losses, Aux)`, losses `[T]` or a dict of
      scalars (stacked in sorted-key order). Each loss is a mean over the batch.
    optimizer: an optax transform.
    num_tasks: T, a static integer; or `jaxmtl.Tasks`, with which losses must be a dict of these
      names, and metrics of one number a task are dicts by name too.
    weighting: equal weights where None.
    aggregator: the weighted sum where None.
    shared: `params -> pytree of bools`, True for parameters that several tasks see; all where
      None. It matters only where task gradients are taken.
    chunk_size: as in `jaxmtl.task_value_and_grad`.
    axis_name: mapped axis to average losses, gradients and model state over. Each device's batch
      must be of the same size; with missing labels shard a `jax.jit` step instead, which is exact.
    own_batches: whether each task's loss looks at a part of the batch that no other task's does
      (one data set a task). Task gradients then cost about one plain step instead of T. Losses
      must be a dict, or `losses_fn` must take `tasks=None`, int `[K]`, and return the losses `[K]`
      of these tasks alone, at one more forward pass.
    accumulate: micro-batches that the batch is split into, so that the activations of one are in
      memory at a time; a divisor of the batch size. Task gradients and losses are those of the
      whole batch, at one more forward pass; aggregators hold T times the shared parameters.

  Returns:
    A `TrainStep`. Metrics: `losses` `[T]`, `weights` `[T]`, `gradient_norm` scalar; with an
    aggregator (or a weighting that looks at gradients) `task_gradient_norms` `[T]`, `cosine`,
    `magnitude_similarity` and `curvature_bound` `[T, T]` of the shared parameters' task gradients
    before weighting, all from the Gramian; `aggregation_weights` `[T]` of a Gramian-based
    aggregator; `hypergradient` `[S, T]` of a weighting that looks ahead; `solver_converged` and
    `solver_iterations` of one with a solver; those of `Aux`.

  Raises:
    ValueError: if losses are not one scalar a task, updates would be broadcast, a pair of batches
      is missing, or `own_batches` finds tasks that cannot be told apart.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> from jaxmtl.training import Aux, train_step
    >>> def losses_fn(params, model_state, batch, key):
    ...   return jnp.array([1.0, 2.0]) * (params - batch) ** 2, Aux()
    >>> step = train_step(losses_fn, optax.sgd(0.1), 2, aggregator=jaxmtl.pcgrad(2))
    >>> state = step.init(jnp.array(1.0), jax.random.key(0))
    >>> state, metrics = jax.jit(step.update)(state, jnp.array(0.0))
    >>> round(float(state.params), 3), metrics["cosine"].tolist()
    (0.4, [[1.0, 1.0], [1.0, 1.0]])
  """
  check_num_tasks(num_tasks)
  weighting = equal(num_tasks) if weighting is None else weighting
  twice = aggregator is not None and aggregator.two_batches
  pairs = twice or weighting.bilevel is not None
  if weighting.bilevel is not None and axis_name:
    raise ValueError(
      f"axis_name={axis_name!r} does not go with a weighting that looks ahead; shard the batch of "
      "a jax.jit step instead, which is exact."
    )
  if accumulate > 1 and own_batches:
    raise ValueError(
      "accumulate does not go with own_batches=True, whose tasks have parts already."
    )
  losses_fn = micro_batches(losses_fn, accumulate)
  devices = Devices(axis_name)
  if aggregator is None and not weighting.needs_gramian:
    form = "weighted"
  elif own_batches:
    form = "own batches"
  elif axis_name or twice or (aggregator is not None and aggregator.weigh is None):
    # The inner products of gradients averaged over devices need these averages.
    form = "stacked"
  else:
    form = "layerwise"

  def labelled_in(aux: Aux) -> Any:
    return None if aux.mask is None else devices.any(guards.check_mask(aux.mask, num_tasks))

  def init(params: PyTree, key: jax.Array, model_state: PyTree = ()) -> TrainState:
    own = parts_of(params, shared).shared
    return TrainState(
      step=jnp.array(0, jnp.int32),
      params=params,
      model_state=model_state,
      weighting=_own_keys(weighting.init(params), key),
      aggregator=_own_keys(aggregator.init(own), key) if aggregator else optax.EmptyState(),
      optimizer=optimizer.init(params),
      key=key,
    )

  def update(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
    key = jax.random.fold_in(jax.random.fold_in(state.key, STEP_STREAM), state.step)
    key = devices.own_key(key)
    batches: Any = check_pair(batch) if pairs else (batch,)
    keys = (key, jax.random.fold_in(key, SECOND_BATCH))
    parts = parts_of(devices.vary(state.params), shared)

    def differentiate(which: int = 0) -> Any:
      def losses_of(shared: list, specific: list, **tasks: Any) -> tuple[Any, Aux]:
        if tasks:
          check_takes_tasks(losses_fn)
        params = parts.merge(shared, specific)
        losses, aux = losses_fn(params, state.model_state, batches[which], keys[which], **tasks)
        check_names("losses", losses, num_tasks)
        return losses, aux

      return _differentiate(form, losses_of, parts, chunk_size, devices)

    derivatives = {}
    if weighting.bilevel is not None:
      derivatives["hypergradient"] = look_ahead_derivatives(
        weighting.bilevel, losses_fn, optimizer, state, batches, keys
      )
    found = differentiate()
    aux = found.aux
    losses, model_state, user_metrics = devices.mean((found.losses, aux.model_state, aux.metrics))
    labelled = labelled_in(aux)
    metrics = {"losses": losses} | derivatives
    seen = None
    if isinstance(found, TaskGradients):
      found, seen = _look_at(found, labelled, num_tasks)
      metrics |= conflict_metrics(*seen)
      if weighting.needs_gramian:
        derivatives["gramian"] = seen.gramian
    weights, weighting_state = weighting.weigh(losses, state.weighting, labelled, **derivatives)
    metrics["weights"] = weights

    aggregator_state = state.aggregator
    if aggregator is None or seen is None:
      gradients = found.descend(weights)
    else:
      second = differentiate(which=1) if twice else None
      masks = [labelled] if second is None else [labelled, labelled_in(second.aux)]
      gradients, aggregator_state, more = _aggregate(
        aggregator, state.aggregator, found, seen, weights, losses, masks, second
      )
      metrics |= more | solver_metrics(aggregator_state)
    grads = parts.merge(*gradients)

    metrics["gradient_norm"] = optax.tree.norm(grads)
    updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
    params = guards.apply_updates(state.params, updates)
    if weighting.revise is not None:
      ahead, _ = losses_fn(params, state.model_state, batch, key)
      ahead = devices.mean(stack_losses(ahead))
      weighting_state = weighting.revise(ahead, weighting_state, labelled)
    new_state = TrainState(
      step=state.step + 1,
      params=params,
      model_state=model_state,
      weighting=weighting_state,
      aggregator=aggregator_state,
      optimizer=optimizer_state,
      key=state.key,
    )
    return new_state, by_name(metrics, num_tasks) | user_metrics

  return TrainStep(init, update, pairs)


def _differentiate(
  form: str,
  losses_of: Callable[..., tuple[Any, Aux]],
  parts: Parts,
  chunk_size: int | None,
  devices: Devices,
) -> WeightedSum | TaskGradients:
  """Gradients of the losses in the form that the method needs."""
  shared, specific = parts.shared, parts.specific

  def stacked_losses(shared: list, specific: list) -> tuple[jax.Array, Aux]:
    losses, aux = losses_of(shared, specific)
    return stack_losses(losses), aux

  if form == "weighted":
    return weighted(stacked_losses, shared, specific, devices.average)
  if form == "own batches":
    return own_batches_of(losses_of, shared, specific, chunk_size, devices.average)
  if form == "stacked":
    return stacked(stacked_losses, shared, specific, chunk_size, devices.average)
  return layerwise(stacked_losses, shared, specific, chunk_size)


class _Seen(NamedTuple):
  """The Gramian `scale**2 * gramian`."""

  gramian: jax.Array
  scale: jax.Array


def _look_at(found: TaskGradients, labelled: Any, num_tasks: int) -> tuple[TaskGradients, _Seen]:
  """The task gradients of tasks with labels, and their Gramian."""
  present = guards.check_mask(labelled, num_tasks)
  found = found if labelled is None else found.masked(present)
  return found, _Seen(*found.scaled_gramian(present))


def _aggregate(
  aggregator: Aggregator,
  state: Any,
  found: TaskGradients,
  seen: _Seen,
  weights: jax.Array,
  losses: jax.Array,
  masks: list[Any],
  second: TaskGradients | None,
) -> tuple[tuple[PyTree, PyTree], Any, dict[str, jax.Array]]:
  """Gradients of shared and task-specific parameters, the new state, and metrics."""
  present = functools.reduce(
    jnp.logical_and, [guards.check_mask(mask, len(weights)) for mask in masks]
  )
  if second is None and aggregator.weigh is not None:
    chosen, state = aggregator.weigh(
      seen.gramian * weights[:, None] * weights[None, :],
      state,
      losses=losses,
      mask=present,
      scale=seen.scale,
    )
    gradients = found.combine(chosen * weights), found.specific(weights)
    return gradients, state, {"aggregation_weights": chosen}
  specific, more = found.specific(weights), {}
  if second is not None:
    more["second_gradients"] = second.scaled(weights).factors
    specific = jax.tree.map(lambda g, h: (g + h) / 2, specific, second.specific(weights))
  gradient, state = aggregator.update(
    found.scaled(weights).factors, state, losses=losses, mask=present, **more
  )
  return (gradient, specific), state, {}


def _own_keys(state: PyTree, key: jax.Array) -> PyTree:
  """Folds the run's key into the keys of a method's state, so that vmapped seeds draw apart."""

  def fold(leaf: Any) -> Any:
    if not (isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)):
      return leaf
    return jax.random.fold_in(leaf, jax.random.bits(key))

  return jax.tree.map(fold, state)
