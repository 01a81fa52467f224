"""Gradient sign dropout (GradDrop)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import guards
from jaxmtl._keys import method_key
from jaxmtl.aggregation.base import Aggregator, elementwise_aggregator
from jaxmtl.gradients.combinations import per_row
from jaxmtl.tasks import check_num_tasks


class GradDropState(NamedTuple):
  """The random key, split at every update."""

  key: jax.Array


def graddrop(
  num_tasks: int,
  leak: Any = None,
  key: jax.Array | int = 0,
  f: Callable[[jax.Array], jax.Array] | None = None,
) -> Aggregator:
  r"""The sum of the task gradients' positive or of their negative parts, drawn element by element.

  .. math:: P = \frac{1}{2} \Big( 1 + \frac{\sum_i g_i}{\sum_i |g_i|} \Big), \qquad
            g = \sum_i \ell_i g_i + (1 - \ell_i)
            \begin{cases} \max(g_i, 0) & f(P) > U \\ \min(g_i, 0) & f(P) \le U \end{cases}

  with U drawn uniformly from [0, 1) for each element, f(P) = P, and leaks of zero by default. An
  element on whose sign all tasks agree is their sum. A task without labels has a zero gradient and
  changes nothing. The paper does this at the representation, with its signs:
  `jaxmtl.graddrop_layer`; here it is done to the parameters' gradients, as the Auto-Lambda thesis
  does.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    leak: `[T]`, each in [0, 1]: the share of a task's gradient that passes in any case; None is 0.
    key: an int or a random key, for the draws; one each where seeds are vmapped.
    f: a rising function of [0, 1] into itself, P where None; a steeper one drops the weaker sign
      more often.

  Returns:
    An elementwise `Aggregator` with a `GradDropState`.

  Raises:
    ValueError: if `leak` has another shape or a value outside of [0, 1].

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.graddrop(2)
    >>> grads = jnp.array([[1.0, 2.0, 3.0, -1.0], [1.0, 2.0, -3.0, 1.0]])
    >>> aggregator.update(grads, aggregator.init(jnp.zeros(4)))[0].tolist()
    [2.0, 4.0, -3.0, 1.0]

  Reference:
    Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout",
    2020, section 3.1 and algorithm 1.
  """
  check_num_tasks(num_tasks)
  shares = check_leak(leak, num_tasks)

  def init(params: Any) -> GradDropState:
    del params
    return GradDropState(method_key("graddrop", key))

  def aggregate(
    task_grads: Any, state: GradDropState, *, losses: Any, mask: jax.Array
  ) -> tuple[Any, GradDropState]:
    del losses, mask
    key, use = jax.random.split(state.key)
    leaves, structure = jax.tree.flatten(task_grads)

    def drop(leaf: jax.Array, use: jax.Array) -> jax.Array:
      rows = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
      draw = jax.random.uniform(use, leaf.shape[1:], jnp.float32)
      up, down = _signed_sums(rows)
      positive = _keeps_positive(up, down, draw, f)
      if shares is None:
        return jnp.where(positive, up, -down).astype(leaf.dtype)
      leaked = per_row(shares.astype(rows.dtype), rows) * rows
      leaked_up, leaked_down = _signed_sums(leaked)
      return jnp.where(positive, up - leaked_down, leaked_up - down).astype(leaf.dtype)

    out = map(drop, leaves, jax.random.split(use, len(leaves)))
    return jax.tree.unflatten(structure, out), GradDropState(key)

  return elementwise_aggregator(num_tasks, aggregate, init)


def check_leak(leak: Any, num_tasks: int) -> jax.Array | None:
  """The option as an array `[T]`, or a clear error."""
  if leak is None:
    return None
  shares = guards.check_vector("leak", leak, num_tasks)
  if not guards.is_traced(shares) and not np.all((shares >= 0) & (shares <= 1)):
    raise ValueError(f"leak must be in [0, 1], got {leak}; 0 lets a task leak nothing.")
  return shares


def drop_signs(
  rows: jax.Array, draw: jax.Array, f: Callable[[jax.Array], jax.Array] | None
) -> jax.Array:
  """Whether the positive parts of task gradients `[T, *shape]` are kept, bool `[*shape]`."""
  return _keeps_positive(*_signed_sums(rows), draw, f)


def _keeps_positive(
  up: jax.Array, down: jax.Array, draw: jax.Array, f: Callable[[jax.Array], jax.Array] | None
) -> jax.Array:
  """f(P) > U, of the sums of the positive and of the sizes of the negative parts."""
  if f is None:
    return up * (1 - draw) > down * draw  # P > U without a division
  both = up + down
  return f(jnp.where(both > 0, up / jnp.where(both > 0, both, 1), 0.5)) > draw


def _signed_sums(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Sums `[*shape]` of the positive parts and of the negative parts' sizes.

  One reduction of a pair: it reads the rows once, and XLA's CPU backend takes 5 to 7 ms for 20 rows
  of 500,000, where it takes 440 ms for two plain sums over the leading axis.
  """
  zero = jnp.zeros((), rows.dtype)
  parts = (jnp.maximum(rows, 0), jnp.maximum(-rows, 0))
  return jax.lax.reduce(
    parts, (zero, zero), lambda total, part: (total[0] + part[0], total[1] + part[1]), (0,)
  )
