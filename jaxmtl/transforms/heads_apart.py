"""Surgery on shared parameters alone, in a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import Aggregator
from jaxmtl.gradients.combinations import combine
from jaxmtl.gradients.inner_products import scaled_gramian
from jaxmtl.gradients.parts import Parts, parts_of

PyTree = Any


def heads_apart(aggregator: Aggregator, shared: Callable[[PyTree], PyTree]) -> Aggregator:
  r"""An aggregator of the shared parameters; heads get the sum of their tasks' gradients.

  .. math:: g_{shared} = \mathrm{aggregate}(w_1 g_1, \dots, w_T g_T), \qquad
            g_{own} = \sum_t w_t h_t g_t

  with w the weights of a weighting before it, 1 without one, and h what the aggregator's authors
  weigh heads with (1 for most; see each method): what `jaxmtl.training.train_step` does
  with `shared=`, in one's own loop. A head sees its own task's loss alone, so that its rows of the
  other tasks are zero and it gets `w_t g_t`. Without this, conflicts are looked for among heads
  too, which have none, and inner products count their lengths.

  A weighting that looks at the Gramian (GradNorm) sees that of all parameters here, in a train step
  that of the shared ones.

  Args:
    aggregator: of the shared parameters.
    shared: `params -> pytree of bools`, True for parameters that several tasks see, such as
      `jaxmtl.models.shared_mask`.

  Returns:
    An `Aggregator` without `weigh`, whose state is that of the aggregator for the list of shared
    leaves.

  Raises:
    ValueError: at update, as the aggregator, or if `shared` does not return one bool a leaf.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx = jaxmtl.chain(
    ...   jaxmtl.constant(2, [1.0, 0.5]),
    ...   jaxmtl.heads_apart(
    ...     jaxmtl.mean_tasks(2), lambda params: {name: name == "trunk" for name in params}),
    ...   optax.sgd(1.0))
    >>> params = {"trunk": jnp.array(0.0), "a": jnp.array(0.0), "b": jnp.array(0.0)}
    >>> grads = {"trunk": jnp.array([1.0, 2.0]), "a": jnp.array([3.0, 0.0]),
    ...   "b": jnp.array([0.0, 4.0])}
    >>> updates, _ = tx.update(grads, tx.init(params), params, losses=jnp.ones(2))
    >>> [(name, float(updates[name])) for name in ("trunk", "a", "b")]
    [('trunk', -1.0), ('a', -3.0), ('b', -2.0)]

  Reference:
    Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", 2018, section 3.2.
  """
  num_tasks = getattr(aggregator, "num_tasks", None)
  if num_tasks is None:
    raise ValueError(f"aggregator must be one of jaxmtl, which knows num_tasks, got {aggregator}.")

  def init(params: PyTree) -> Any:
    return aggregator.init(parts_of(params, shared).shared)

  def update(
    updates: PyTree,
    state: Any,
    params: PyTree | None = None,
    *,
    mask: Any = None,
    second_gradients: PyTree | None = None,
    third_gradients: PyTree | None = None,
    **extra: Any,
  ) -> tuple[PyTree, Any]:
    guards.check_task_gradients(updates, params, num_tasks)
    is_shared = shared(updates if params is None else params)

    def split(tree: PyTree) -> Parts:
      return parts_of(tree, lambda _: is_shared)

    def own_of(grads: PyTree, weights: jax.Array) -> list[jax.Array]:
      rows, _ = guards.drop_missing(split(grads).specific, mask, num_tasks)
      return combine(rows, weights)

    rows = split(updates)
    batches = {"second_gradients": second_gradients, "third_gradients": third_gradients}
    extra |= {name: split(g).shared for name, g in batches.items() if g is not None}
    common = None if params is None else split(params).shared
    gradient, new = aggregator.update(rows.shared, state, common, mask=mask, **extra)
    weights = jnp.ones(num_tasks)
    if aggregator.head_weights is not None:
      present = guards.check_mask(mask, num_tasks)
      losses, chosen = extra.get("losses"), None
      if aggregator.weigh is not None:
        # XLA merges this with what `update` computed.
        found, scale = scaled_gramian(guards.drop_missing(rows.shared, mask, num_tasks)[0], present)
        chosen, _ = aggregator.weigh(found, state, losses=losses, mask=present, scale=scale)
      weights = aggregator.head_weights(new, losses=losses, mask=present, weights=chosen)
    # As the direction of the shared parameters: of the third batch, or the mean of the two.
    own = own_of(updates if third_gradients is None else third_gradients, weights)
    if second_gradients is not None and third_gradients is None:
      own = jax.tree.map(lambda g, h: (g + h) / 2, own, own_of(second_gradients, weights))
    return rows.merge(gradient, own), new

  return Aggregator(
    init,
    update,
    two_batches=aggregator.two_batches,
    num_tasks=num_tasks,
    name=f"heads_apart of {aggregator.name}",
  )
