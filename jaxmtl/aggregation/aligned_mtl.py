"""Aligned-MTL: task gradients made orthogonal and equally long before they are combined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxmtl.aggregation.base import GramianAggregator, gramian_aggregator, preferred_weights
from jaxmtl.aggregation.spectrum import spectrum

_SCALES = ("min", "median", "rmse")


def aligned_mtl(
  num_tasks: int,
  scale: Literal["min", "median", "rmse"] = "min",
  preference: Sequence[float] | jax.Array | None = None,
) -> GramianAggregator:
  r"""Combines the gradients after all singular values of their matrix became one.

  .. math:: G = V \Lambda V^\top, \qquad a = \sqrt{\sigma}\, V \Lambda^{-1/2} V^\top w, \qquad
            g = \sum_t a_t g_t

  over the eigenvalues of the Gramian that are not zero up to round-off (T eps times the largest:
  in float32, gradients a thousand times shorter than the longest are lost), with sigma chosen from
  them. The update is sqrt(sigma) long at most, for |w| = 1. One task is the identity, times its
  preference. Gradients that are all zero keep the weights w. Tasks without labels count neither in
  the spectrum nor in the T of 1/T.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    scale: sigma is the smallest eigenvalue (`"min"`), their median, the lower one of an even
      number (`"median"`), or their mean (`"rmse"`).
    preference: w, T numbers, not negative and not all zero; 1/T each where None.

  Returns:
    A `GramianAggregator` without state.

  Raises:
    ValueError: if the scale is unknown or the preference is not as above.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.aligned_mtl(2)
    >>> grads = jnp.array([[8.0, 0.0], [0.0, 2.0]])
    >>> grad, _ = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(float(g), 3) for g in grad]
    [1.0, 1.0]

  Reference:
    Senushkin et al., "Independent Component Alignment for Multi-Task Learning", 2023, section 4.
  """
  if scale not in _SCALES:
    raise ValueError(f"scale must be one of {_SCALES}, got {scale!r}.")
  wanted = preferred_weights(num_tasks, preference)

  def weigh(gramian: jax.Array, state: Any, *, losses: Any, mask: jax.Array) -> Any:
    del losses
    weights = wanted(mask, gramian.dtype)
    decomposed = spectrum(gramian)
    values, rank = decomposed.values, decomposed.rank
    if scale == "rmse":
      sigma = jnp.sum(jnp.where(decomposed.kept, values, 0)) / jnp.maximum(rank, 1)
    else:  # those that count are the last of the ascending values
      place = jnp.maximum(rank - 1, 0) // 2 if scale == "median" else 0
      sigma = values[jnp.minimum(num_tasks - rank + place, num_tasks - 1)]
    aligned = jnp.sqrt(jnp.maximum(sigma, 0)) * decomposed.times(weights, -0.5)
    return jnp.where(rank > 0, aligned, weights), state

  return gramian_aggregator(num_tasks, weigh)
