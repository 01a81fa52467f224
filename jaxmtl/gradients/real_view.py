"""Complex gradients as pairs of real numbers, in which inner products are what descent means.

The inner product of two complex gradients is the real part of <conj(g), h>: that of their real and
imaginary parts side by side.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def as_real(leaf: jax.Array) -> jax.Array:
  """A complex array `[...]` as a real one `[..., 2]`; a real one as it is."""
  return jnp.stack([leaf.real, leaf.imag], axis=-1) if jnp.iscomplexobj(leaf) else leaf


def real_view(tree: PyTree) -> PyTree:
  """`as_real` of every leaf."""
  return jax.tree.map(as_real, tree)


def restore(tree: PyTree, like: PyTree) -> PyTree:
  """A real view back to complex numbers where the leaves of `like` are complex."""

  def join(leaf: jax.Array, original: jax.Array) -> jax.Array:
    if not jnp.iscomplexobj(original):
      return leaf
    return jax.lax.complex(leaf[..., 0], leaf[..., 1]).astype(original.dtype)

  return jax.tree.map(join, tree, like)


def has_complex(tree: PyTree) -> bool:
  """Whether any leaf is complex."""
  return any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(tree))
