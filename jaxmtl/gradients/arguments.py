"""Which arguments of a function are differentiated, and as what."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.gradients.losses import stack_losses

PyTree = Any


class Arguments(NamedTuple):
  """The positions of shared and of task-specific parameters among a function's arguments.

  Attributes:
    shared: they get task gradients.
    specific: they get one gradient.
  """

  shared: int | tuple[int, ...]
  specific: int | tuple[int, ...] | None = None

  def check(self) -> Arguments:
    """Itself, or a clear error where a position stands in both."""
    if both := set(_as_tuple(self.shared)) & set(_as_tuple(self.specific)):
      raise ValueError(
        f"argument {min(both)} is in argnums and in specific_argnums; a parameter is either shared "
        "(stacked task gradients) or task-specific (one gradient), so name it once."
      )
    return self

  def split(self, args: tuple[Any, ...]) -> tuple[tuple[PyTree, ...], tuple[PyTree, ...]]:
    """The shared and the task-specific ones of some arguments, checked."""

    def take(positions: tuple[int, ...]) -> tuple[PyTree, ...]:
      return tuple(_differentiable(args, position) for position in positions)

    return take(_as_tuple(self.shared)), take(_as_tuple(self.specific))

  def on_primals(
    self, losses_fn: Callable[..., Any], has_aux: bool, args: tuple[Any, ...], kwargs: Any
  ) -> Callable[[tuple[PyTree, ...], tuple[PyTree, ...]], tuple[jax.Array, Any]]:
    """The function as one of these parameters: `(shared, specific) -> (losses [T], aux)`."""

    def call(shared: tuple[PyTree, ...], specific: tuple[PyTree, ...]) -> tuple[jax.Array, Any]:
      full = list(args)
      for i, value in zip(_as_tuple(self.shared), shared, strict=True):
        full[i] = value
      for i, value in zip(_as_tuple(self.specific), specific, strict=True):
        full[i] = value
      out = losses_fn(*full, **kwargs)
      if has_aux and (not isinstance(out, (tuple, list)) or len(out) != 2):
        raise ValueError(
          "losses_fn must return a pair (losses, aux) with has_aux=True, got "
          f"{type(out).__name__}; return a pair, or leave has_aux out."
        )
      losses, aux = out if has_aux else (out, None)
      return stack_losses(losses), aux

    return call

  def unwrap(
    self, shared: tuple[PyTree, ...], specific: tuple[PyTree, ...] | None = None
  ) -> PyTree:
    """Gradients in the form in which the positions were given."""
    grads = shared[0] if isinstance(self.shared, int) else shared
    if self.specific is None or specific is None:
      return grads
    return grads, specific[0] if isinstance(self.specific, int) else specific


def check_chunk_size(chunk_size: int | None) -> None:
  """Raises unless it is None or positive."""
  if chunk_size is not None and chunk_size < 1:
    raise ValueError(f"chunk_size must be at least 1 or None, got {chunk_size}.")


def _as_tuple(positions: int | tuple[int, ...] | None) -> tuple[int, ...]:
  if positions is None:
    return ()
  return (positions,) if isinstance(positions, int) else tuple(positions)


def _differentiable(args: tuple[Any, ...], position: int) -> PyTree:
  """The argument at a position, or a clear error where it cannot be differentiated."""
  if not -len(args) <= position < len(args):
    raise ValueError(
      f"argnums names argument {position}, but losses_fn was called with {len(args)} positional "
      "argument(s); pass the parameters by position."
    )
  argument = args[position]
  nnx = sys.modules.get("flax.nnx")
  if nnx is not None and any(
    isinstance(node, nnx.Module)
    for node in jax.tree.leaves(argument, is_leaf=lambda node: isinstance(node, nnx.Module))
  ):
    raise ValueError(
      f"argument {position} is a flax.nnx.Module: its batch statistics and dropout keys would not "
      "move. Use jaxmtl.nnx.task_value_and_grad or jaxmtl.nnx.task_gramian, which take modules."
    )
  for path, leaf in jax.tree_util.tree_leaves_with_path(argument):
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.inexact):
      raise TypeError(
        f"argument {position}{jax.tree_util.keystr(path)} has dtype {dtype}, which has no "
        "gradient; keep such leaves out of the parameters, for example as another argument or "
        "closed over."
      )
  return argument
