"""States of whole training steps in `jax.export`."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax import export

PyTree = Any

__all__ = ["register"]


def register(*trees: PyTree) -> None:
  """Makes the types of states known to `jax.export`, so that a step with them can be serialised.

  `jax.export` writes the structure of a function's arguments and results; it knows tuples, lists
  and dicts. This registers the named tuples and dataclasses found in some trees (states of optax
  and of this library, a train step's `TrainState`) under their import paths. Call it with the same
  states where the step is read, or with results of `jax.eval_shape(tx.init, params)`. Then
  `exported.serialize()` and `jax.export.deserialize(...)` work, which need the package flatbuffers.

  Args:
    *trees: states, or anything with the same structure.

  Raises:
    TypeError: for a node of another type, or a dataclass with fields that are no part of the tree
      (Flax's `TrainState` has functions): export a function of its arrays instead.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx, params = jaxmtl.chain(jaxmtl.mgda(2), optax.adam(0.1)), jnp.zeros(2)
    >>> state = tx.init(params)
    >>> jaxmtl.export.register(state)
    >>> exported = jax.export.export(jax.jit(tx.update))(jnp.eye(2), state, params)
    >>> updates, state = exported.call(jnp.eye(2), state, params)
    >>> updates.shape
    (2,)
  """
  for tree in trees:
    structure: Any = jax.tree.structure(tree)
    data = structure.node_data()
    if data is None:
      continue
    kind, auxiliary = data
    if kind not in (tuple, list, dict, type(None)):
      _register_type(kind, auxiliary)
    register(*_children(tree))


def _children(tree: PyTree) -> list[PyTree]:
  return jax.tree.leaves(tree, is_leaf=lambda node: node is not tree)


def _register_type(kind: type, auxiliary: Any) -> None:
  """Registers a type of nodes, unless it is."""
  name = f"{kind.__module__}.{kind.__qualname__}"
  try:
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
      export.register_namedtuple_serialization(kind, serialized_name=name)
    elif dataclasses.is_dataclass(kind) and not auxiliary:
      empty = type(auxiliary)
      export.register_pytree_node_serialization(
        kind,
        serialized_name=name,
        serialize_auxdata=lambda _: b"()",
        deserialize_auxdata=lambda _: empty(),
      )
    else:
      raise TypeError(
        f"{name} is no named tuple and no dataclass of arrays alone, so that jax.export cannot be "
        "told how to write it; export a function of its arrays, or register the type yourself."
      )
  except ValueError as error:
    if "Duplicate serialization registration for type" not in str(error):
      raise
