"""What every aggregator is made of: task gradients `[T, *shape]` in, one gradient `[*shape]` out.

A Gramian-based method is one function, `weigh(gramian, state, *, losses, mask)`, handed to
`gramian_aggregator`; a method that looks at single elements or tensors is one function on the task
gradients, handed to `elementwise_aggregator`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
import optax
from optax.experimental import aggregating

from jaxmtl import guards
from jaxmtl.gradients.combinations import combine
from jaxmtl.gradients.inner_products import scaled_gramian
from jaxmtl.gradients.real_view import has_complex, real_view, restore
from jaxmtl.tasks import check_num_tasks, method_name

PyTree = Any


class GramianWeigh(Protocol):
  """`weigh` of a Gramian-based aggregator."""

  def __call__(
    self,
    gramian: jax.Array,
    state: Any,
    *,
    losses: jax.Array | None = None,
    mask: Any = None,
    scale: jax.Array | float = 1.0,
  ) -> tuple[jax.Array, Any]:
    """Maps the Gramian, `scale**2 * gramian` `[T, T]`, to weights `[T]` and a state."""


class Aggregator(aggregating.Aggregator):
  """An optax aggregator of task gradients that also shows how it weighs them.

  Attributes:
    init: `params -> state`.
    update: `(task_gradients, state, params=None, *, losses=None, mask=None) -> (gradient, state)`.
    weigh: of a `GramianAggregator`; None where the aggregate is no weighted sum of the task
      gradients (elementwise methods).
    two_batches: whether `update` takes `second_gradients=` and `third_gradients=`, the task
      gradients of other batches.
    head_weights: `(state, *, losses, mask, weights) -> [T]`, what the authors multiply each task's
      gradient of its own parameters with; from the state after `update`, the losses, and a
      `GramianAggregator`'s weights (None for others). None where they leave it as it is.
    num_tasks: T.
    name: of the method.
  """

  weigh: GramianWeigh | None
  two_batches: bool
  head_weights: Callable[..., jax.Array] | None
  num_tasks: int | None = None
  name: str = ""

  def __new__(
    cls,
    init: Any,
    update: Any,
    weigh: GramianWeigh | None = None,
    two_batches: bool = False,
    *,
    head_weights: Callable[..., jax.Array] | None = None,
    num_tasks: int | None = None,
    name: str = "",
  ) -> Self:
    """Adds the attributes beside the two functions of optax's named tuple."""
    self = super().__new__(cls, init, update)
    self.weigh, self.two_batches, self.head_weights = weigh, two_batches, head_weights
    self.num_tasks, self.name = num_tasks, name
    return self

  def changed(self, **functions: Any) -> Self:
    """The same method with other functions in the place of some of its own."""
    kept = {
      name: getattr(self, name)
      for name in ("init", "update", "weigh", "two_batches", "head_weights", "num_tasks", "name")
    }
    return type(self)(**(kept | functions))

  def __repr__(self) -> str:
    return f"{self.name or type(self).__name__}(num_tasks={self.num_tasks!r})"


class GramianAggregator(Aggregator):
  """One whose aggregate is a weighted sum of the task gradients, weighted by their Gramian.

  Attributes:
    weigh: `(gramian, state, *, losses=None, mask=None, scale=1.0) -> (weights [T], state)`; the
      Gramian is `scale**2 * gramian`.
  """

  weigh: GramianWeigh


def mean_weights(mask: jax.Array, dtype: jnp.dtype) -> jax.Array:
  """Equal weights `[T]` that sum to 1, 0 for tasks without labels."""
  return mask / jnp.maximum(mask.sum(), 1).astype(dtype)


def preferred_weights(
  num_tasks: int, preference: Any
) -> Callable[[jax.Array, jnp.dtype], jax.Array]:
  """Checks the option `preference`.

  Returns:
    `(mask, dtype) -> weights [T]`: the preference, `mean_weights` where it is None.
  """
  check_num_tasks(num_tasks)
  if preference is None:
    return mean_weights
  wanted = guards.check_preference(preference, num_tasks)
  return lambda mask, dtype: jnp.where(mask, wanted.astype(dtype), 0)


