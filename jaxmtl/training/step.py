"""The train step: task losses, weighting, aggregator and optimiser as one pure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

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
from jaxmtl.gradients.spread import as_parameters, spread
from jaxmtl.tasks import by_name, check_names, check_num_tasks
from jaxmtl.training.aggregated import aggregate, labelled_in_other, look_at
from jaxmtl.training.bilevel import check_batches, look_ahead_derivatives
from jaxmtl.training.devices import Devices
from jaxmtl.training.loss_scale import check_loss_scale, scale_of
from jaxmtl.training.micro_batches import micro_batches
from jaxmtl.training.state import SECOND_BATCH, STEP_STREAM, Aux, TrainState, TrainStep
from jaxmtl.weighting import Weighting, equal
from jaxmtl.weighting.base import rejected_metrics

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
  loss_scale: float | Literal["dynamic"] = 1.0,
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
  step. So does an aggregator with `two_batches` (MoDo, SDMGrad), for task gradients of both, or
  `(batch, second batch, third batch)`, of which the third then gives the direction: a task takes
  part that has labels in all, losses and model state are those of the first.

  Which tasks have labels `Aux.mask` says. Where it is None, a task whose loss is exactly 0, as
  the losses of `jaxmtl.losses` are without labels, and whose gradient, where it is known, is zero,
  takes no part in that step: its entries in the states of weighting and aggregator stay.

  Args:
    losses_fn: `(params, model_state, batch, key) -> (losses, Aux)`, losses `[T]` or a dict of
      scalars (stacked in sorted-key order). Each loss is a mean over the batch.
    optimizer: an optax transform. It gets `value`, `grad` and `value_fn` of the weighted sum of the
      losses, as L-BFGS, line searches and `reduce_on_plateau` want them; what a weighting learns
      by gradient (the scales of `uncertainty`, `imtl_l`) is moved by it too unless told otherwise.
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
    loss_scale: losses are multiplied by it before backward passes, and gradients divided after
      them, so that in float16 small cotangents do not vanish; 1024 is usual there, 1 elsewhere.
      `optax.apply_if_finite(optimizer, ...)` leaves out steps in which it was too large. "dynamic":
      that of the optimiser's state, which `jaxmtl.dynamic_loss_scale(optimizer)` adapts. Losses
      of a look-ahead are not multiplied.

  Returns:
    A `TrainStep`. Metrics: `losses` `[T]`, `weights` `[T]`, `gradient_norm` scalar; with an
    aggregator (or a weighting that looks at gradients) `task_gradient_norms` `[T]`, `cosine`,
    `magnitude_similarity` and `curvature_bound` `[T, T]` of the shared parameters' task gradients
    before weighting, all from the Gramian; `aggregation_weights` `[T]` of a Gramian-based
    aggregator; `hypergradient` `[S, T]` of a weighting that looks ahead; `solver_converged` and
    `solver_iterations` of one with a solver; `rejected_losses` int32 `[T]` of a weighting of
    positive losses, steps so far in which a task's was not; those of `Aux`.

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
  check_method("weighting", weighting, "weigh")
  check_method("aggregator", aggregator, "two_batches")
  weighting = equal(num_tasks) if weighting is None else weighting
  if weighting.learns_by is not None:
    weighting = weighting.learns_by(optimizer)
  optimizer = optax.with_extra_args_support(optimizer)
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
  check_loss_scale(loss_scale)
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

  def told(aux: Aux) -> Any:
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
    batches: Any = check_batches(batch, at_most=3 if twice else 2) if pairs else (batch,)
    keys = (key, *(jax.random.fold_in(key, SECOND_BATCH + i) for i in range(len(batches) - 1)))
    parts = parts_of(devices.vary(state.params), shared)
    scale = scale_of(loss_scale, state.optimizer)

    def differentiate(which: int = 0) -> Any:
      def losses_of(shared: list, specific: list, **tasks: Any) -> tuple[Any, Aux]:
        if tasks:
          check_takes_tasks(losses_fn)
        params = parts.merge(shared, specific)
        losses, aux = losses_fn(params, state.model_state, batches[which], keys[which], **tasks)
        check_names("losses", losses, num_tasks)
        return losses if loss_scale == 1 else jax.tree.map(lambda x: scale * x, losses), aux

      found = _differentiate(form, losses_of, parts, chunk_size, devices)
      if loss_scale == 1:
        return found
      return found.unscaled(scale)

    derivatives = {}
    found = gradients = gradient = None
    if weighting.bilevel is not None:
      if weighting.bilevel.reuse and form == "weighted":
        found = differentiate()
        before = weighting.bilevel.weights(state.weighting)
        mask = told(found.aux)
        # As below: a loss of 0 without labels has no gradient, which any weight leaves.
        before = jnp.where(found.losses != 0, before, 1) if mask is None else before * mask
        gradients = found.descend(before)
        gradient = parts.merge(*gradients)
      derivatives["hypergradient"] = look_ahead_derivatives(
        weighting.bilevel, losses_fn, optimizer, state, batches[:2], keys[:2], gradient
      )
    found = differentiate() if found is None else found
    aux = found.aux
    losses, model_state, user_metrics = devices.mean((found.losses, aux.model_state, aux.metrics))
    metrics = {"losses": losses} | derivatives
    mask, seen = told(aux), None
    if isinstance(found, TaskGradients):
      found, seen = look_at(found, mask, losses, num_tasks)
      labelled = seen.labelled
      metrics |= conflict_metrics(seen.gramian, seen.scale)
      if weighting.needs_gramian:
        derivatives["gramian"] = seen.gramian
    else:
      labelled = losses != 0 if mask is None else guards.check_mask(mask, num_tasks)
    weights, weighting_state = weighting.weigh(losses, state.weighting, labelled, **derivatives)
    metrics |= {"weights": weights} | rejected_metrics(weighting_state)
    if mask is None:
      # A loss of 0 without labels has no gradient, which any weight leaves; with labels it may.
      weights = jnp.where(labelled, weights, 1)

    aggregator_state = state.aggregator
    if aggregator is None or seen is None:
      gradients = found.descend(weights) if gradients is None else gradients
    else:
      others, present = [], labelled
      for which in range(1, len(batches) if twice else 1):
        other = differentiate(which)
        others.append(other)
        present &= labelled_in_other(other, told(other.aux), devices.mean(other.losses))
      gradients, aggregator_state, more = aggregate(
        aggregator, state.aggregator, found, seen, weights, losses, others, present
      )
      metrics |= more | solver_metrics(aggregator_state)
    grads = parts.merge(*gradients)
    if isinstance(found, TaskGradients):
      grads = as_parameters(grads, state.params, losses)

    metrics["gradient_norm"] = optax.tree.norm(grads)

    def value_fn(params: PyTree) -> jax.Array:
      ahead, _ = losses_fn(params, state.model_state, batches[0], key)
      return devices.mean(stack_losses(ahead)) @ jax.lax.stop_gradient(weights)

    updates, optimizer_state = optimizer.update(
      grads, state.optimizer, state.params, value=losses @ weights, grad=grads, value_fn=value_fn
    )
    params = guards.apply_updates(state.params, updates)
    if weighting.revise is not None:
      ahead, _ = losses_fn(params, state.model_state, batches[0], key)
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
  if form == "layerwise":
    found = layerwise(stacked_losses, shared, specific, chunk_size)
    explicit, cotangents = found.factors
    return found._replace(factors=(spread(explicit, found.losses), cotangents))
  if form == "own batches":
    found = own_batches_of(losses_of, shared, specific, chunk_size, devices.average)
  else:
    found = stacked(stacked_losses, shared, specific, chunk_size, devices.average)
  return found._replace(factors=spread(found.factors, found.losses))


def _own_keys(state: PyTree, key: jax.Array) -> PyTree:
  """Folds the run's key into the keys of a method's state, so that vmapped seeds draw apart."""

  def fold(leaf: Any) -> Any:
    if not (isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)):
      return leaf
    return jax.random.fold_in(leaf, jax.random.bits(key))

  return jax.tree.map(fold, state)


def check_method(name: str, method: Any, attribute: str) -> None:
  """Raises for what is no method of jaxmtl, such as one wrapped by optax."""
  if method is not None and not hasattr(method, attribute):
    raise TypeError(
      f"{name} must be one of jaxmtl's methods, got {type(method).__name__}; options that change "
      "in training go in by jaxmtl.inject_hyperparams instead of optax's."
    )
