"""Task gradients that are never formed where a layer's inputs and cotangents say enough.

For a dense layer with inputs X and cotangents D_t of task t at its output, the gradient of its
kernel is X^T D_t, so that <X^T D_s, X^T D_t> = <D_s, (X X^T) D_t>: with a small batch this is much
cheaper than the gradients. The cotangents come from one backward pass a task that forms no kernel's
gradient, and the combined gradient afterwards is X^T (sum of w_t D_t).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl._platform import on_cpu
from jaxmtl.gradients.combinations import combine
from jaxmtl.gradients.forms import TaskGradients
from jaxmtl.gradients.inner_products import factor_precision, gramian, inner_products
from jaxmtl.gradients.linear_layers import Layer, linear_uses
from jaxmtl.gradients.one_by_one import pull_back_tasks
from jaxmtl.gradients.program import Program, evaluate, flatten

PyTree = Any

# Entries of a layer's inputs that fit into a CPU's caches. Measured with 3 tasks: all at once costs
# 1.9 plain steps where turns cost 2.3 in a vision transformer (at most 1.6 million inputs a layer),
# 2.9 against 2.1 in a CNN (4.7 million).
_CACHED = 2**21
# So many tasks take turns on CPU, some at once: all activations' cotangents of a thousand leave the
# caches, and take twice as long. (Half of a symmetric Gramian, in strips, was no faster.)
_MANY_TASKS, _AT_ONCE = 128, 32


def layerwise(
  losses_fn: Callable[[PyTree, PyTree], tuple[jax.Array, Any]],
  shared: PyTree,
  specific: PyTree,
  chunk_size: int | None = None,
) -> TaskGradients:
  """Task gradients of `losses_fn(shared, specific) -> (losses [T], aux)` for `shared`.

  Each parameter's part goes by its layers' inputs and cotangents, or by its task gradients,
  whichever costs less.
  """
  leaves, treedef = jax.tree.flatten(shared)
  specific_leaves, specific_treedef = jax.tree.flatten(specific)
  traced = _trace(losses_fn, shared, specific)
  plan = _plan(traced.program, len(leaves))
  zeros = {use.position: jnp.zeros(use.output.shape, use.output.dtype) for use in plan.uses}

  def tapped(explicit: list, zeros: dict[int, jax.Array], specific_leaves: list) -> Any:
    arguments = list(leaves)
    for i, leaf in zip(plan.explicit, explicit, strict=True):
      arguments[i] = leaf
    outputs, operands = evaluate(traced.program, [*arguments, *specific_leaves], zeros)
    inputs = {use.position: operands[use.position][1 - use.side] for use in plan.uses}
    return outputs[0], (outputs[1:], inputs)

  losses, pullback, (aux, inputs) = jax.vjp(
    tapped, [leaves[i] for i in plan.explicit], zeros, specific_leaves, has_aux=True
  )
  if chunk_size is None and not plan.is_large:
    many = len(losses) > _MANY_TASKS and on_cpu(losses)
    chunk_size = _AT_ONCE if many else len(losses)
  factors = pull_back_tasks(lambda c: pullback(c)[:2], losses, chunk_size)

  def products(factors: PyTree) -> jax.Array:
    task_grads, cotangents = factors
    parts = [gramian(task_grads)] if task_grads else []
    parts += [_layer_gramian(layers, inputs, cotangents) for layers in plan.layers.values()]
    return sum(parts[1:], parts[0])

  def sums(factors: PyTree, weights: jax.Array) -> PyTree:
    explicit, cotangents = combine(factors, weights)
    grads = dict(zip(plan.explicit, explicit, strict=True))
    for i, layers in plan.layers.items():
      uses = [layer.use for layer in layers]
      parts = [u.gradient(leaves[i], inputs[u.position], cotangents[u.position]) for u in uses]
      grads[i] = sum(parts[1:], parts[0])
    return jax.tree.unflatten(treedef, [grads[i] for i in range(len(leaves))])

  def of_specific(weights: jax.Array) -> PyTree:
    grads = pullback(jnp.asarray(weights, losses.dtype))[2]
    return jax.tree.unflatten(specific_treedef, grads)

  return TaskGradients(losses, traced.aux(aux), factors, products, sums, of_specific)


class _Traced(NamedTuple):
  """A function as a program of its parameters' leaves; `aux` rebuilds its second output."""

  program: Program
  aux: Callable[[Sequence[Any]], Any]


