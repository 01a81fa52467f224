"""Euclidean projection onto the probability simplex."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def project_on_simplex(values: jax.Array, mask: jax.Array) -> jax.Array:
  r"""The nearest point to `values` with `w >= 0`, `sum(w) = 1` and `w = 0` where not `mask`.

  .. math:: w_i = \max(v_i - \theta, 0), \quad
            \theta = \max_k \frac{1}{k} \Big( \sum_{j \le k} v_{(j)} - 1 \Big)

  with v_(1) >= v_(2) >= ... the values in order: the threshold of the k largest rises while they
  are in the support, and falls after it.

  Args:
    values: float `[T]`.
    mask: bool `[T]`.

  Returns:
    float `[T]`, all zeros where `mask` is.
  """
  # From the largest down, so that the sums keep their digits.
  values = jnp.where(mask, values - jnp.max(values, where=mask, initial=-jnp.inf), -jnp.inf)
  ordered = jnp.sort(values, descending=True)
  threshold = jnp.max((jnp.cumsum(ordered) - 1) / jnp.arange(1, len(values) + 1))
  return jnp.where(mask, jnp.maximum(values - threshold, 0), 0)


def among_present(weights: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
  """A state's simplex weights, scaled to sum to 1 over the tasks with labels, and their sum before.

  Equal weights where that is zero. Times the sum, new weights go back into the state beside those
  of the tasks without labels, which stay.
  """
  share = jnp.sum(weights, where=mask)
  equal = 1 / jnp.maximum(mask.sum(), 1)
  scaled = jnp.where(share > 0, weights / jnp.where(share > 0, share, 1), equal)
  return jnp.where(mask, scaled, 0).astype(weights.dtype), share
