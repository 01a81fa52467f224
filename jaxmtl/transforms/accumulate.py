"""Gradient accumulation: a large batch in several parts, each a micro-batch that fits."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.aggregation.base import history
from jaxmtl.gradients.combinations import per_row, scale_tasks
from jaxmtl.tasks import check_num_tasks

PyTree = Any


class AccumulateState(NamedTuple):
  """Sums over the micro-batches so far.

  Attributes:
    step: int32 scalar, micro-batches in the sums.
    gradients: sums of task gradients times label counts, `[T, *shape]`, float32 or wider.
    second_gradients: the same of second batches; `()` unless the chain takes two batches or three.
    third_gradients: the same of third batches; `()` unless the chain takes three.
    losses: sums of losses times label counts, `[T]`.
    counts: sums of label counts, `[T]`.
    inner: state of the chain.
  """

  step: jax.Array
  gradients: PyTree
  second_gradients: PyTree
  third_gradients: PyTree
  losses: jax.Array
  counts: jax.Array
  inner: Any


def accumulate(
  num_tasks: int,
  every: int,
  inner: optax.GradientTransformation,
  *,
  two_batches: bool = False,
  three_batches: bool = False,
) -> optax.GradientTransformationExtraArgs:
  r"""Steps once in `every` micro-batches, by the task gradients of all of them.

  .. math:: g_t = \frac{\sum_b n_{tb} \, g_{tb}}{\sum_b n_{tb}}, \qquad
            L_t = \frac{\sum_b n_{tb} \, L_{tb}}{\sum_b n_{tb}}

  with n the numbers of labels. It is exact for every weighting and aggregator: they see the task
  gradients and losses of the whole batch, once. Between, updates are zero and nothing else changes.
  (Gramians of micro-batches must not be added up: the inner products between them are missing.)

  Where a batch fits on the host and only its activations do not fit on the device,
  `jaxmtl.training.train_step(accumulate=)` does the same within one step.

  Args:
    num_tasks: T, a static integer.
    every: micro-batches a step, at least 1; the memory is T times the parameters in any case.
    inner: the whole chain, with an aggregator in it.
    two_batches: whether the chain's aggregator takes `second_gradients=` (MoDo, SDMGrad).
    three_batches: whether it takes `third_gradients=` as well, for the direction; instead of
      `two_batches`.

  Returns:
    A transform of stacked task gradients. Its `update` also takes `counts=`, float `[T]` or by
    name, the labels of each task in the micro-batch; 1 for each task with labels (`mask`) where it
    is None, which is exact where all micro-batches have as many.

  Raises:
    ValueError: if `num_tasks` or `every` is not a positive integer; at update, if the task
      gradients do not have T rows.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx = jaxmtl.accumulate(2, 2, jaxmtl.chain(jaxmtl.pcgrad(2), optax.sgd(1.0)))
    >>> params = jnp.zeros(2)
    >>> state = tx.init(params)
    >>> for grads in (jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [0.0, 4.0]])):
    ...   updates, state = tx.update(grads, state, params)
    ...   print(updates.tolist())
    [0.0, 0.0]
    [-1.0, -2.0]
  """
  check_num_tasks(num_tasks)
  if isinstance(every, bool) or not isinstance(every, int) or every < 1:
    raise ValueError(f"every must be a positive integer, got {every!r}: micro-batches a step.")
  chained = optax.with_extra_args_support(inner)
  # What further gradients it takes, by the option that says so.
  wanted = {"second_gradients": "two_batches"} if two_batches else {}
  if three_batches:
    wanted = dict.fromkeys(("second_gradients", "third_gradients"), "three_batches")

  def init(params: PyTree) -> AccumulateState:
    def zeros() -> PyTree:
      return history(num_tasks, params)

    counts = jnp.zeros(num_tasks, jnp.float32)
    return AccumulateState(
      jnp.zeros((), jnp.int32),
      zeros(),
      zeros() if "second_gradients" in wanted else (),
      zeros() if "third_gradients" in wanted else (),
      counts,
      counts + 0,
      chained.init(params),
    )

  def update(
    updates: PyTree,
    state: AccumulateState,
    params: PyTree | None = None,
    *,
    losses: Any = None,
    mask: Any = None,
    counts: Any = None,
    second_gradients: PyTree | None = None,
    third_gradients: PyTree | None = None,
    **extra: Any,
  ) -> tuple[PyTree, AccumulateState]:
    guards.check_task_gradients(updates, params, num_tasks)
    present = guards.check_mask(mask, num_tasks)
    given = present if counts is None else guards.check_vector("counts", counts, num_tasks)
    seen = jnp.where(present, given, 0).astype(jnp.float32)
    others = {"second_gradients": second_gradients, "third_gradients": third_gradients}
    for name, given_rows in others.items():
      if name in wanted and given_rows is None:
        raise ValueError(f"{name} is missing: {wanted[name]}=True asks for it.")
      if name not in wanted and given_rows is not None:
        option = "two_batches" if name == "second_gradients" else "three_batches"
        raise ValueError(f"{name} is given, but was not asked for; {option}=True does.")

    def add(total: PyTree, rows: PyTree) -> PyTree:
      rows, _ = guards.drop_missing(rows, mask, num_tasks)
      return jax.tree.map(
        lambda t, r: t + r.astype(t.dtype) * per_row(seen.astype(_real(t)), r), total, rows
      )

    total_losses = state.losses
    if losses is not None:
      values = jnp.where(present, guards.check_losses(losses, num_tasks), 0)
      total_losses = total_losses + seen * values.astype(jnp.float32)
    sums = AccumulateState(
      state.step + 1,
      add(state.gradients, updates),
      add(state.second_gradients, second_gradients) if "second_gradients" in wanted else (),
      add(state.third_gradients, third_gradients) if "third_gradients" in wanted else (),
      total_losses,
      state.counts + seen,
      state.inner,
    )

    def step(sums: AccumulateState) -> tuple[PyTree, AccumulateState]:
      inverse = 1 / jnp.where(sums.counts > 0, sums.counts, 1)

      def mean(total: PyTree) -> PyTree:
        return jax.tree.map(lambda m, u: m.astype(u.dtype), scale_tasks(total, inverse), updates)

      more = dict(extra)
      if losses is not None:
        more["losses"] = sums.losses * inverse
      for name in wanted:
        more[name] = mean(getattr(sums, name))
      # A mask only where there can be one: without it all tasks have labels.
      if mask is not None or counts is not None:
        more["mask"] = sums.counts > 0
      new, inner_state = chained.update(mean(sums.gradients), sums.inner, params, **more)
      empty = jax.tree.map(jnp.zeros_like, sums._replace(inner=()))
      return new, empty._replace(inner=inner_state)

    shapes = jax.eval_shape(lambda: step(sums)[0])

    def wait(sums: AccumulateState) -> tuple[PyTree, AccumulateState]:
      return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes), sums

    return jax.lax.cond(sums.step == every, step, wait, sums)

  return optax.GradientTransformationExtraArgs(init, update)


def _real(leaf: jax.Array) -> Any:
  return jnp.finfo(leaf.dtype).dtype