class _Plan(NamedTuple):
  """By which layers a parameter goes, by its place; the others go by their task gradients."""

  layers: Mapping[int, list[Layer]]
  explicit: list[int]
  is_large: bool

  @property
  def uses(self) -> list[Any]:
    """Where all those layers are."""
    return [layer.use for layers in self.layers.values() for layer in layers]


def _trace(losses_fn: Callable[..., Any], shared: PyTree, specific: PyTree) -> _Traced:
  leaves, treedef = jax.tree.flatten((shared, specific))
  form: Any = None
  others: dict[int, Any] = {}

  def flat(*leaves: Any) -> list[Any]:
    nonlocal form
    losses, aux = losses_fn(*jax.tree.unflatten(treedef, leaves))
    outputs, form = jax.tree.flatten(aux)
    # Names, numbers and functions are no outputs of a program; they come back as they are.
    others.update({i: leaf for i, leaf in enumerate(outputs) if not _is_array(leaf)})
    return [losses, *(leaf for i, leaf in enumerate(outputs) if i not in others)]

  program = flatten(jax.make_jaxpr(flat)(*leaves))

  def aux(arrays: Sequence[Any]) -> Any:
    given = iter(arrays)
    places = range(len(arrays) + len(others))
    leaves = [others[i] if i in others else next(given) for i in places]
    return jax.tree.unflatten(form, leaves)

  return _Traced(program, aux)


def _is_array(leaf: Any) -> bool:
  return isinstance(leaf, (jax.Array, jax.core.Tracer)) or hasattr(leaf, "__jax_array__")


def _plan(program: Program, count: int) -> _Plan:
  """Which of the first `count` arguments go by their layers."""
  num_tasks = program.output_shapes[0][0]
  found = linear_uses(program, count)
  layers = {i: uses for i, uses in found.items() if _is_cheaper(uses, num_tasks)}
  explicit = [i for i in range(count) if i not in layers]
  # One task's cotangents alone fill the caches: tasks had better take turns.
  sizes = [layer.sizes for i in explicit for layer in found.get(i, [])]
  is_large = any(_less(_CACHED, math.prod(size[:2])) for size in sizes)
  return _Plan(layers, explicit, is_large)


def _is_cheaper(layers: Sequence[Layer], num_tasks: int) -> bool:
  """Whether the layers' part of the Gramian costs fewer multiplications than task gradients."""
  rows = sum(layer.sizes.rows for layer in layers)
  return _less(*layers[0].costs(rows, num_tasks))


def _less(first: Any, second: Any) -> bool:
  """Whether it certainly is; sizes may be symbols, as under `jax.export`."""
  return isinstance(first, int) and isinstance(second, int) and first < second


def _layer_gramian(
  layers: Sequence[Layer], inputs: Mapping[int, jax.Array], cotangents: Mapping[int, jax.Array]
) -> jax.Array:
  """The part `[T, T]` of the Gramian that belongs to the parameter of some linear layers."""
  places = [layer.use.position for layer in layers]
  x = jnp.concatenate([layer.rows(inputs[i]) for layer, i in zip(layers, places, strict=True)])
  d = jnp.concatenate(
    [layer.cotangent_rows(cotangents[i]) for layer, i in zip(layers, places, strict=True)], axis=1
  )
  wide = jnp.promote_types(d.dtype, jnp.float32)
  products = layers[0].products(x, wide)
  mixed = jnp.einsum("nm,tmo->tno", products, d, precision=factor_precision(d))
  num_tasks = d.shape[0]
  part = inner_products(d.reshape(num_tasks, -1), mixed.reshape(num_tasks, -1), wide)
  return (part + part.T) / 2
