"""One step of any optax optimiser and its exact derivative, for look-ahead parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmtl import guards

PyTree = Any

# Where an optimiser has no derivative at a zero gradient, it is taken beside zero.
_BESIDE_ZERO = 1e-15


class LookAhead(NamedTuple):
  """Where one optimiser step leads.

  Attributes:
    params: the look-ahead parameters.
    state: the optimiser's state there.
    pullback: `(params cotangent, state cotangent or None) -> (gradient cotangent, state cotangent,
      params cotangent)`, transposed derivative of the step; cotangents of a state are lists with
      one entry a floating-point leaf.
  """

  params: PyTree
  state: PyTree
  pullback: Callable[[PyTree, list[jax.Array] | None], tuple[PyTree, list[jax.Array], PyTree]]


def take_step(
  optimizer: optax.GradientTransformation,
  gradient: PyTree,
  state: PyTree,
  params: PyTree,
  *,
  defined_at_zero: bool = True,
) -> LookAhead:
  """Takes one optimiser step that can be differentiated.

  Args:
    optimizer: an optax transform.
    gradient: of the loss at `params`.
    state: the optimiser's.
    params: where the step starts.
    defined_at_zero: whether the optimiser has a derivative at a zero gradient; see
      `defined_at_zero`. If not, entries of the gradient that are zero get a zero derivative.

  Returns:
    The `LookAhead`.
  """

  def move(gradient: PyTree, floating: list[jax.Array], params: PyTree) -> Any:
    updates, new_state = optimizer.update(gradient, _with_floating(state, floating), params)
    return (guards.apply_updates(params, updates), _floating(new_state)), new_state

  def differentiate(gradient: PyTree) -> Any:
    return jax.vjp(move, gradient, _floating(state), params, has_aux=True)

  (new_params, new_floating), transposed, new_state = differentiate(gradient)
  if not defined_at_zero:
    # Only the derivative: the step itself stays the optimiser's.
    transposed = differentiate(
      jax.tree.map(lambda g: jnp.where(g == 0, jnp.asarray(_BESIDE_ZERO, g.dtype), g), gradient)
    )[1]

  def pullback(params_bar: PyTree, state_bar: list[jax.Array] | None) -> Any:
    if state_bar is None:
      state_bar = jax.tree.map(jnp.zeros_like, new_floating)
    gradient_bar, floating_bar, direct_bar = transposed((params_bar, state_bar))
    if not defined_at_zero:
      gradient_bar = jax.tree.map(lambda c, g: jnp.where(g == 0, 0, c), gradient_bar, gradient)
    return gradient_bar, floating_bar, direct_bar

  return LookAhead(new_params, new_state, pullback)


def defined_at_zero(optimizer: optax.GradientTransformation, params: PyTree) -> bool:
  """Whether the optimiser's step has a finite derivative where a gradient's entry is zero.

  Adam's has none unless its `eps_root` is positive: the square root of a zero second moment. It is
  tried out on parameters of two entries each, before anything is compiled, and a warning names the
  mend. One with options that are known only at run time cannot be tried out and counts as defined.
  """
  leaves, treedef = jax.tree.flatten(params)
  with jax.ensure_compile_time_eval():
    # Not all entries zero: where the whole gradient is, its norm has no derivative either.
    small, gradient = [], []
    for i, leaf in enumerate(leaves):
      shape = (1,) * (jnp.ndim(leaf) - 1) + (2,) if jnp.ndim(leaf) else ()
      small.append(jnp.zeros(shape, jnp.result_type(leaf)))
      gradient.append(small[-1] + jnp.asarray(np.arange(2) if shape else i > 0, small[-1].dtype))
    point, zero_in = (jax.tree.unflatten(treedef, x) for x in (small, gradient))
    try:
      step = take_step(optimizer, zero_in, optimizer.init(point), point)
    except guards.NoTaskGradients as error:
      raise ValueError(
        "the optimizer of a look-ahead step takes one gradient, but an aggregator or a weighting "
        "is in this one; give the optimizer that follows them, with its own state, for example "
        "state[-1] of jaxmtl.chain(aggregator, optimizer)."
      ) from error
    derivative = step.pullback(jax.tree.map(jnp.ones_like, point), None)[0]
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(derivative)]
  if any(guards.is_traced(leaf) for leaf in finite) or np.all(finite):
    return True
  warnings.warn(
    "optimizer has no derivative where a gradient's entry is zero (Adam with eps_root=0 has none), "
    "so hypergradients through it would be NaN. Such entries are taken to have a zero derivative; "
    "set eps_root, for example optax.adam(learning_rate, eps_root=1e-8), to have a defined one.",
    stacklevel=3,
  )
  return False


def _floating(state: PyTree) -> list[jax.Array]:
  return [leaf for leaf in jax.tree.leaves(state) if _is_floating(leaf)]


def _with_floating(state: PyTree, floating: list[jax.Array]) -> PyTree:
  leaves, treedef = jax.tree.flatten(state)
  replaced = iter(floating)
  return jax.tree.unflatten(treedef, [next(replaced) if _is_floating(x) else x for x in leaves])


def _is_floating(leaf: Any) -> bool:
  return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
