"""A mapped axis of devices, as `axis_name` of `jax.pmap` or `jax.shard_map` says, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PyTree = Any


class Devices(NamedTuple):
  """What differs by device, and what is averaged; nothing where there is no axis."""

  axis_name: str | None

  def own_key(self, key: jax.Array) -> jax.Array:
    """A key for each device."""
    if self.axis_name is None:
      return key
    return jax.random.fold_in(key, jax.lax.axis_index(self.axis_name))

  def mean(self, tree: PyTree) -> PyTree:
    """The mean over devices."""
    return tree if self.axis_name is None else jax.lax.pmean(tree, self.axis_name)

  def any(self, mask: Any) -> Any:
    """Which tasks have labels on any device; None stays."""
    if mask is None or self.axis_name is None:
      return mask
    return jax.lax.pmax(jnp.asarray(mask, jnp.int32), self.axis_name) > 0

  def average(self, pullback: Callable[[jax.Array], PyTree]) -> Callable[[jax.Array], PyTree]:
    """A pullback whose gradients are means over devices."""
    return lambda cotangent: self.mean(pullback(self.vary(cotangent)))

  def vary(self, tree: PyTree) -> PyTree:
    """Marks replicated values as differing by device, which they do under differentiation.

    Otherwise `jax.shard_map` sums their gradients over the devices by itself, `jax.pmap` does not,
    and the one average that follows would be right for only one of them.
    """
    if self.axis_name is None:
      return tree
    # A zero that differs by device as far as types go. `jax.lax.pcast` would say it plainly, but
    # refuses values that differ already, as all do under `jax.pmap`.
    zero = 0 * jax.lax.axis_index(self.axis_name)
    return jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype), tree)
