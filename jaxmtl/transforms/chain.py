"""A chain that gives updates of the parameters' shapes, or says why not."""

from __future__ import annotations

from typing import Any

import optax

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator
from jaxmtl.transforms.per_task import PerTask
from jaxmtl.weighting.base import Weighting

PyTree = Any


def chain(*transforms: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
  """`optax.chain` that lets nothing be broadcast and takes no T gradients for one.

  Without an aggregator a chain's updates keep their task axis, and `optax.apply_updates`, Flax's
  `TrainState.apply_gradients` and `nnx.Optimizer.update` add such updates `[T, *shape]` to a
  parameter `[*shape]` silently. With this chain they cannot.

  Args:
    *transforms: weightings and `jaxmtl.per_task`, then an aggregator, then any of one gradient,
      such as `optax.adamw(1e-3)`.

  Returns:
    A transform of stacked task gradients. Its `update` needs `params`, and hands extra arguments
    (`losses=`, `mask=`, ...) to all that take them.

  Raises:
    ValueError: if a transform of one gradient stands before an aggregator, or there is none behind
      a weighting; at update, without `params`, or where an update is not of its parameter's shape.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx = jaxmtl.chain(jaxmtl.pcgrad(2), optax.sgd(0.1))
    >>> params = jnp.zeros(2)
    >>> grads = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> updates, state = tx.update(grads, tx.init(params), params)
    >>> optax.apply_updates(params, updates).round(3).tolist()
    [-0.10000000149011612, -0.10000000149011612]
    >>> jaxmtl.chain(optax.clip(1.0), jaxmtl.pcgrad(2))
    Traceback (most recent call last):
    ValueError: transform 0 stands before an aggregator, where it would take ...
  """
  uncalled = [t for t in transforms if not hasattr(t, "update")]
  if uncalled:
    name = getattr(uncalled[0], "__name__", repr(uncalled[0]))
    raise ValueError(f"{name} is no transform; call it, for example {name}(num_tasks).")
  places = [i for i, t in enumerate(transforms) if isinstance(t, Aggregator)]
  if len(places) > 1:
    raise ValueError(
      f"transforms {places[0]} and {places[1]} are aggregators; the second would find no task axis."
    )
  for i, transform in enumerate(transforms[: places[0]] if places else transforms):
    if places and not isinstance(transform, (Weighting, PerTask)):
      raise ValueError(
        f"transform {i} stands before an aggregator, where it would take the task gradients for "
        f"one gradient; put it behind, or wrap it: jaxmtl.per_task(num_tasks, ...)."
      )
    if not places and isinstance(transform, (Weighting, PerTask)):
      raise ValueError(
        f"transform {i} keeps the task axis and no aggregator follows; add one, for example "
        "jaxmtl.sum_tasks(num_tasks)."
      )
  whole = optax.chain(*transforms)

  def update(
    updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any
  ) -> tuple[PyTree, PyTree]:
    if params is None:
      raise ValueError(
        "params is missing: call update(grads, state, params), so that shapes are checked."
      )
    new, state = whole.update(updates, state, params, **extra)
    guards.check_updates(params, new)
    return new, state

  return optax.GradientTransformationExtraArgs(whole.init, update)
