"""Gradient sign dropout (GradDrop) where its authors put it: behind a shared representation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl.aggregation.graddrop import check_leak, drop_signs
from jaxmtl.tasks import check_num_tasks


def graddrop_layer(
  representation: jax.Array,
  num_tasks: int,
  key: jax.Array,
  leak: Any = None,
  f: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
  r"""A copy of a representation for each task, whose gradients lose signs on the way back.

  .. math:: s_{ij} = \sum_b \mathrm{sgn}(z_{bj}) \frac{\partial L_i}{\partial z_{bj}}, \quad
            P_j = \frac{1}{2} \Big( 1 + \frac{\sum_i s_{ij}}{\sum_i |s_{ij}|} \Big), \qquad
            \frac{\partial L}{\partial z_{bj}} = \sum_i \big( \ell_i + (1 - \ell_i) M_{ij} \big)
            \frac{\partial L_i}{\partial z_{bj}}

  with `M_ij = 1` where `f(P_j) > U_j` and `s_ij > 0`, or `f(P_j) <= U_j` and `s_ij < 0`, and 0
  elsewhere; U is drawn uniformly from [0, 1) for each feature j, b runs over the batch. One
  backward pass through the shared part serves all tasks: no task gradients are taken.

  Args:
    representation: z, float `[batch, *features]`, what all tasks see.
    num_tasks: T, a static integer.
    key: a random key, another one at each step.
    leak: as of `jaxmtl.graddrop`.
    f: as of `jaxmtl.graddrop`.

  Returns:
    `[T, batch, *features]`, row i for task i; the losses of the tasks are then added, or weighted.

  Raises:
    ValueError: if `leak` has another shape or a value outside of [0, 1].

  Example:
    >>> import jax, jax.numpy as jnp
    >>> import jaxmtl
    >>> def loss(z):  # the tasks agree on the first feature, not on the second
    ...   first, second = jaxmtl.graddrop_layer(z, 2, jax.random.key(0))
    ...   return (first @ jnp.array([1.0, 2.0]) + second @ jnp.array([1.0, -2.0])).sum()
    >>> abs(jax.grad(loss)(jnp.ones((1, 2)))).tolist()
    [[2.0, 2.0]]

  Reference:
    Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout",
    2020, algorithm 1.
  """
  check_num_tasks(num_tasks)
  shares = check_leak(leak, num_tasks)
  draw = jax.random.uniform(key, representation.shape[1:], jnp.float32)
  signs = jnp.sign(representation)

  @jax.custom_vjp
  def copies(z: jax.Array, draw: jax.Array, signs: jax.Array) -> jax.Array:
    return jnp.broadcast_to(z, (num_tasks, *z.shape))

  def forward(z: jax.Array, draw: jax.Array, signs: jax.Array) -> tuple[jax.Array, Any]:
    return copies(z, draw, signs), (draw, signs)

  def backward(kept: Any, cotangents: jax.Array) -> tuple[jax.Array, None, None]:
    draw, signs = kept
    wide = cotangents.astype(jnp.promote_types(cotangents.dtype, jnp.float32))
    sums = (wide * signs).sum(axis=1)
    positive = drop_signs(sums, draw, f)
    passes = jnp.where(positive, sums > 0, sums < 0)
    if shares is not None:
      share = shares.reshape((num_tasks,) + (1,) * (passes.ndim - 1))
      passes = share + (1 - share) * passes
    kept_rows = (wide * passes[:, None]).sum(axis=0)
    return kept_rows.astype(cotangents.dtype), None, None

  copies.defvjp(forward, backward)
  return copies(representation, draw, jax.lax.stop_gradient(signs))
