"""How much task gradients conflict, from their Gramian alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxmtl.gradients.inner_products import reciprocal


def cosine_matrix(gramian: jax.Array) -> jax.Array:
  r"""Cosines of the angles between the task gradients.

  .. math:: \cos \phi_{ij} = \frac{\langle g_i, g_j \rangle}{\|g_i\| \|g_j\|}

  Args:
    gramian: inner products `[T, T]`, up to a positive factor.

  Returns:
    `[T, T]` in [-1, 1]; 0 where a gradient is zero.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> jaxmtl.cosine_matrix(jnp.array([[4.0, -1.0], [-1.0, 1.0]])).tolist()
    [[1.0, -0.5], [-0.5, 1.0]]

  Reference:
    Yu et al., "Gradient Surgery for Multi-Task Learning", 2020, definition 1.
  """
  norms = jnp.sqrt(jnp.diagonal(gramian))
  # One norm after the other: the product of two tiny norms underflows before the quotient does.
  inverse = reciprocal(norms)
  return jnp.clip(gramian * inverse[:, None] * inverse[None, :], -1, 1)


def magnitude_similarity(gramian: jax.Array) -> jax.Array:
  r"""How alike the norms of the task gradients are.

  .. math:: \Phi_{ij} = \frac{2 \|g_i\| \|g_j\|}{\|g_i\|^2 + \|g_j\|^2}

  Args:
    gramian: inner products `[T, T]`, up to a positive factor.

  Returns:
    `[T, T]` in [0, 1], 1 for equal norms; 0 where a gradient is zero.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> jaxmtl.magnitude_similarity(jnp.array([[4.0, 0.0], [0.0, 1.0]])).round(3).tolist()
    [[1.0, 0.800000011920929], [0.800000011920929, 1.0]]

  Reference:
    Yu et al., "Gradient Surgery for Multi-Task Learning", 2020, definition 2.
  """
  norms = jnp.sqrt(jnp.diagonal(gramian))
  larger = jnp.maximum(norms[:, None], norms[None, :])
  ratio = jnp.minimum(norms[:, None], norms[None, :]) / jnp.where(larger > 0, larger, 1)
  return 2 * ratio / (1 + ratio**2)


def curvature_bound(gramian: jax.Array) -> jax.Array:
  r"""The multi-task curvature bounding measure.

  .. math:: \xi_{ij} = (1 - \cos^2 \phi_{ij}) \frac{\|g_i - g_j\|^2}{\|g_i + g_j\|^2}

  Where the losses curve more than this along the gradients, projecting conflicts away is proved to
  beat the plain gradient.

  Args:
    gramian: inner products `[T, T]`, up to a positive factor.

  Returns:
    `[T, T]`, at least 0; 0 where a gradient is zero, and on the diagonal.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> jaxmtl.curvature_bound(jnp.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]

  Reference:
    Yu et al., "Gradient Surgery for Multi-Task Learning", 2020, definition 3 and theorem 2.
  """
  cosine, similarity = cosine_matrix(gramian), magnitude_similarity(gramian)
  # Both squares over the sum of the squared norms, which extreme scales leave in range.
  difference, total = 1 - similarity * cosine, 1 + similarity * cosine
  sine = (1 - cosine) * (1 + cosine)
  # Opposite gradients of one norm: sine and total vanish alike, and the measure has the limit 4.
  opposite = total <= 4 * jnp.finfo(total.dtype).eps
  bound = sine * difference / jnp.where(opposite, 1, total)
  bound = jnp.where(opposite, 4, bound)
  known = jnp.diagonal(gramian) > 0
  return jnp.where(known[:, None] & known[None, :], bound, 0)


def conflict_metrics(gramian: jax.Array, scale: jax.Array) -> dict[str, jax.Array]:
  """What a train step reports of task gradients with the Gramian `scale**2 * gramian`."""
  return {
    "task_gradient_norms": scale * jnp.sqrt(jnp.diagonal(gramian)),
    "cosine": cosine_matrix(gramian),
    "magnitude_similarity": magnitude_similarity(gramian),
    "curvature_bound": curvature_bound(gramian),
  }
