"""What every weighting is made of: task losses `[T]` in, task weights `[T]` out.

A weighting is one function, `weigh(losses, state, mask)`, handed to `loss_weighting`. As an optax
transform it scales row i of the task gradients by `weights[i]` and keeps the task axis, so that an
aggregator follows it in a chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.gradients.combinations import scale_tasks
from jaxmtl.gradients.inner_products import scaled_gramian
from jaxmtl.tasks import check_num_tasks, method_name

PyTree = Any


class LossWeigh(Protocol):
  """`weigh` of a weighting."""

  def __call__(
    self,
    losses: Any,
    state: Any,
    mask: Any = None,
    *,
    gramian: jax.Array | None = None,
    hypergradient: jax.Array | None = None,
  ) -> tuple[jax.Array, Any]:
    """Maps task losses `[T]` to weights `[T]` and a state."""


class Bilevel(NamedTuple):
  """What a weighting that learns from look-ahead steps asks of the train step.

  Attributes:
    weights: `state -> weights [T]` of the losses that the look-ahead step descends.
    outer: float `[S, T]`; the weights are judged by S sums of the losses of a second batch at the
      look-ahead parameters, which these are the coefficients of.
    estimator: as in `jaxmtl.meta.hypergradient`.
    sample: `state -> (tasks [K], judged [J], outer [S, J])` where only samples of the tasks take
      part: the indices of those that the look-ahead step descends, of those that judge it, and the
      latter's coefficients; None where all do.
    gap: whether the derivatives have a last row, that of what the weighted sum of the first batch's
      losses falls by in the look-ahead step.
    reuse: whether the parameters' step takes these weights too, and so is the look-ahead step.
  """

  weights: Callable[[Any], jax.Array]
  outer: jax.Array
  estimator: Any = "exact"
  sample: Callable[[Any], tuple[jax.Array, jax.Array, jax.Array]] | None = None
  gap: bool = False
  reuse: bool = False


class Weighting(optax.GradientTransformationExtraArgs):
  """An optax transform that scales task gradients by weights chosen from the task losses.

  Attributes:
    init: `params -> state`.
    update: `(task_gradients, state, params=None, *, losses, mask=None) -> (task_gradients, state)`.
    weigh: `(losses, state, mask=None) -> (weights [T], state)`: enough for a train step without
      an aggregator, which takes one backward pass with the weights as cotangent.
    needs_gramian: whether `weigh` also takes `gramian=`, the inner products `[T, T]` of the task
      gradients, known up to a positive factor.
    revise: `(losses, state, mask=None) -> state`, to be called with the losses of the same batch
      after the parameters' step, where the method learns from their change; None otherwise.
    learns_by: `optimizer -> Weighting`, where the method learns numbers by gradient that the
      authors let the network's optimiser move, and nobody chose another; None otherwise.
    bilevel: for methods whose `weigh` also takes `hypergradient=` `[S, T]`, the derivatives of S
      outer losses (and a gap) with respect to the weights; None otherwise.
    num_tasks: T.
    name: of the method.
  """

  weigh: LossWeigh
  needs_gramian: bool
  revise: Callable[..., Any] | None
  bilevel: Bilevel | None
  learns_by: Callable[[optax.GradientTransformation], Weighting] | None = None
  num_tasks: int | None = None
  name: str = ""

  def __new__(
    cls,
    init: Any,
    update: Any,
    weigh: LossWeigh,
    needs_gramian: bool = False,
    revise: Callable[..., Any] | None = None,
    bilevel: Bilevel | None = None,
    *,
    learns_by: Callable[[optax.GradientTransformation], Weighting] | None = None,
    num_tasks: int | None = None,
    name: str = "",
  ) -> Weighting:
    """Adds the attributes beside the two functions of optax's named tuple."""
    self = super().__new__(cls, init, update)
    self.weigh, self.needs_gramian, self.revise = weigh, needs_gramian, revise
    self.bilevel, self.learns_by = bilevel, learns_by
    self.num_tasks, self.name = num_tasks, name
    return self

  def __repr__(self) -> str:
    return f"{self.name or type(self).__name__}(num_tasks={self.num_tasks!r})"


def reject(name: str, losses: jax.Array, mask: jax.Array, why: str) -> jax.Array:
  """Which tasks with labels have a loss that is not positive, bool `[T]`.

  Raises:
    ValueError: outside of `jax.jit`, if one has.
  """
  rejected = mask & (losses <= 0)  # a NaN is not rejected: it has to show
  if not guards.is_traced(losses) and rejected.any():
    task = int(rejected.argmax())
    raise ValueError(
      f"losses[{task}] is {losses[task]} but must be positive for {name}: {why}; shift the loss, "
      "or mask the task where it has no labels."
    )
  return rejected


