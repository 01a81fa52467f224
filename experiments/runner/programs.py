"""Compiled programs, shared by what differs in its data or names alone."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.memory import check_memory
from experiments.runner.mesh import Layout

PyTree = Any


class Programs:
  """The last few compiled programs, found again by their text.

  Networks of tasks with as many classes are one program, and so are one network on other labels.
  """

  most = 12

  def __init__(self, layout: Layout):
    """Has compiled nothing yet, for these devices."""
    self._layout = layout
    self._found: dict[str, Any] = {}
    self.needed = 0.0  # bytes of a device's memory, of the program that was compiled last

  def compile(
    self,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    outputs: Any = (),
    *,
    donate: bool = False,
    options: dict[str, Any] | None = None,
  ) -> Callable[..., Any]:
    """Compiles a function for arguments like these.

    Args:
      function: of pytrees; it gives one, or a tuple of as many as `outputs` lists.
      args: arrays, whose shapes and, on a mesh, places count.
      outputs: as of `Layout.jit`: where the results lie.
      donate: whether the first argument's memory is used for the results.
      options: of the compiler.

    Returns:
      The compiled function, of such arguments.

    Raises:
      MemoryError: if it needs more memory than the device has.
    """
    given = jax.tree.structure(args)
    several = isinstance(outputs, list)
    made: list[Any] = []

    # Without names, what differs in them alone is the same text.
    def unnamed(*args: list[Any]) -> Any:
      found = function(*jax.tree.unflatten(given, [leaf for arg in args for leaf in arg]))
      found = found if several else (found,)
      made.append([jax.tree.structure(tree) for tree in found])
      leaves = tuple(jax.tree.leaves(tree) for tree in found)
      return leaves if several else leaves[0]

    def shape(leaf: Any) -> Any:
      # Arrays of a checkpoint name their device, which would make it another program.
      return leaf if self._layout.mesh else jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype)

    # Arguments that are not used stay: which ones these are would not be in the text.
    jitted = self._layout.jit(
      unnamed,
      outputs,
      donate_argnums=0 if donate else (),
      keep_unused=True,
      compiler_options=options,
    )
    lowered = jitted.lower(*(list(map(shape, jax.tree.leaves(arg))) for arg in args))
    compiled, (forms,) = self._compiled(lowered, options), made
    self.needed = check_memory(compiled)

    def call(*args: Any) -> Any:
      found = compiled(*(jax.tree.leaves(arg) for arg in args))
      found = found if several else (found,)
      trees = tuple(jax.tree.unflatten(f, leaves) for f, leaves in zip(forms, found, strict=True))
      return trees if several else trees[0]

    return call

  def jit(self, function: Callable[..., Any], outputs: Any = ()) -> Callable[..., Any]:
    """`jax.jit` of a function whose results lie everywhere, compiled once a shape."""
    if self._layout.mesh is not None:
      return self._layout.jit(function, outputs)
    made: dict[Any, Callable[..., Any]] = {}

    def call(*args: Any) -> Any:
      leaves, form = jax.tree.flatten(args)
      key = form, tuple((np.shape(leaf), leaf.dtype) for leaf in leaves)
      if key not in made:
        made[key] = self.compile(function, args, outputs)
      return made[key](*args)

    return call

  def _compiled(self, lowered: Any, options: Any) -> Any:
    """The program, compiled unless one of the same text was lately."""
    if not _text_tells_constants():
      return lowered.compile()
    text = hashlib.sha256(f"{options}{lowered.as_text()}".encode()).hexdigest()
    compiled = self._found.pop(text, None) or lowered.compile()
    self._found[text] = compiled
    while len(self._found) > self.most:
      del self._found[next(iter(self._found))]
    return compiled


@functools.cache
def _text_tells_constants() -> bool:
  """Whether arrays that a function closes over are in its text; JAX may pass them beside it."""
  shape = jax.ShapeDtypeStruct((4096,), jnp.float32)

  def text(constant: jax.Array) -> str:
    return jax.jit(lambda x: x + constant).lower(shape).as_text()

  return text(jnp.arange(4096.0)) != text(jnp.arange(4096.0) ** 2)
