"""The Gramian of task gradients without the task gradients.

For a dense layer with inputs X and cotangents D_t of task t at its output, the gradient of its
kernel is X^T D_t, so that <X^T D_s, X^T D_t> = <D_s, (X X^T) D_t>: with a small batch this is much
cheaper than the gradients. The cotangents come from one backward pass a task that forms no kernel's
gradient, and the combined gradient afterwards is X^T (sum of w_t D_t).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import taps
from jaxmtl.gram import combine, gramian, inner_products
from jaxmtl.jacobian import merge_arguments, pull_back_tasks

PyTree = Any

# Entries of a layer's inputs.
_CACHED = 2**21


class TaskGradients(NamedTuple):
  """Task gradients of shared parameters, or only what their inner products and sums need.

  Attributes:
    losses: `[T]`.
    aux: what the function returned beside the losses.
    rows: pytree with leaves `[T, ...]`, linear in the losses: the task gradients, or cotangents.
    gramian: `rows -> [T, T]`.
    combine: `(rows, weights [T]) -> gradient` of the shared parameters.
    specific: `weights [T] -> gradient` of the task-specific parameters.
  """

  losses: jax.Array
  aux: Any
  rows: PyTree
  gramian: Callable[[PyTree], jax.Array]
  combine: Callable[[PyTree, jax.Array], PyTree]
  specific: Callable[[jax.Array], PyTree]


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
  bind = merge_arguments(losses_fn, argnums, has_aux, specific_argnums, chunk_size)

  def value_and_gramian(*args: Any, **kwargs: Any) -> Any:
    on_primals, shared, specific = bind(args, kwargs)
    found = implicit_gradients(on_primals, shared, specific, chunk_size)

    def pullback(weights: jax.Array, specific_weights: jax.Array | None = None) -> PyTree:
      grads = found.combine(found.rows, jnp.asarray(weights))
      grads = grads[0] if isinstance(argnums, int) else grads
      if specific_argnums is None:
        return grads
      own = found.specific(weights if specific_weights is None else specific_weights)
      return grads, own[0] if isinstance(specific_argnums, int) else own

    value = (found.losses, found.aux) if has_aux else found.losses
    return value, (found.gramian(found.rows), pullback)

  return value_and_gramian


def implicit_gradients(
  losses_fn: Callable[[PyTree, PyTree], tuple[jax.Array, Any]],
  shared: PyTree,
  specific: PyTree,
  chunk_size: int | None = None,
) -> TaskGradients:
  """Task gradients of `losses_fn(shared, specific) -> (losses [T], aux)` for `shared`."""
  leaves, treedef = jax.tree.flatten(shared)
  specific_leaves, specific_treedef = jax.tree.flatten(specific)
  out_treedef = None

  def flat(*arguments: Any) -> list[Any]:
    nonlocal out_treedef
    count = len(leaves)
    losses, aux = losses_fn(
      jax.tree.unflatten(treedef, arguments[:count]),
      jax.tree.unflatten(specific_treedef, arguments[count:]),
    )
    outputs, out_treedef = jax.tree.flatten(aux)
    return [losses, *outputs]

  program = taps.flatten(jax.make_jaxpr(flat)(*leaves, *specific_leaves))
  num_tasks = program.output_shapes[0][0]
  found = taps.linear_uses(program, len(leaves))
  layers = {i: uses for i, uses in found.items() if _is_cheaper(uses, num_tasks)}
  explicit = [i for i in range(len(leaves)) if i not in layers]
  zeros = {
    u.position: jnp.zeros(u.output.shape, u.output.dtype) for us in layers.values() for u in us
  }

  def tapped(explicit_leaves: list, zeros: dict[int, jax.Array], specific_leaves: list) -> Any:
    arguments = list(leaves)
    for i, leaf in zip(explicit, explicit_leaves, strict=True):
      arguments[i] = leaf
    outputs, operands = taps.evaluate(program, [*arguments, *specific_leaves], zeros)
    inputs = {u.position: operands[u.position][1 - u.side] for us in layers.values() for u in us}
    return outputs[0], (outputs[1:], inputs)

  losses, pullback, (aux, inputs) = jax.vjp(
    tapped, [leaves[i] for i in explicit], zeros, specific_leaves, has_aux=True
  )
  if chunk_size is None and not _is_large([u for i in explicit for u in found.get(i, [])]):
    chunk_size = num_tasks
  rows = pull_back_tasks(lambda c: pullback(c)[:2], losses, chunk_size)

  def total(rows: PyTree) -> jax.Array:
    task_grads, cotangents = rows
    parts = [gramian(task_grads)] if task_grads else []
    parts += [_layer_gramian(uses, inputs, cotangents) for uses in layers.values()]
    return sum(parts[1:], parts[0])

  def combined(rows: PyTree, weights: jax.Array) -> PyTree:
    explicit_grads, cotangents = combine(rows, weights)
    grads = dict(zip(explicit, explicit_grads, strict=True))
    for i, uses in layers.items():
      parts = [u.gradient(leaves[i], inputs[u.position], cotangents[u.position]) for u in uses]
      grads[i] = sum(parts[1:], parts[0])
    return jax.tree.unflatten(treedef, [grads[i] for i in range(len(leaves))])

  def own(weights: jax.Array) -> PyTree:
    grads = pullback(jnp.asarray(weights, losses.dtype))[2]
    return jax.tree.unflatten(specific_treedef, grads)

  aux = jax.tree.unflatten(out_treedef, aux)
  return TaskGradients(losses, aux, rows, total, combined, own)


def explicit_gradients(
  losses_fn: Callable[[PyTree, PyTree], tuple[jax.Array, Any]],
  shared: PyTree,
  specific: PyTree,
  chunk_size: int | None = None,
  average: Callable[[Callable], Callable] = lambda pullback: pullback,
) -> TaskGradients:
  """The same, stacked; `average` wraps the pullback, for averages over devices."""
  losses, transposed, aux = jax.vjp(losses_fn, shared, specific, has_aux=True)
  pullback = average(lambda cotangent: transposed(cotangent.astype(losses.dtype)))
  rows = pull_back_tasks(lambda c: pullback(c)[0], losses, chunk_size)
  return TaskGradients(losses, aux, rows, gramian, combine, lambda weights: pullback(weights)[1])


def _is_cheaper(uses: Sequence[taps.Use], num_tasks: int) -> bool:
  """Whether a layer's part of the Gramian costs fewer multiplications than its task gradients."""
  sizes = [use.sizes() for use in uses]
  rows, (_, length, out) = sum(n for n, _, _ in sizes), sizes[0]
  pairs = num_tasks * num_tasks
  implicit = rows * rows * length + num_tasks * rows * rows * out + pairs * rows * out
  explicit = num_tasks * rows * length * out + pairs * length * out
  if uses[0].kind == "gather":  # the matrix of equal indices is cheap, the gradients are sums
    implicit -= rows * rows * length
    explicit = num_tasks * (rows + length) * out + pairs * length * out
  return implicit < explicit