def rejected_metrics(state: PyTree) -> dict[str, jax.Array]:
  """How often each task's loss was not what the method needs, where its state counts that."""
  rejected = getattr(state, "rejected", None)
  return {} if rejected is None else {"rejected_losses": rejected}


def loss_weighting(
  num_tasks: int,
  weigh: Callable[..., tuple[jax.Array, Any]],
  init: Callable[[PyTree], Any] = optax.init_empty_state,
  *,
  needs_gramian: bool = False,
  revise: Callable[[jax.Array, Any, jax.Array], Any] | None = None,
  learns_by: Callable[[optax.GradientTransformation], Weighting] | None = None,
) -> Weighting:
  """A weighting from one function on the task losses.

  Args:
    num_tasks: T, a static integer.
    weigh: `(losses, state, mask) -> (weights, state)`; `losses` `[T]` in float32 or wider with
      stopped gradient, 0 for tasks without labels in this batch; `mask` bool `[T]`, False there.
    init: `params -> state`.
    needs_gramian: whether `weigh` takes a fourth argument, the Gramian `[T, T]` of the task
      gradients, known up to a positive factor; rows of tasks without labels are zero.
    revise: `(losses, state, mask) -> state`, for methods that learn from the change of the losses
      over the parameters' step; its losses are those after the step.
    learns_by: `optimizer -> the weighting` with what it learns moved by this optimiser.

  Returns:
    A `Weighting`; tasks without labels get weight 0. A loss that is not finite has weight NaN and
    leaves the state as it was.

  Raises:
    ValueError: if `num_tasks` is not a positive integer; at update, if `losses` is missing or not
      `[T]`, or if the task gradients do not have T rows.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.weighting.base import loss_weighting
    >>> inverse = loss_weighting(2, lambda losses, state, mask: (1 / losses, state))
    >>> inverse.weigh(jnp.array([2.0, 4.0]), inverse.init(None))[0].tolist()
    [0.5, 0.25]
  """
  check_num_tasks(num_tasks)

  def clean(losses: jax.Array, mask: Any) -> tuple[jax.Array, jax.Array]:
    losses = guards.check_losses(losses, num_tasks)
    mask = guards.check_mask(mask, num_tasks)
    wide = jnp.promote_types(losses.dtype, jnp.float32)
    losses = jax.lax.stop_gradient(losses).astype(wide)
    return losses, mask

  def checked_weigh(
    losses: jax.Array,
    state: Any,
    mask: Any = None,
    *,
    gramian: jax.Array | None = None,
    hypergradient: jax.Array | None = None,
  ) -> tuple[jax.Array, Any]:
    del hypergradient
    losses, labelled = clean(losses, mask)
    # A loss that is not finite shows in its weight, but must not stay in the state.
    mask = labelled & jnp.isfinite(losses)
    extra: tuple[jax.Array, ...] = ()
    if needs_gramian:
      if gramian is None:
        raise ValueError(
          "gramian is missing: this weighting needs the inner products of the task gradients; "
          "pass gramian=jaxmtl.gramian(task_gradients)."
        )
      mend = "pass the inner products of all task gradients, as jaxmtl.gramian gives them."
      guards.check_shape("gramian", gramian, (num_tasks, num_tasks), mend)
      extra = (jnp.where(mask[:, None] & mask[None, :], gramian, 0),)
    weights, new = weigh(jnp.where(mask, losses, 0), state, mask, *extra)
    weights = jnp.where(mask, weights, jnp.where(labelled, jnp.nan, 0))
    return weights, guards.keep_finite(new, state)

  def checked_revise(losses: jax.Array, state: Any, mask: Any = None) -> Any:
    losses, mask = clean(losses, mask)
    mask &= jnp.isfinite(losses)
    return revise(jnp.where(mask, losses, 0), state, mask)  # type: ignore[misc]

  def update(
    updates: PyTree,
    state: Any,
    params: PyTree | None = None,
    *,
    losses: jax.Array | None = None,
    mask: Any = None,
    **others: Any,
  ) -> tuple[PyTree, Any]:
    guards.check_extra(others)
    guards.check_task_gradients(updates, params, num_tasks)
    updates, mask = guards.drop_missing(updates, mask, num_tasks)
    gramian = scaled_gramian(updates, mask)[0] if needs_gramian else None
    weights, state = checked_weigh(losses, state, mask, gramian=gramian)  # type: ignore[arg-type]
    return scale_tasks(updates, weights), state

  return Weighting(
    init,
    update,
    checked_weigh,
    needs_gramian,
    checked_revise if revise else None,
    learns_by=learns_by,
    num_tasks=num_tasks,
    name=method_name(weigh),
  )
