"""The train step: task losses, weighting, aggregator and optimiser as one pure function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator, solver_metrics
from jaxmtl.conflict import conflict_metrics
from jaxmtl.gram import scale_tasks, scaled_gramian
from jaxmtl.guards import drop_missing
from jaxmtl.implicit import TaskGradients, explicit_gradients, implicit_gradients
from jaxmtl.jacobian import stack_losses
from jaxmtl.separate import check_takes_tasks, separate_gradients
from jaxmtl.training.bilevel import check_pair, look_ahead_derivatives
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
    num_tasks: T, a static integer.
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
  guards.check_num_tasks(num_tasks)
  weighting = equal(num_tasks) if weighting is None else weighting
  twice = aggregator is not None and aggregator.two_batches
  pairs = twice or weighting.bilevel is not None
  if weighting.bilevel is not None and axis_name:
    raise ValueError(
      f"axis_name={axis_name!r} does not go with a weighting that looks ahead; shard the batch of "
      "a jax.jit step instead, which is exact."
    )

  def split(params: PyTree) -> tuple[list, list, Callable[[list, list], PyTree]]:
    leaves, treedef = jax.tree.flatten(params)
    mask = [True] * len(leaves) if shared is None else jax.tree.leaves(shared(params))
    if len(mask) != len(leaves):
      raise ValueError(f"shared returned {len(mask)} bools for {len(leaves)} parameters.")

    def merge(common: list, own: list) -> PyTree:
      both = {True: iter(common), False: iter(own)}
      return jax.tree.unflatten(treedef, [next(both[bool(m)]) for m in mask])

    common = [leaf for leaf, m in zip(leaves, mask, strict=True) if m]
    own = [leaf for leaf, m in zip(leaves, mask, strict=True) if not m]
    return common, own, merge

  def init(params: PyTree, key: jax.Array, model_state: PyTree = ()) -> TrainState:
    common, _, _ = split(params)
    return TrainState(
      step=jnp.array(0, jnp.int32),
      params=params,
      model_state=model_state,
      weighting=_own_keys(weighting.init(params), key),
      aggregator=_own_keys(aggregator.init(common), key) if aggregator else optax.EmptyState(),
      optimizer=optimizer.init(params),
      key=key,
    )

  def update(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
    key = jax.random.fold_in(jax.random.fold_in(state.key, STEP_STREAM), state.step)
    if axis_name:
      key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    batches: Any = check_pair(batch) if pairs else (batch,)
    keys = (key, jax.random.fold_in(key, SECOND_BATCH))
    derivatives = {}
    if weighting.bilevel is not None:
      derivatives["hypergradient"] = look_ahead_derivatives(
        weighting.bilevel, losses_fn, optimizer, state, batches, keys
      )
    common, own, merge = split(_vary(state.params, axis_name))
    mean = _mean_over(axis_name)

    def average(pullback: Callable[[jax.Array], PyTree]) -> Callable[[jax.Array], PyTree]:
      return lambda cotangent: mean(pullback(_vary(cotangent, axis_name)))

    def raw_losses(common: list, own: list, which: int = 0, **tasks: Any) -> tuple[Any, Aux]:
      if tasks:
        check_takes_tasks(losses_fn)
      params = merge(common, own)
      return losses_fn(params, state.model_state, batches[which], keys[which], **tasks)

    def on_params(common: list, own: list, which: int = 0) -> tuple[jax.Array, Aux]:
      losses, aux = raw_losses(common, own, which)
      return stack_losses(losses), aux

    def take_all(which: int = 0) -> TaskGradients:
      take, fn = (
        (separate_gradients, raw_losses) if own_batches else (explicit_gradients, on_params)
      )
      return take(functools.partial(fn, which=which), common, own, chunk_size, average)

    found: TaskGradients | None = None
    if aggregator is None and not weighting.needs_gramian:
      local_losses, pullback, aux = jax.vjp(on_params, common, own, has_aux=True)
    else:
      # The inner products of gradients averaged over devices need these averages.
      stacked = axis_name or twice or (aggregator is not None and aggregator.weigh is None)
      if own_batches or stacked:
        found = take_all()
      else:
        found = implicit_gradients(on_params, common, own, chunk_size)
      local_losses, aux = found.losses, found.aux

    losses, model_state, user_metrics = mean((local_losses, aux.model_state, aux.metrics))
    mask = _labelled(aux.mask, axis_name)
    metrics = {"losses": losses} | derivatives

    if found is not None:
      rows, present = drop_missing(found.rows, mask, num_tasks)
      scaled, scale = scaled_gramian(rows, present, products=found.gramian)
      metrics |= conflict_metrics(scaled, scale)
      if weighting.needs_gramian:
        derivatives["gramian"] = scaled
    weights, weighting_state = weighting.weigh(losses, state.weighting, mask, **derivatives)
    metrics["weights"] = weights

    aggregator_state = state.aggregator
    if found is None:
      grad_common, grad_own = average(pullback)(weights.astype(local_losses.dtype))
    else:
      grad_own = found.specific(weights)
      if aggregator is None:
        grad_common = found.combine(rows, weights)
      elif twice:
        second = take_all(which=1)
        in_second = guards.check_mask(_labelled(second.aux.mask, axis_name), num_tasks)
        grad_common, aggregator_state = aggregator.update(
          scale_tasks(rows, weights),
          aggregator_state,
          losses=losses,
          mask=present & in_second,
          second_gradients=scale_tasks(second.rows, weights),
        )
        grad_own = jax.tree.map(lambda g, h: (g + h) / 2, grad_own, second.specific(weights))
      elif aggregator.weigh is not None:
        task_weights, aggregator_state = aggregator.weigh(
          scaled * weights[:, None] * weights[None, :],
          aggregator_state,
          losses=losses,
          mask=present,
          scale=scale,
        )
        metrics["aggregation_weights"] = task_weights
        grad_common = found.combine(rows, task_weights * weights)
      else:
        grad_common, aggregator_state = aggregator.update(
          scale_tasks(rows, weights), aggregator_state, losses=losses, mask=present
        )
      metrics |= solver_metrics(aggregator_state)

    grads = merge(grad_common, grad_own)
    metrics["gradient_norm"] = optax.tree.norm(grads)
    updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
    params = guards.apply_updates(state.params, updates)
    if weighting.revise is not None:
      ahead, _ = losses_fn(params, state.model_state, batch, key)
      weighting_state = weighting.revise(mean(stack_losses(ahead)), weighting_state, mask)
    new_state = TrainState(
      step=state.step + 1,
      params=params,
      model_state=model_state,
      weighting=weighting_state,
      aggregator=aggregator_state,
      optimizer=optimizer_state,
      key=state.key,
    )
    return new_state, metrics | user_metrics

  return TrainStep(init, update, pairs)


def _own_keys(state: PyTree, key: jax.Array) -> PyTree:
  """Folds the run's key into the keys of a method's state, so that vmapped seeds draw apart."""

  def fold(leaf: Any) -> Any:
    if not (isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)):
      return leaf
    return jax.random.fold_in(leaf, jax.random.bits(key))

  return jax.tree.map(fold, state)


def _labelled(mask: Any, axis_name: str | None) -> Any:
  """The tasks with labels on any device."""
  if mask is None or axis_name is None:
    return mask
  return jax.lax.pmax(jnp.asarray(mask, jnp.int32), axis_name) > 0


def _vary(tree: PyTree, axis_name: str | None) -> PyTree:
  """Marks replicated values as differing by device, which they do under differentiation.

  Otherwise `jax.shard_map` sums their gradients over the devices by itself, `jax.pmap` does not,
  and the one average that follows would be right for only one of them.
  """
  if axis_name is None:
    return tree
  # A zero that differs by device as far as types go. `jax.lax.pcast` would say it plainly, but
  # refuses values that differ already, as all do under `jax.pmap`.
  zero = 0 * jax.lax.axis_index(axis_name)
  return jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype), tree)


def _mean_over(axis_name: str | None) -> Callable[[PyTree], PyTree]:
  if axis_name is None:
    return lambda tree: tree
  return lambda tree: jax.lax.pmean(tree, axis_name)
