"""`jax.vmap` over tasks that leaves a sharded batch sharded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxmtl.gradients.program import CALLS, bind

PyTree = Any


def task_vmap(fn: Callable[[jax.Array], PyTree], tasks: jax.Array) -> PyTree:
  """What `jax.vmap(fn)(tasks)` gives, with the tasks behind the batch in convolutions.

  JAX's own rule makes one axis of tasks and batch with the tasks in front, [T, N] to T N. A batch
  that is sharded over devices cannot be told in such an axis: each device then computes all
  devices' part. With the tasks behind, N T, it can.

  Args:
    fn: of one row of `tasks`.
    tasks: `[T, ...]`.

  Returns:
    The outputs, leaves `[T, ...]`.
  """
  closed, shapes = jax.make_jaxpr(fn, return_shape=True)(tasks[0])
  found = _evaluate(closed, [(tasks, True)])
  count = len(tasks)
  outputs = [x if rows else jnp.broadcast_to(x, (count, *jnp.shape(x))) for x, rows in found]
  return jax.tree.unflatten(jax.tree.structure(shapes), outputs)


Value = tuple[Any, bool]
"""An array, and whether it has an axis of tasks in front."""


def _evaluate(closed: core.ClosedJaxpr, arguments: Sequence[Value]) -> list[Value]:
  env: dict[Any, Value] = dict(
    zip(closed.jaxpr.constvars, ((c, False) for c in closed.consts), strict=True)
  )
  env |= zip(closed.jaxpr.invars, arguments, strict=True)

  def read(atom: Any) -> Value:
    return (atom.val, False) if isinstance(atom, core.Literal) else env[atom]

  for eqn in closed.jaxpr.eqns:
    values = [read(atom) for atom in eqn.invars]
    env |= zip(eqn.outvars, _equation(eqn, values), strict=True)
  return [read(atom) for atom in closed.jaxpr.outvars]


def _equation(eqn: core.JaxprEqn, values: Sequence[Value]) -> list[Value]:
  arrays, rows = [x for x, _ in values], [r for _, r in values]
  if any(rows) and eqn.primitive.name in CALLS:
    return _evaluate(eqn.params["jaxpr"], values)

  def run(*arrays: Any) -> list[Any]:
    with eqn.ctx.manager:
      return bind(eqn.primitive, eqn.params, arrays)

  if not any(rows):
    return [(x, False) for x in run(*arrays)]
  is_convolution = eqn.primitive.name == "conv_general_dilated"
  if is_convolution and rows == [True, False] and eqn.params["batch_group_count"] == 1:
    return [(_convolution(run, eqn.params["dimension_numbers"], *arrays), True)]
  axes = [0 if r else None for r in rows]
  return [(x, True) for x in jax.vmap(run, axes)(*arrays)]


def _convolution(
  run: Callable[..., list[Any]], numbers: Any, inputs: jax.Array, kernel: jax.Array
) -> jax.Array:
  """Of inputs `[T, ...]` and one kernel: tasks and batch as one axis, the batch's first."""
  count = len(inputs)
  batch, of_output = numbers.lhs_spec[0], numbers.out_spec[0]
  behind = jnp.moveaxis(inputs, 0, batch + 1)
  shape = behind.shape
  behind = behind.reshape(*shape[:batch], shape[batch] * count, *shape[batch + 2 :])
  (found,) = run(behind, kernel)
  shape = found.shape
  found = found.reshape(*shape[:of_output], -1, count, *shape[of_output + 1 :])
  return jnp.moveaxis(found, of_output + 1, 0)
