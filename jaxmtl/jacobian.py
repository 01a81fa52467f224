"""Task losses to task gradients: the parameter pytree with a leading task axis on every leaf."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


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
  bind = merge_arguments(losses_fn, argnums, has_aux, specific_argnums, chunk_size)

  def value_and_grad(*args: Any, **kwargs: Any) -> Any:
    on_primals, shared, specific = bind(args, kwargs)
    losses, pullback, aux = jax.vjp(on_primals, shared, specific, has_aux=True)
    grads = pull_back_tasks(lambda c: pullback(c)[0], losses, chunk_size)
    grads = grads[0] if isinstance(argnums, int) else grads
    value = (losses, aux) if has_aux else losses
    if specific_argnums is None:
      return value, grads
    own = pullback(jnp.ones_like(losses))[1]
    return value, (grads, own[0] if isinstance(specific_argnums, int) else own)

  return value_and_grad


def merge_arguments(
  losses_fn: Callable[..., Any],
  argnums: int | tuple[int, ...],
  has_aux: bool,
  specific_argnums: int | tuple[int, ...] | None,
  chunk_size: int | None,
) -> Callable[[tuple, dict[str, Any]], tuple[Callable[..., Any], tuple, tuple]]:
  """Checks the options that all task differentiations share.

  Returns:
    `(args, kwargs) -> (on_primals, shared, specific)`, where
    `on_primals(shared, specific) -> (losses [T], aux)` is `losses_fn` of the named arguments.
  """
  if chunk_size is not None and chunk_size < 1:
    raise ValueError(f"chunk_size must be at least 1 or None, got {chunk_size}.")
  shared_args = (argnums,) if isinstance(argnums, int) else tuple(argnums)
  own_args = (specific_argnums,) if isinstance(specific_argnums, int) else specific_argnums
  own_args = tuple(own_args or ())
  if both := set(shared_args) & set(own_args):
    raise ValueError(
      f"argument {min(both)} is in argnums and in specific_argnums; a parameter is either shared "
      "(stacked task gradients) or task-specific (one gradient), so name it once."
    )

  def bind(args: tuple, kwargs: dict[str, Any]) -> tuple[Callable[..., Any], tuple, tuple]:
    def on_primals(shared: tuple, specific: tuple) -> tuple[jax.Array, Any]:
      full = list(args)
      for i, value in zip(shared_args + own_args, shared + specific, strict=True):
        full[i] = value
      out = losses_fn(*full, **kwargs)
      losses, aux = out if has_aux else (out, None)
      return stack_losses(losses), aux

    return on_primals, tuple(args[i] for i in shared_args), tuple(args[i] for i in own_args)

  return bind


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


def stack_losses(losses: Any) -> jax.Array:
  """Task losses as one array `[T]`: dicts are stacked in sorted-key order, arrays are checked."""
  if isinstance(losses, Mapping):
    wrong = {name: jnp.shape(loss) for name, loss in losses.items() if jnp.shape(loss)}
    if wrong:
      name, shape = sorted(wrong.items())[0]
      raise ValueError(
        f"losses[{name!r}] has shape {shape}; every task needs one scalar loss: reduce it over "
        "the batch, for example with .mean()."
      )
    losses = jnp.stack([jnp.asarray(losses[name]) for name in sorted(losses)]) if losses else []
  if isinstance(losses, (list, tuple)) and losses:
    losses = jnp.stack([jnp.asarray(loss) for loss in losses])
  losses = jnp.asarray(losses)
  if losses.ndim != 1:
    raise ValueError(
      f"losses must have shape [T], one scalar a task, got {losses.shape}; reduce each task's "
      "loss over the batch and stack the results."
    )
  if losses.size == 0:
    raise ValueError("losses has shape (0,): there are no tasks; return at least one loss.")
  if not jnp.issubdtype(losses.dtype, jnp.floating):
    raise ValueError(f"losses must be floating point to be differentiated, got {losses.dtype}.")
  return losses


def pull_back_tasks(
  pullback: Callable[[jax.Array], PyTree], losses: jax.Array, chunk_size: int | None = None
) -> PyTree:
  """Stacks `pullback(e_t)` over the T one-hot cotangents; leaves `[T, *shape]`."""
  num_tasks = losses.shape[0]
  # Zeros plus the identity, so that the cotangents vary over the mesh axes that the losses do.
  one_hots = jnp.eye(num_tasks, dtype=losses.dtype) + jnp.zeros_like(losses)
  return map_tasks(pullback, one_hots, chunk_size)


def map_tasks(
  fn: Callable[[jax.Array], PyTree], tasks: jax.Array, chunk_size: int | None = None
) -> PyTree:
  """Stacks `fn` over the first axis of `tasks`, so many at once; None takes what is fastest."""
  if chunk_size is None:
    chunk_size = _fastest_chunk(fn, tasks)
  if chunk_size >= len(tasks):
    return jax.vmap(fn)(tasks)
  # A batch size of 1 would add a useless axis to every operand.
  return jax.lax.map(fn, tasks, batch_size=chunk_size if chunk_size > 1 else None)


def _fastest_chunk(fn: Callable[[jax.Array], PyTree], tasks: jax.Array) -> int:
  if jax.default_backend() != "cpu":
    return len(tasks)
  jaxpr = jax.make_jaxpr(fn)(tasks[0])
  return len(tasks) if "conv_general_dilated" in str(jaxpr) else 1
