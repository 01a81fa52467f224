"""Task gradients of Flax NNX modules, which hold their parameters, statistics and random keys.

Under `nnx.jit`, or under `jax.jit` between `nnx.merge` and `nnx.split`. The updates go through
`nnx.Optimizer(model, jaxmtl.chain(...), wrt=nnx.Param).update(model, grads, losses=losses)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import jax

from jaxmtl import gradients
from jaxmtl._extras import require

require("flax.nnx", "models", __name__)

from flax import nnx

PyTree = Any
Model = TypeVar("Model")
Aux = TypeVar("Aux")
P = ParamSpec("P")
Pullback = Callable[..., Any]

__all__ = ["of_params", "task_gramian", "task_value_and_grad"]


@overload
def task_value_and_grad(
  losses_fn: Callable[Concatenate[Model, P], Any],
  wrt: Any = ...,
  has_aux: Literal[False] = False,
  *,
  specific: Any = None,
  chunk_size: int | None = None,
) -> Callable[Concatenate[Model, P], tuple[jax.Array, Any]]: ...
@overload
def task_value_and_grad(
  losses_fn: Callable[Concatenate[Model, P], tuple[Any, Aux]],
  wrt: Any = ...,
  *,
  has_aux: Literal[True],
  specific: Any = None,
  chunk_size: int | None = None,
) -> Callable[Concatenate[Model, P], tuple[tuple[jax.Array, Aux], Any]]: ...
@overload
def task_value_and_grad(
  losses_fn: Callable[Concatenate[Model, P], Any],
  wrt: Any = ...,
  has_aux: bool = False,
  *,
  specific: Any = None,
  chunk_size: int | None = None,
) -> Callable[Concatenate[Model, P], Any]: ...
def task_value_and_grad(
  losses_fn: Callable[..., Any],
  wrt: Any = nnx.Param,
  has_aux: bool = False,
  *,
  specific: Any = None,
  chunk_size: int | None = None,
) -> Callable[..., Any]:
  """`jaxmtl.task_value_and_grad` of a function of a module.

  As with `nnx.value_and_grad`, what the function does to the module stays: batch statistics move,
  dropout keys advance, once for all tasks.

  Args:
    losses_fn: `(model, *args, **kwargs) -> losses`, float `[T]` or a dict of scalars; with
      `has_aux`, a pair `(losses, aux)`. It may write to the model's variables, not to those of
      other modules.
    wrt: an NNX filter, the variables that are differentiated for.
    has_aux: whether `losses_fn` returns a pair.
    specific: an NNX filter, which of the former belong to one task each, for example
      `nnx.PathContains("heads")`. They get one gradient, that of the sum of the losses, and no task
      axis.
    chunk_size: as in `jaxmtl.task_value_and_grad`.

  Returns:
    A function of the same arguments that returns `(losses, task_gradients)`, the latter an
    `nnx.State` like `nnx.state(model, wrt)` with arrays `[T, *shape]`; with `specific`,
    `(losses, (task_gradients, gradient))`. With `has_aux`, `losses` is `(losses, aux)`.

  Raises:
    ValueError: as `jaxmtl.task_value_and_grad`, or if `wrt` finds no variable.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> from flax import nnx
    >>> import jaxmtl
    >>> model = nnx.Linear(2, 2, use_bias=False, rngs=nnx.Rngs(0))
    >>> optimizer = nnx.Optimizer(
    ...   model, jaxmtl.chain(jaxmtl.pcgrad(2), optax.sgd(0.1)), wrt=nnx.Param)
    >>> def losses_fn(model, x):
    ...   return (model(x) ** 2).mean(axis=0)
    >>> losses, grads = jaxmtl.nnx.task_value_and_grad(losses_fn)(model, jnp.eye(2))
    >>> grads["kernel"][...].shape
    (2, 2, 2)
    >>> updates = optimizer.update(model, grads, losses=losses)

  Reference:
    Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", 2018, section 3.
  """
  options = {"chunk_size": chunk_size}
  return _on_module(gradients.task_value_and_grad, losses_fn, wrt, specific, has_aux, options)


@overload
def task_gramian(
  losses_fn: Callable[Concatenate[Model, P], Any],
  wrt: Any = ...,
  has_aux: Literal[False] = False,
  *,
  specific: Any = None,
  chunk_size: int | None = None,
) -> Callable[Concatenate[Model, P], tuple[jax.Array, tuple[jax.Array, Pullback]]]: ...
@overload
def task_gramian(
  losses_fn: Callable[Concatenate[Model, P], tuple[Any, Aux]],
  wrt: Any = ...,
  *,
  has_aux: Literal[True],
  specific: Any = None,
  chunk_size: int | None = None,
) -> Callable[Concatenate[Model, P], tuple[tuple[jax.Array, Aux], tuple[jax.Array, Pullback]]]: ...
@overload
def task_gramian(
  losses_fn: Callable[Concatenate[Model, P], Any],
  wrt: Any = ...,
  has_aux: bool = False,
  *,
  specific: Any = None,
  chunk_size: int | None = None,
) -> Callable[Concatenate[Model, P], Any]: ...
def task_gramian(
  losses_fn: Callable[..., Any],
  wrt: Any = nnx.Param,
  has_aux: bool = False,
  *,
  specific: Any = None,
  chunk_size: int | None = None,
) -> Callable[..., Any]:
  """`jaxmtl.task_gramian` of a function of a module.

  Args:
    losses_fn: as in `jaxmtl.nnx.task_value_and_grad`.
    wrt: as there.
    has_aux: as there.
    specific: as there; these variables take no part in the Gramian.
    chunk_size: as in `jaxmtl.task_gramian`.

  Returns:
    A function of the same arguments that returns `(losses, (gramian, pullback))`; `pullback` maps
    weights `[T]` to a gradient, an `nnx.State` for an `nnx.Optimizer` whose transform has no
    aggregator. With `specific`, `pullback(weights, specific_weights)` returns two of them, which
    `nnx.merge_state` puts together.

  Raises:
    ValueError: as `jaxmtl.task_gramian`.

  Example:
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> import jaxmtl
    >>> model, aggregator = nnx.Linear(2, 2, rngs=nnx.Rngs(0)), jaxmtl.mgda(2)
    >>> def losses_fn(model, x):
    ...   return (model(x) ** 2).mean(axis=0)
    >>> losses, (gramian, pullback) = jaxmtl.nnx.task_gramian(losses_fn)(model, jnp.eye(2))
    >>> weights, state = aggregator.weigh(gramian, aggregator.init(nnx.state(model)))
    >>> pullback(weights)["kernel"][...].shape
    (2, 2)

  Reference:
    Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, section 6.
  """
  options = {"chunk_size": chunk_size}
  return _on_module(gradients.task_gramian, losses_fn, wrt, specific, has_aux, options)


def of_params(fn: Callable[..., Any], model: Any, wrt: Any = nnx.Param) -> Callable[..., Any]:
  """A function of a module as a pure function of its parameters.

  What it does to the module's other variables is dropped. Methods that look ahead judge the losses
  at other parameters: `primary_loss_fn=jaxmtl.nnx.of_params(lambda model: ..., model)`.

  Args:
    fn: `(model, *args, **kwargs) -> anything`.
    model: the module; the variables that are no parameters are taken as they are now.
    wrt: an NNX filter, the parameters.

  Returns:
    `(params, *args, **kwargs)`, with `params` like `nnx.state(model, wrt)`.

  Example:
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> import jaxmtl
    >>> model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    >>> call = jaxmtl.nnx.of_params(lambda model, x: model(x), model)
    >>> bool((call(nnx.state(model, nnx.Param), jnp.eye(2)) == model(jnp.eye(2))).all())
    True
  """
  graphdef, _, rest = _split(model, (wrt,))

  def call(params: Any, *args: Any, **kwargs: Any) -> Any:
    return fn(nnx.merge(graphdef, params, rest, copy=True), *args, **kwargs)

  return call


def _on_module(
  transform: Callable[..., Any],
  losses_fn: Callable[..., Any],
  wrt: Any,
  specific: Any,
  has_aux: bool,
  options: dict[str, Any],
) -> Callable[..., Any]:
  """A transform of pure functions for a function of a module."""
  filters = (wrt,) if specific is None else (nnx.All(wrt, specific), wrt)

  def call(model: Any, *args: Any, **kwargs: Any) -> Any:
    found = _split(model, filters)
    graphdef, params, rest = found[0], found[1:-1], found[-1]
    if not jax.tree.leaves(params):
      raise ValueError(f"the model holds no variable of wrt={wrt!r} to differentiate for.")

    def pure(*params: Any) -> Any:
      # Copied, as variables cannot be written to under a transform that they were not made in.
      inner = nnx.merge(graphdef, *params, rest, copy=True)
      out = losses_fn(inner, *args, **kwargs)
      losses, aux = _pair(out) if has_aux else (out, None)
      return losses, (aux, _split(inner, filters)[-1])

    where = {} if specific is None else {"argnums": 1, "specific_argnums": 0}
    (losses, (aux, new)), gradient = transform(pure, has_aux=True, **where, **options)(*params)
    nnx.update(model, new)
    return ((losses, aux) if has_aux else losses), gradient

  return call


def _split(model: Any, filters: tuple[Any, ...]) -> list[Any]:
  """The graph, the variables of each filter, and all others."""
  found: Any = nnx.split(model, *filters, ...)
  return list(found)


def _pair(out: Any) -> tuple[Any, Any]:
  if not isinstance(out, (tuple, list)) or len(out) != 2:
    raise ValueError(
      f"losses_fn must return a pair (losses, aux) with has_aux=True, got {type(out).__name__}; "
      "return a pair, or leave has_aux out."
    )
  return out[0], out[1]
