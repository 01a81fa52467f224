"""The norm of a loss's gradient for a head's parameters, as a function of the features."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
_EXACT = jax.lax.Precision.HIGHEST


def linear_norms(
  variables: Mapping[str, Any], features: jax.Array, loss: Callable[[jax.Array], jax.Array]
) -> jax.Array:
  """Norms `[d]` of d linear heads: with features F and residuals R, the gradient is F^T R.

  R is the derivative of the loss for the outputs, (p - y) / B under cross-entropy. Where the
  features are long and the classes many, ||F^T R||^2 = sum (F F^T) * (R R^T) costs less.
  """
  kernel, bias = variables["params"]["kernel"], variables["params"].get("bias")
  count, length, classes = kernel.shape
  x = features.reshape(-1, length)
  outputs = jnp.einsum("nk,dkc->dnc", x, kernel)
  outputs = outputs if bias is None else outputs + bias[:, None]
  by_head = outputs.reshape(count, *features.shape[:-1], classes)
  residuals = jax.vmap(jax.grad(loss))(by_head).reshape(outputs.shape)
  if len(x) * (length + count * classes) >= length * count * classes:
    grads = [jnp.einsum("nk,dnc->dkc", x, residuals, precision=_EXACT)]
    return jax.vmap(safe_norm)(grads if bias is None else [*grads, residuals.sum(axis=1)])
  products = jnp.matmul(x, x.T, precision=_EXACT)
  # The gradient of the bias is that of a feature that is always 1.
  products = products if bias is None else products + 1
  largest = _largest([residuals], axis=(1, 2))
  scaled = residuals / largest[:, None, None]
  mixed = jnp.einsum("nm,dmc->dnc", products, scaled, precision=_EXACT)
  return largest * _root((mixed * scaled).sum((1, 2)))


def autodiff_norm(
  head: Any, variables: Mapping[str, Any], features: PyTree, loss: Callable[[PyTree], jax.Array]
) -> jax.Array:
  """The norm of one head of any architecture."""
  of_params, params = _loss_of_params(head, variables, loss)
  return safe_norm(jax.grad(of_params)(params, features))


def finite_difference_norm(
  head: Any,
  variables: Mapping[str, Any],
  features: PyTree,
  loss: Callable[[PyTree], jax.Array],
  epsilon: float,
) -> jax.Array:
  """The same value, and as its derivative that of the loss along the gradient, by differences."""
  of_params, params = _loss_of_params(head, variables, loss)
  grads = jax.lax.stop_gradient(jax.grad(of_params)(params, features))
  norm = safe_norm(grads)
  length = epsilon / jnp.where(norm > 0, norm, 1)

  def moved(sign: int) -> jax.Array:
    return of_params(jax.tree.map(lambda p, g: p + sign * length * g, params, grads), features)

  slope = jnp.where(norm > 0, (moved(1) - moved(-1)) / (2 * epsilon), 0)
  return norm + slope - jax.lax.stop_gradient(slope)


def is_linear(head: Any) -> bool:
  """Whether a head is a dense layer and nothing more."""
  linen = sys.modules.get("flax.linen")  # without Flax there is no Dense layer of it
  if linen is None or type(head) is not linen.Dense:
    return False
  return head.dot_general is None and head.dot_general_cls is None


def safe_norm(tree: PyTree) -> jax.Array:
  """The Frobenius norm over all leaves, in float32 or wider; its derivative at zero is zero."""
  leaves = [x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in jax.tree.leaves(tree)]
  largest = _largest(leaves)
  return largest * _root(sum(jnp.sum(jnp.square(x / largest)) for x in leaves))


def _largest(leaves: list[jax.Array], axis: tuple[int, ...] | None = None) -> jax.Array:
  """The largest size, or 1 where all are zero: squares then neither vanish nor overflow."""
  sizes = [jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axis=axis) for x in leaves]
  largest = sizes[0]
  for size in sizes[1:]:
    largest = jnp.maximum(largest, size)
  return jnp.where(largest == 0, 1, largest)


def _root(square: Any) -> jax.Array:
  """The root; the inner condition keeps its derivative at zero finite."""
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0 * square)


def _loss_of_params(
  head: Any, variables: Mapping[str, Any], loss: Callable[[PyTree], jax.Array]
) -> tuple[Callable[[PyTree, PyTree], jax.Array], PyTree]:
  """`(params, features) -> loss`, other variables (batch statistics) held."""

  def of_params(params: PyTree, features: PyTree) -> jax.Array:
    return loss(head.apply({**variables, "params": params}, features))

  return of_params, variables["params"]
