"""Random keys of methods, and in files."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def method_key(method: str, key: Any) -> jax.Array:
  """The key of a method's own draws.

  Two methods of one chain that start from the same number draw apart.

  Args:
    method: its name.
    key: an int, or a random key, of the new kind or the old; it may be traced, so that
      `jax.vmap` over keys gives every run draws of its own.

  Raises:
    ValueError: if it is neither.
  """
  if jnp.ndim(key) == 0 and jnp.issubdtype(jnp.result_type(key), jnp.integer):
    key = jax.random.key(key)
  elif not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
    key = jax.random.wrap_key_data(key)
  if key.shape:
    raise ValueError(f"key must be one random key or an int, got shape {key.shape}.")
  return jax.random.fold_in(key, zlib.crc32(method.encode()))


def unwrap_keys(state: PyTree) -> PyTree:
  """A state with its random keys as integers, for files and libraries that take plain arrays only.

  Args:
    state: any pytree, such as a chain's state.

  Returns:
    The same tree with an array of `jax.random.key_data` in the place of each key.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> import jaxmtl
    >>> jaxmtl.unwrap_keys({"key": jax.random.key(3), "step": jnp.array(1)})["key"].tolist()
    [0, 3]
  """
  return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, state)


def wrap_keys(state: PyTree, like: PyTree) -> PyTree:
  """The inverse of `unwrap_keys`.

  Args:
    state: a tree without keys, as it was read.
    like: a state with keys in their places, such as a fresh one.

  Returns:
    `state` with keys where `like` has some, of the same kind.

  Example:
    >>> import jax
    >>> import jaxmtl
    >>> state = {"key": jax.random.key(3)}
    >>> jaxmtl.wrap_keys(jaxmtl.unwrap_keys(state), state)["key"] == state["key"]
    Array(True, dtype=bool)
  """

  def wrap(leaf: Any, like: Any) -> Any:
    return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(like)) if is_key(like) else leaf

  return jax.tree.map(wrap, state, like)


def is_key(leaf: Any) -> bool:
  """Whether a leaf holds random keys of the new kind."""
  return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