def history(num_tasks: int, params: PyTree, value: float = 0.0) -> PyTree:
  """A history of task gradients before the first: leaves `[T, *shape]`, float32 or wider.

  Each lies where its parameter lies: on one device, a history would be T times the parameters.
  """

  def fill(param: jax.Array) -> jax.Array:
    dtype = jnp.promote_types(param.dtype, jnp.float32)
    # What does not depend on the parameter is put on one device under `jax.jit`.
    like = jnp.where(False, param, value).astype(dtype)
    return jnp.broadcast_to(like, (num_tasks, *param.shape))

  return by_parameter(fill, params)


def by_parameter(make: Callable[[jax.Array], jax.Array], params: PyTree) -> PyTree:
  """A state with an array for each parameter, of another shape than it.

  `optax.tree.map_params`, which shards a state like the parameters, asks for states of no
  parameters; an array instead of a tree of parameters tells it to leave this one alone.
  """
  return jax.tree.map(make, params) if jax.tree.leaves(params) else jnp.zeros(0)


class SolverState(NamedTuple):
  """How the last solve went.

  Attributes:
    converged: bool scalar; where False, the weights are the best point found.
    iterations: int32 scalar.
  """

  converged: jax.Array
  iterations: jax.Array


def solver_metrics(state: PyTree) -> dict[str, jax.Array]:
  """Whether the solver in an aggregator's state converged, and after how many iterations."""
  found = [
    leaf
    for leaf in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, SolverState))
    if isinstance(leaf, SolverState)
  ]
  if not found:
    return {}
  return {"solver_converged": found[0].converged, "solver_iterations": found[0].iterations}


def init_solver_state(params: PyTree) -> SolverState:
  """The state before the first solve."""
  del params
  return SolverState(converged=jnp.array(True), iterations=jnp.array(0, jnp.int32))


def gramian_aggregator(
  num_tasks: int,
  weigh: Callable[..., tuple[jax.Array, Any]],
  init: Callable[[PyTree], Any] = optax.init_empty_state,
  *,
  needs_scale: bool = False,
  two_batches: bool = False,
  weigh_heads: bool = False,
  name: str = "",
) -> GramianAggregator:
  """An aggregator whose output is a weighted sum of task gradients, weighted by their Gramian.

  Args:
    num_tasks: T, a static integer.
    weigh: `(gramian, state, *, losses, mask) -> (weights, state)`; `gramian` is `[T, T]` in
      float32 or wider, known up to a positive factor; `losses` is `[T]` or None; `mask` is bool
      `[T]`, False for a task without labels in this batch, whose row and column are zero.
    init: `params -> state`.
    needs_scale: whether the weights depend on the gradients' absolute size. `weigh` then gets
      `scale` too, a positive scalar: the Gramian is `scale**2 * gramian`.
    two_batches: whether the method wants the inner products between the task gradients of two
      independent batches, `<g_i, h_j>`. `update` then takes the second batch's as
      `second_gradients=`, hands that matrix to `weigh`, and combines the mean of both, or the
      gradients of a third batch where it gets `third_gradients=`; without them the first batch
      stands for all.
    weigh_heads: whether the gradients of task-specific parameters are weighted too.
    name: of the method, for printing; that of the function that `weigh` is defined in where empty.

  Returns:
    A `GramianAggregator`; its `weigh` accepts `losses=None` and `mask=None`.

  Raises:
    ValueError: if `num_tasks` is not a positive integer; at update, if the task gradients do not
      have it as leading axis, or if their aggregate would not have the parameters' shapes.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.aggregation.base import gramian_aggregator
    >>> inverse = gramian_aggregator(  # each gradient divided by its squared norm
    ...   2, lambda gramian, state, *, losses, mask: (1 / jnp.diagonal(gramian), state))
    >>> grads = jnp.array([[2.0, 0.0], [0.0, 4.0]])
    >>> inverse.update(grads, inverse.init(jnp.zeros(2)))[0].tolist()
    [0.5, 0.25]
  """
  check_num_tasks(num_tasks)

  def checked_weigh(
    gramian: jax.Array,
    state: Any,
    *,
    losses: jax.Array | None = None,
    mask: Any = None,
    scale: jax.Array | float = 1.0,
  ) -> tuple[jax.Array, Any]:
    mend = "pass the inner products of all task gradients, as jaxmtl.gramian gives them."
    guards.check_shape("gramian", gramian, (num_tasks, num_tasks), mend)
    mask = guards.check_mask(mask, num_tasks)
    gramian = jnp.where(mask[:, None] & mask[None, :], gramian, 0)
    losses = None if losses is None else guards.check_losses(losses, num_tasks)
    size = {"scale": jnp.asarray(scale, gramian.dtype)} if needs_scale else {}
    # GPUs and TPUs multiply in fewer digits by default, with which no solver would converge.
    with jax.default_matmul_precision("highest"):
      weights, new = weigh(gramian, state, losses=losses, mask=mask, **size)
    return jnp.where(mask, weights, 0), guards.keep_finite(new, state)

  def aggregate(
    task_grads: PyTree,
    state: Any,
    *,
    losses: jax.Array | None,
    mask: jax.Array,
    second: PyTree | None = None,
    third: PyTree | None = None,
  ) -> tuple[PyTree, Any]:
    gramian, scale = scaled_gramian(task_grads, mask, other=second)
    weights, state = checked_weigh(gramian, state, losses=losses, mask=mask, scale=scale)
    grads = combine(task_grads if third is None else third, weights)
    if second is not None and third is None:
      grads = jax.tree.map(lambda g, h: (g + h) / 2, grads, combine(second, weights))
    return grads, state

  plain = elementwise_aggregator(num_tasks, aggregate, init, two_batches=two_batches)
  return GramianAggregator(
    plain.init,
    plain.update,
    checked_weigh,
    two_batches,
    head_weights=(lambda state, *, losses, mask, weights: weights) if weigh_heads else None,
    num_tasks=num_tasks,
    name=name or method_name(weigh),
  )


