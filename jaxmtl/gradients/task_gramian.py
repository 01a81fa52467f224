"""The Gramian of task gradients without the task gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

import jax
import jax.numpy as jnp

from jaxmtl.gradients.arguments import Arguments, check_chunk_size
from jaxmtl.gradients.layerwise import layerwise

PyTree = Any
Params = TypeVar("Params", bound=Any)
Gradient = TypeVar("Gradient", covariant=True)
Aux = TypeVar("Aux")
P = ParamSpec("P")


class Pullback(Protocol[Gradient]):
  """What `task_gramian` makes gradients of weights with."""

  def __call__(self, weights: Any) -> Gradient:
    """The gradient of the sum of the losses, weighted by `weights` `[T]`."""


@overload
def task_gramian(
  losses_fn: Callable[Concatenate[Params, P], Any],
  argnums: Literal[0] = 0,
  has_aux: Literal[False] = False,
  *,
  specific_argnums: None = None,
  chunk_size: int | None = None,
) -> Callable[Concatenate[Params, P], tuple[jax.Array, tuple[jax.Array, Pullback[Params]]]]: ...
@overload
def task_gramian(
  losses_fn: Callable[Concatenate[Params, P], tuple[Any, Aux]],
  argnums: Literal[0] = 0,
  *,
  has_aux: Literal[True],
  specific_argnums: None = None,
  chunk_size: int | None = None,
) -> Callable[
  Concatenate[Params, P], tuple[tuple[jax.Array, Aux], tuple[jax.Array, Pullback[Params]]]
]: ...
@overload
def task_gramian(
  losses_fn: Callable[P, Any],
  argnums: int | tuple[int, ...] = 0,
  has_aux: Literal[False] = False,
  *,
  specific_argnums: int | tuple[int, ...] | None = None,
  chunk_size: int | None = None,
) -> Callable[P, tuple[jax.Array, tuple[jax.Array, Callable[..., Any]]]]: ...
@overload
def task_gramian(
  losses_fn: Callable[P, tuple[Any, Aux]],
  argnums: int | tuple[int, ...] = 0,
  *,
  has_aux: Literal[True],
  specific_argnums: int | tuple[int, ...] | None = None,
  chunk_size: int | None = None,
) -> Callable[P, tuple[tuple[jax.Array, Aux], tuple[jax.Array, Callable[..., Any]]]]: ...
@overload
def task_gramian(
  losses_fn: Callable[..., Any],
  argnums: int | tuple[int, ...] = 0,
  has_aux: bool = False,
  *,
  specific_argnums: int | tuple[int, ...] | None = None,
  chunk_size: int | None = None,
) -> Callable[..., Any]: ...
def task_gramian(
  losses_fn: Callable[..., Any],
  argnums: int | tuple[int, ...] = 0,
  has_aux: bool = False,
  *,
  specific_argnums: int | tuple[int, ...] | None = None,
  chunk_size: int | None = None,
) -> Callable[..., Any]:
  r"""The exact Gramian of the task gradients, and the gradient that given weights make of them.

  .. math:: G_{st} = \langle \nabla_\theta L_s, \nabla_\theta L_t \rangle, \qquad
            w \mapsto \nabla_\theta \sum_t w_t L_t

  A parameter that only multiplies a layer's inputs (dense layers, attention projections,
  convolutions, embeddings; found in the function's jaxpr, whichever library wrote it) contributes
  through the layer's inputs X and the cotangents D_t of its output, as <D_s, (X X^T) D_t>, where
  that costs less than its task gradients. All others (normalisation, biases, parameters used within
  scan, cond or checkpoint) contribute through their task gradients.

  Args:
    losses_fn: returns task losses, float `[T]`, or a dict of scalars, which is stacked in the
      order of its sorted keys; with `has_aux`, a pair `(losses, aux)`.
    argnums: the argument or arguments to differentiate for.
    has_aux: whether `losses_fn` returns a pair.
    specific_argnums: the argument or arguments that hold task-specific parameters (heads), which
      take no part in the Gramian.
    chunk_size: how many tasks' backward passes run at once; None takes what was measured to be
      fastest.

  Returns:
    A function of the same arguments that returns `(losses, (gramian, pullback))`: `gramian` is
    `[T, T]` in float32 or wider, `pullback` maps weights `[T]` to the gradient of the weighted sum
    of the losses. With `specific_argnums`, `pullback(weights, specific_weights)` returns a pair of
    gradients. With `has_aux`, `losses` is `(losses, aux)`.

  Raises:
    ValueError: as `jaxmtl.task_value_and_grad`.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> def losses_fn(w, x):
    ...   return jnp.mean((x @ w) ** 2, axis=0)
    >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    >>> losses, (gramian, pullback) = jaxmtl.task_gramian(losses_fn)(jnp.ones((2, 2)), x)
    >>> gramian.tolist()
    [[17.0, 0.0], [0.0, 17.0]]
    >>> pullback(jnp.array([1.0, 0.5])).tolist()
    [[1.0, 0.5], [4.0, 2.0]]

  Reference:
    Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, section 6, on why
    the Gramian is enough.
  """
  arguments = Arguments(argnums, specific_argnums).check()
  check_chunk_size(chunk_size)

  def value_and_gramian(*args: Any, **kwargs: Any) -> Any:
    shared, specific = arguments.split(args)
    if not jax.tree.leaves(shared):
      raise ValueError("the parameters hold no array; there is nothing to differentiate for.")
    found = layerwise(
      arguments.on_primals(losses_fn, has_aux, args, kwargs), shared, specific, chunk_size
    )

    def pullback(weights: jax.Array, specific_weights: jax.Array | None = None) -> PyTree:
      weights = jnp.asarray(weights)
      grads = found.combine(weights)
      if specific_argnums is None:
        return arguments.unwrap(grads)
      own = found.specific(weights if specific_weights is None else specific_weights)
      return arguments.unwrap(grads, own)

    value = (found.losses, found.aux) if has_aux else found.losses
    return value, (found.gramian(), pullback)

  return value_and_gramian
