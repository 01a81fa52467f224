"""MetaBalance: auxiliary gradients brought to the main task's magnitude, tensor by tensor."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator, by_parameter, elementwise_aggregator
from jaxmtl.gradients.inner_products import row_norms
from jaxmtl.tasks import check_num_tasks, task_index


class MetaBalanceState(NamedTuple):
  """For every parameter tensor the moving mean of its T gradient norms, float32 `[T]`."""

  norms: Any


def metabalance(
  num_tasks: int,
  beta: float = 0.9,
  relax: float = 0.7,
  strategy: Literal["A", "B", "C"] = "C",
  main: int | str | jax.Array = 0,
) -> Aggregator:
  r"""Scales each auxiliary gradient towards the main task's magnitude, then sums.

  For every parameter tensor, with the main task p

  .. math:: m_i \leftarrow \beta m_i + (1 - \beta) \|g_i\|_2, \qquad
            g = g_p + \sum_{i \ne p} \Big( r \frac{m_p}{m_i} + 1 - r \Big) g_i

  with m_i = 0 at first, without bias correction. A task without labels in the batch keeps its m_i
  and adds nothing; a tensor whose main gradient was always zero is summed unscaled.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    beta: decay of the moving mean, in [0, 1).
    relax: r in [0, 1]; 0 is the plain sum, 1 gives every gradient the main task's magnitude.
    strategy: `"A"` rescales only auxiliary gradients larger than the main one, `"B"` only smaller
      ones, `"C"` both.
    main: the main task by index or name.

  Returns:
    An elementwise `Aggregator` with a `MetaBalanceState`.

  Raises:
    ValueError: if an option is outside its range.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.metabalance(2, relax=1.0)
    >>> grads = jnp.array([[1.0, 0.0], [0.0, 8.0]])
    >>> aggregator.update(grads, aggregator.init(jnp.zeros(2)))[0].tolist()
    [1.0, 1.0]

  Reference:
    He et al., "MetaBalance: Improving Multi-Task Recommendations via Adapting Gradient Magnitudes
    of Auxiliary Tasks", 2022, algorithm 1 and section 3.3.
  """
  check_num_tasks(num_tasks)
  # Under `optax.inject_hyperparams` an index is an array.
  place = main if isinstance(main, jax.Array) else task_index("main", main, num_tasks)
  if not guards.is_traced(beta) and not 0 <= beta < 1:
    raise ValueError(f"beta must be in [0, 1), got {beta}; the paper uses 0.9.")
  if not guards.is_traced(relax) and not 0 <= relax <= 1:
    raise ValueError(f"relax must be in [0, 1], got {relax}; the paper uses 0.7.")
  if strategy not in ("A", "B", "C"):
    raise ValueError(f"strategy must be 'A', 'B' or 'C', got {strategy!r}.")

  def init(params: Any) -> MetaBalanceState:
    def zeros(param: jax.Array) -> jax.Array:
      return jnp.zeros(num_tasks, jnp.promote_types(param.dtype, jnp.float32))

    return MetaBalanceState(by_parameter(zeros, params))

  def aggregate(
    task_grads: Any, state: MetaBalanceState, *, losses: Any, mask: jax.Array
  ) -> tuple[Any, MetaBalanceState]:
    del losses

    def track(leaf: jax.Array, norms: jax.Array) -> jax.Array:
      mean = beta * norms + (1 - beta) * row_norms(leaf)
      # A gradient that is not finite shows in the update, but stays for no later one.
      return jnp.where(mask & jnp.isfinite(mean), mean, norms).astype(norms.dtype)

    def balance(leaf: jax.Array, norms: jax.Array) -> jax.Array:
      wanted = norms[place]
      known = (norms > 0) & (wanted > 0)
      ratio = jnp.where(known, wanted / jnp.where(known, norms, 1), 1)
      factors = relax * ratio + (1 - relax)
      if strategy == "A":
        factors = jnp.where(norms > wanted, factors, 1)
      elif strategy == "B":
        factors = jnp.where(norms < wanted, factors, 1)
      wide = jnp.promote_types(leaf.dtype, factors.dtype)
      return jnp.tensordot(factors.astype(wide), leaf.astype(wide), axes=1).astype(leaf.dtype)

    norms = jax.tree.map(track, task_grads, state.norms)
    return jax.tree.map(balance, task_grads, norms), MetaBalanceState(norms)

  return elementwise_aggregator(num_tasks, aggregate, init)
