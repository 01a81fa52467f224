"""Task losses to task gradients: the parameter pytree with a leading task axis on every leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import jax
import jax.numpy as jnp

from jaxmtl.gradients.arguments import Arguments, check_chunk_size
from jaxmtl.gradients.forms import stacked

PyTree = Any
Params = TypeVar("Params", bound=Any)
Aux = TypeVar("Aux")
P = ParamSpec("P")


@overload
def task_value_and_grad(
  losses_fn: Callable[Concatenate[Params, P], Any],
  argnums: Literal[0] = 0,
  has_aux: Literal[False] = False,
  *,
  specific_argnums: None = None,
  chunk_size: int | None = None,
) -> Callable[Concatenate[Params, P], tuple[jax.Array, Params]]: ...
@overload
def task_value_and_grad(
  losses_fn: Callable[Concatenate[Params, P], tuple[Any, Aux]],
  argnums: Literal[0] = 0,
  *,
  has_aux: Literal[True],
  specific_argnums: None = None,
  chunk_size: int | None = None,
) -> Callable[Concatenate[Params, P], tuple[tuple[jax.Array, Aux], Params]]: ...
@overload
def task_value_and_grad(
  losses_fn: Callable[P, Any],
  argnums: int | tuple[int, ...] = 0,
  has_aux: Literal[False] = False,
  *,
  specific_argnums: int | tuple[int, ...] | None = None,
  chunk_size: int | None = None,
) -> Callable[P, tuple[jax.Array, Any]]: ...
@overload
def task_value_and_grad(
  losses_fn: Callable[P, tuple[Any, Aux]],
  argnums: int | tuple[int, ...] = 0,
  *,
  has_aux: Literal[True],
  specific_argnums: int | tuple[int, ...] | None = None,
  chunk_size: int | None = None,
) -> Callable[P, tuple[tuple[jax.Array, Aux], Any]]: ...
@overload
def task_value_and_grad(
  losses_fn: Callable[..., Any],
  argnums: int | tuple[int, ...] = 0,
  has_aux: bool = False,
  *,
  specific_argnums: int | tuple[int, ...] | None = None,
  chunk_size: int | None = None,
) -> Callable[..., Any]: ...
def task_value_and_grad(
  losses_fn: Callable[..., Any],
  argnums: int | tuple[int, ...] = 0,
  has_aux: bool = False,
  *,
  specific_argnums: int | tuple[int, ...] | None = None,
  chunk_size: int | None = None,
) -> Callable[..., Any]:
  r"""Like `jax.value_and_grad`, for a function that returns one loss a task.

  .. math:: g_t = \nabla_\theta L_t(\theta), \quad t = 1 \dots T

  One forward pass, then one pullback a task.

  Args:
    losses_fn: returns task losses, float `[T]`, or a dict of scalars, which is stacked in the
      order of its sorted keys; with `has_aux`, a pair `(losses, aux)`.
    argnums: the argument or arguments to take stacked task gradients for.
    has_aux: whether `losses_fn` returns a pair.
    specific_argnums: the argument or arguments that hold task-specific parameters (heads). They
      get one ordinary gradient, that of the sum of the losses, and no task axis (split form).
    chunk_size: how many tasks' pullbacks run at once. Memory is bounded by it; `chunk_size >= T`
      is one `jax.vmap`. None takes what was measured to be fastest: all at once on GPU and TPU;
      on CPU one after the other, or all at once where the pullback holds a `lax.conv`, which that
      backend runs very slowly inside a loop.

  Returns:
    A function of the same arguments. Without `specific_argnums` it returns
    `(losses, task_gradients)`, leaves `[T, *shape]`; with it,
    `(losses, (task_gradients, gradient))`. With `has_aux`, `losses` is `(losses, aux)`.

  Raises:
    ValueError: if the losses are not one scalar a task, if there are none, if `chunk_size` is not
      positive, or if an argument is both shared and task-specific.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> def losses_fn(w, x):
    ...   return jnp.stack([jnp.sum(w * x), jnp.sum(w**2)])
    >>> losses, grads = jaxmtl.task_value_and_grad(losses_fn)(jnp.ones(2), jnp.array([3.0, 4.0]))
    >>> losses.tolist(), grads.tolist()
    ([7.0, 2.0], [[3.0, 4.0], [2.0, 2.0]])

  Reference:
    Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", 2018, section 3.
  """
  arguments = Arguments(argnums, specific_argnums).check()
  check_chunk_size(chunk_size)

  def value_and_grad(*args: Any, **kwargs: Any) -> Any:
    shared, specific = arguments.split(args)
    found = stacked(
      arguments.on_primals(losses_fn, has_aux, args, kwargs), shared, specific, chunk_size
    )
    value = (found.losses, found.aux) if has_aux else found.losses
    if specific_argnums is None:
      return value, arguments.unwrap(found.factors)
    return value, arguments.unwrap(found.factors, found.specific(jnp.ones_like(found.losses)))

  return value_and_grad


def representation_value_and_grad(
  encode_fn: Callable[..., jax.Array],
  losses_fn: Callable[..., Any],
  *,
  chunk_size: int | None = None,
) -> Callable[..., Any]:
  r"""Task gradients at the encoder's output, for aggregation there.

  .. math:: z = e(\theta), \qquad g_t = \nabla_z L_t(z, \phi)

  Gradient surgery on `z` and one pullback through the encoder cost about one backward pass,
  whatever the number of tasks.

  Args:
    encode_fn: `(shared, batch) -> z`, any array or pytree of arrays.
    losses_fn: `(z, specific, batch) -> losses`, float `[T]` or a dict of scalars.
    chunk_size: as in `task_value_and_grad`.

  Returns:
    A function `(shared, specific, batch) -> (losses, (task_gradients, gradient, pullback))`:
    `task_gradients` of z with leaves `[T, *z.shape]`, `gradient` of the sum of the losses for the
    task-specific parameters, and `pullback`, which takes an aggregated gradient `[*z.shape]` to
    the gradient for the shared parameters.

  Raises:
    ValueError: if the losses are not one scalar a task, or if there are none.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> fn = jaxmtl.representation_value_and_grad(
    ...   lambda w, x: w * x, lambda z, heads, x: heads @ z)
    >>> losses, (grads, own, pullback) = fn(jnp.ones(2), jnp.eye(2), jnp.array([3.0, 4.0]))
    >>> pullback(grads.mean(0)).tolist()
    [1.5, 2.0]

  Reference:
    Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", 2018, section 3.3.
  """
  head_fn = task_value_and_grad(losses_fn, 0, specific_argnums=1, chunk_size=chunk_size)

  def value_and_grad(shared: PyTree, specific: PyTree, batch: Any) -> Any:
    representation, encoder_pullback = jax.vjp(lambda p: encode_fn(p, batch), shared)
    losses, (grads, own) = head_fn(representation, specific, batch)
    return losses, (grads, own, lambda grad: encoder_pullback(grad)[0])

  return value_and_grad
