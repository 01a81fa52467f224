"""Whether a network's numbers are finite."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.training.state import TrainState

PyTree = Any


def not_finite(state: PyTree) -> list[str]:
  """Paths of arrays that are not finite: parameters and models' states, not what methods remember.

  Args:
    state: a `TrainState`, or several in any structure; where there is none in it, all arrays count.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.training.finite import not_finite
    >>> not_finite({"a": jnp.array([1.0, jnp.inf]), "b": jnp.array(2)})
    ['a']
  """
  return [
    jax.tree_util.keystr(path, simple=True, separator="/") or "all"
    for path, leaf in jax.tree_util.tree_leaves_with_path(_network(state))
    if not _finite(leaf)
  ]


def _network(state: PyTree) -> PyTree:
  """What a network consists of, in the place of each `TrainState`."""
  parts, form = jax.tree.flatten(state, is_leaf=_is_state)
  if not any(map(_is_state, parts)):
    return state
  # A bound of a schedule, or a best loss so far, may well be infinite.
  kept = [{"params": p.params, "model_state": p.model_state} if _is_state(p) else () for p in parts]
  return jax.tree.unflatten(form, kept)


def _is_state(part: Any) -> bool:
  return isinstance(part, TrainState)


def _finite(leaf: Any) -> bool:
  if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
    return True
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    return bool(_finite_on_devices(leaf))
  return bool(np.isfinite(np.asarray(leaf)).all())


@jax.jit
def _finite_on_devices(leaf: jax.Array) -> jax.Array:
  return jnp.isfinite(leaf).all()
