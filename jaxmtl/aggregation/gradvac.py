"""Gradient vaccine (GradVac)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl._keys import method_key
from jaxmtl.aggregation.base import Aggregator, elementwise_aggregator, gramian_aggregator
from jaxmtl.aggregation.pcgrad import draw_orders
from jaxmtl.gradients.combinations import combine
from jaxmtl.gradients.inner_products import accumulator_dtype, scaled_gramian
from jaxmtl.tasks import check_num_tasks


class GradVacState(NamedTuple):
  """The random key, split at every update, and the cosines aimed at.

  Attributes:
    key: a random key.
    targets: phi, moving means of the pairs' cosines, `[T, T]`; with `per_tensor`
      `[L, T, T]`, one for each of the L parameter tensors, in the order of `jax.tree.leaves`.
  """

  key: jax.Array
  targets: jax.Array


def gradvac(
  num_tasks: int,
  beta: float = 0.5,
  per_tensor: bool = False,
  key: jax.Array | int = 0,
  always_update: bool = True,
) -> Aggregator:
  r"""Turns the task gradients towards each other, to the cosines that they had so far, and sums.

  .. math:: c_i \leftarrow c_i + \frac{\|c_i\|}{\|g_j\|} \Big( \phi_{ij}
              \sqrt{\tfrac{1 - \gamma^2}{1 - \phi_{ij}^2}} - \gamma \Big) g_j
              \;\text{ if } \gamma = \cos(c_i, g_j) < \phi_{ij}, \qquad
            \phi_{ij} \leftarrow (1 - \beta) \phi_{ij} + \beta \gamma

  for j != i in a random order, from c_i = g_i and phi = 0, with g the sum of the c_i; the first
  update is PCGrad's. All of it runs on the T x T coefficients. To reach a cosine of 1 takes an
  endless step: phi counts as 1 - sqrt(eps) at most. Pairs with a task without labels, or with a
  gradient that is zero or became so on the way, are left alone, their phi too. One task is the
  identity.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    beta: weight of the new cosine in phi, in [0, 1]; 0.01 in the paper.
    per_tensor: whether each parameter tensor has cosines, and weights, of its own.
    key: an int or a random key, from which the orders are drawn; one each where seeds are vmapped.
    always_update: whether phi takes in every cosine, as in the paper's algorithm, or in LibMTL's
      only those below it, so that it never grows.

  Returns:
    An `Aggregator` with a `GradVacState`: Gramian-based, or elementwise with `per_tensor`.

  Raises:
    ValueError: if `beta` is outside its range.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.gradvac(2)
    >>> grads = jnp.array([[1.0, 0.0], [-1.0, 1.0]])
    >>> grad, state = aggregator.update(grads, aggregator.init(jnp.zeros(2)))
    >>> [round(float(g), 3) for g in grad], round(float(state.targets[0, 1]), 3)
    ([0.5, 1.5], -0.354)

  Reference:
    Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively
    Multilingual Models", 2021, algorithm 1.
  """
  check_num_tasks(num_tasks)
  if not guards.is_traced(beta) and not 0 <= beta <= 1:
    raise ValueError(f"beta must be in [0, 1], got {beta}; the paper uses 0.01.")

  def init(params: Any) -> GradVacState:
    shape = (len(jax.tree.leaves(params)),) * per_tensor + (num_tasks, num_tasks)
    return GradVacState(method_key("gradvac", key), jnp.zeros(shape, accumulator_dtype(params)))

  def adapt(
    gramian: jax.Array, state: GradVacState, mask: jax.Array
  ) -> tuple[jax.Array, GradVacState]:
    """Weights `[T]` or `[L, T]`; all tensors share the orders."""
    key, use = jax.random.split(state.key)
    orders = draw_orders(use, num_tasks)

    def one(gramian: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
      return _vaccinate(gramian, targets, orders, mask, beta, always_update)

    weights, targets = (jax.vmap(one) if per_tensor else one)(gramian, state.targets)
    return weights, GradVacState(key, targets)

  def weigh(
    gramian: jax.Array, state: GradVacState, *, losses: Any, mask: jax.Array
  ) -> tuple[jax.Array, GradVacState]:
    del losses
    return adapt(gramian, state, mask)

  def aggregate(
    task_grads: Any, state: GradVacState, *, losses: Any, mask: jax.Array
  ) -> tuple[Any, GradVacState]:
    del losses
    leaves, structure = jax.tree.flatten(task_grads)
    gramians = jnp.stack([scaled_gramian(leaf, mask)[0] for leaf in leaves])
    weights, state = adapt(gramians, state, mask)
    return jax.tree.unflatten(structure, [*map(combine, leaves, weights)]), state

  if per_tensor:
    return elementwise_aggregator(num_tasks, aggregate, init)
  return gramian_aggregator(num_tasks, weigh, init)


def _vaccinate(
  gramian: jax.Array,
  targets: jax.Array,
  orders: jax.Array,
  mask: jax.Array,
  beta: Any,
  always_update: bool,
) -> tuple[jax.Array, jax.Array]:
  """The weights `[T]` of one Gramian and its new targets `[T, T]`."""
  dtype, tasks = gramian.dtype, jnp.arange(len(gramian))
  eps = jnp.finfo(dtype).eps
  squares = jnp.diagonal(gramian)
  # So that the round-off in the cosines of parallel gradients is no reason to step, and the step
  # to a cosine of almost 1 stays finite.
  limit = 1 - jnp.sqrt(eps)

  def visit(position: jax.Array, carry: tuple) -> tuple:
    coefficients, lengths, targets = carry  # of the c_i: [T, T], their squares [T]
    others = orders[:, position]  # the j of every task i
    places = jax.nn.one_hot(others, len(tasks), dtype=dtype)
    inner = jnp.sum(coefficients * gramian[others], axis=1)
    # What the other gradients left of c_i may be round-off, whose direction says nothing.
    known = (others != tasks) & (lengths > eps * squares) & (squares[others] > 0)
    own = jnp.sqrt(jnp.where(known, lengths, 1))
    other = jnp.sqrt(jnp.where(known, squares[others], 1))
    cosine = jnp.clip(inner / own / other, -1, 1)
    target = jnp.sum(targets * places, axis=1).astype(dtype)
    aim = jnp.clip(target, -limit, limit)
    turn = aim * jnp.sqrt((1 - cosine**2) / (1 - aim**2)) - cosine
    step = jnp.where(known & (cosine < aim), own / other * turn, 0)
    learnt = known if always_update else known & (cosine < target)
    change = jnp.where(learnt, beta * (cosine - target), 0)
    coefficients += step[:, None] * places
    lengths += step * (2 * inner + step * squares[others])
    targets += (change[:, None] * places).astype(targets.dtype)
    return coefficients, lengths, targets

  start = (jnp.diag(mask.astype(dtype)), squares, targets)
  coefficients, _, targets = jax.lax.fori_loop(0, len(tasks), visit, start)
  return coefficients.sum(axis=0), targets