def _is_large(explicit: Sequence[taps.Use]) -> bool:
  """Whether one task's cotangents alone fill the caches, so that tasks had better take turns.

  Measured on CPU with 3 tasks: all at once costs 1.9 plain steps where turns cost 2.3 in a vision
  transformer (at most 1.6 million inputs a layer), 2.9 against 2.1 in a CNN (4.7 million).
  """
  return any(math.prod(use.sizes()[:2]) > _CACHED for use in explicit)


def _layer_gramian(
  uses: Sequence[taps.Use], inputs: dict[int, jax.Array], cotangents: dict[int, jax.Array]
) -> jax.Array:
  """The part `[T, T]` of the Gramian that belongs to the parameter of some linear layers."""
  x = jnp.concatenate([use.rows(inputs[use.position]) for use in uses])
  d = jnp.concatenate([use.cotangent_rows(cotangents[use.position]) for use in uses], axis=1)
  wide = jnp.promote_types(d.dtype, jnp.float32)
  if uses[0].kind == "gather":
    products = uses[0].same_entry(x).astype(wide)
  else:
    x = x.astype(wide)
    products = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
  mixed = jnp.einsum("nm,tmo->tno", products, d, precision=jax.lax.Precision.HIGHEST)
  num_tasks = d.shape[0]
  part = inner_products(d.reshape(num_tasks, -1), mixed.reshape(num_tasks, -1), wide)
  return (part + part.T) / 2
