"""Random keys of methods."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import jax.numpy as jnp


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
