"""Projecting conflicting gradients (PCGrad)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl._keys import method_key
from jaxmtl.aggregation.base import GramianAggregator, gramian_aggregator
from jaxmtl.gradients.inner_products import reciprocal


class PCGradState(NamedTuple):
  """The random key, split at every update."""

  key: jax.Array


def pcgrad(num_tasks: int, key: jax.Array | int = 0) -> GramianAggregator:
  r"""Each task gradient without its components against the others, summed.

  .. math:: c_i \leftarrow c_i - \frac{\min(0, \langle c_i, g_j \rangle)}{\|g_j\|^2} g_j
            \quad \text{for } j \ne i \text{ in a random order}, \qquad g = \sum_i c_i

  from c_i = g_i. Every c_i is a combination of the task gradients, so the projections run on the
  T x T coefficients and need the Gramian only. One task is the identity. A task without labels has
  a zero gradient and changes nothing.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    key: an int or a random key, from which the orders are drawn; one each where seeds are vmapped.

  Returns:
    A `GramianAggregator` with a `PCGradState`.

  Raises:
    ValueError: if `num_tasks` is not a positive integer.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.pcgrad(2)
    >>> grads = jnp.array([[1.0, 0.0], [-1.0, 1.0]])
    >>> aggregator.update(grads, aggregator.init(jnp.zeros(2)))[0].tolist()
    [0.5, 1.5]

  Reference:
    Yu et al., "Gradient Surgery for Multi-Task Learning", 2020, algorithm 1.
  """

  def init(params: Any) -> PCGradState:
    del params
    return PCGradState(method_key("pcgrad", key))

  def weigh(
    gramian: jax.Array, state: PCGradState, *, losses: jax.Array | None, mask: jax.Array
  ) -> tuple[jax.Array, PCGradState]:
    del losses
    key, use = jax.random.split(state.key)
    orders = draw_orders(use, num_tasks)
    squares = jnp.diagonal(gramian)
    inverse = reciprocal(squares)

    def project(position: jax.Array, coefficients: jax.Array) -> jax.Array:
      others = orders[:, position]  # the j of every task i
      inner = jnp.sum(coefficients * gramian[others], axis=1)
      against = (others != jnp.arange(num_tasks)) & (inner < 0)
      step = jnp.where(against, inner * inverse[others], 0)
      return coefficients - step[:, None] * jax.nn.one_hot(others, num_tasks, dtype=gramian.dtype)

    identity = jnp.diag(mask.astype(gramian.dtype))
    coefficients = jax.lax.fori_loop(0, num_tasks, project, identity)
    return coefficients.sum(axis=0), PCGradState(key)

  return gramian_aggregator(num_tasks, weigh, init)


def draw_orders(key: jax.Array, num_tasks: int) -> jax.Array:
  """For every task an order of all tasks, int32 `[T, T]`.

  Words of random bits with the task's number in the lowest ones are sorted: a sixth of the time of
  `jax.random.permutation` at a thousand tasks, where its other bits are equal for two tasks once in
  4 million pairs.
  """
  number = jnp.uint32((1 << int(num_tasks - 1).bit_length()) - 1)
  bits = jax.random.bits(key, (num_tasks, num_tasks), jnp.uint32)
  words = jnp.sort((bits & ~number) | jnp.arange(num_tasks, dtype=jnp.uint32), axis=1)
  return (words & number).astype(jnp.int32)
