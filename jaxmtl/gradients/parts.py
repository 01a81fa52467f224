"""Parameters that several tasks see, apart from those of one task each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

PyTree = Any


class Parts(NamedTuple):
  """The leaves of a tree in two lists.

  Attributes:
    shared: those of parameters that several tasks see.
    specific: the others.
    merge: puts such lists together again.
  """

  shared: list[Any]
  specific: list[Any]
  merge: Callable[[list, list], PyTree]


def parts_of(params: PyTree, shared: Callable[[PyTree], PyTree] | None) -> Parts:
  """The leaves where `shared(params)`, a tree of bools, is True, and the others; all where None."""
  leaves, treedef = jax.tree.flatten(params)
  mask = [True] * len(leaves) if shared is None else jax.tree.leaves(shared(params))
  if len(mask) != len(leaves):
    raise ValueError(f"shared returned {len(mask)} bools for {len(leaves)} parameters.")

  def merge(common: list, own: list) -> PyTree:
    both = {True: iter(common), False: iter(own)}
    return jax.tree.unflatten(treedef, [next(both[bool(m)]) for m in mask])

  common = [leaf for leaf, m in zip(leaves, mask, strict=True) if m]
  own = [leaf for leaf, m in zip(leaves, mask, strict=True) if not m]
  return Parts(common, own, merge)
