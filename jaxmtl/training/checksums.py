"""What a state is on disk: the kind, shape and checksum of each of its arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any
_AT_ONCE = 2**20  # numbers, so that large arrays need no copy of their own size


def described(state: PyTree, *, sums: bool = True) -> dict[str, list[Any]]:
  """Dtype, shape and, where wanted, checksum of every leaf, by its path.

  Args:
    state: arrays of any kind, without random keys; those spread over several processes too, all of
      which must call this.
    sums: whether to look at the numbers.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.training.checksums import described
    >>> described({"w": jnp.array([1, 2], jnp.int32)})
    {'w': ['int32', [2], 7]}
  """
  found = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    kind = jnp.result_type(leaf) if np.ndim(leaf) == 0 else leaf.dtype
    found[name] = [str(kind), list(np.shape(leaf)), *([checksum(leaf)] if sums else [])]
  return found


def checksum(leaf: Any) -> int:
  """A sum of an array's bits that any change of one byte changes; the same wherever it lies."""
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    return int(_on_devices(leaf))
  leaf = np.asarray(leaf)
  words = np.ascontiguousarray(leaf).reshape(-1).view(_word(leaf.dtype.itemsize))
  total = 0
  for first in range(0, len(words), _AT_ONCE):
    part = words[first : first + _AT_ONCE].astype(np.uint32)
    odd = np.arange(2 * first + 1, 2 * (first + len(part)), 2, dtype=np.int64).astype(np.uint32)
    total += int(np.sum(part * odd, dtype=np.uint64))
  return total % 2**32


@jax.jit
def _on_devices(leaf: jax.Array) -> jax.Array:
  """The same of an array that no process has as a whole."""
  if jnp.iscomplexobj(leaf):
    leaf = jnp.stack([leaf.real, leaf.imag], -1)
  leaf = leaf.astype(jnp.uint8) if leaf.dtype == jnp.bool_ else leaf
  words = jax.lax.bitcast_convert_type(leaf, _word(leaf.dtype.itemsize)).reshape(-1)
  odd = 2 * jax.lax.iota(jnp.uint32, words.size) + 1
  return jnp.sum(words.astype(jnp.uint32) * odd, dtype=jnp.uint32)


def _word(itemsize: int) -> Any:
  return {1: np.uint8, 2: np.uint16}.get(itemsize, np.uint32)