def elementwise_aggregator(
  num_tasks: int,
  aggregate: Callable[..., tuple[PyTree, Any]],
  init: Callable[[PyTree], Any] = optax.init_empty_state,
  *,
  two_batches: bool = False,
  head_weights: Callable[..., jax.Array] | None = None,
) -> Aggregator:
  """An aggregator that needs the task gradients themselves, not only their Gramian.

  Args:
    num_tasks: T, a static integer.
    aggregate: `(task_gradients, state, *, losses, mask) -> (gradient, state)`; rows of tasks
      without labels (`mask` False) are zero.
    init: `params -> state`.
    two_batches: whether `update` takes `second_gradients=`, the task gradients of another batch,
      and `third_gradients=`; `aggregate` gets them as `second` and `third` (None where the caller
      has none).
    head_weights: as of `Aggregator`.

  Returns:
    An `Aggregator` without `weigh`.

  Raises:
    ValueError: as `gramian_aggregator`.
  """
  check_num_tasks(num_tasks)

  # Outside of jit, loops and branches would be compiled anew at every call.
  compiled = jax.jit(aggregate, inline=True)

  def real_init(params: PyTree) -> Any:
    return init(real_view(params) if has_complex(params) else params)

  def update(
    updates: PyTree,
    state: Any,
    params: PyTree | None = None,
    *,
    losses: Any = None,
    mask: Any = None,
    second_gradients: PyTree | None = None,
    third_gradients: PyTree | None = None,
    **others: Any,
  ) -> tuple[PyTree, Any]:
    guards.check_extra(others)
    guards.check_task_gradients(updates, params, num_tasks)
    losses = None if losses is None else guards.check_losses(losses, num_tasks)
    rows, present = guards.drop_missing(real_view(updates), mask, num_tasks)
    more = {}
    if two_batches:
      for name, grads in (("second", second_gradients), ("third", third_gradients)):
        more[name] = grads
        if grads is not None:
          guards.check_task_gradients(grads, params, num_tasks)
          more[name] = guards.drop_missing(real_view(grads), mask, num_tasks)[0]
    gradient, state = compiled(rows, state, losses=losses, mask=present, **more)
    return restore(gradient, updates), state

  return Aggregator(
    real_init,
    update,
    None,
    two_batches,
    head_weights=head_weights,
    num_tasks=num_tasks,
    name=method_name(aggregate),
  )
