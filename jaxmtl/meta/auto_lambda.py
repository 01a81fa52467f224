"""Auto-lambda: task weights learned from what they do to the primary tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl._keys import method_key
from jaxmtl.meta.base import bilevel_weighting
from jaxmtl.meta.hypergradient import check_estimator
from jaxmtl.tasks import check_num_tasks, task_indices
from jaxmtl.weighting.base import Bilevel, Weighting
from jaxmtl.weighting.learned import init_tasks, step_tasks


class AutoLambdaState(NamedTuple):
  """Learned task weights.

  Attributes:
    weights: lambda `[T]`.
    optimizer_state: of the T Adams that move them.
    key: of the tasks that are sampled.
    look_ahead: state of the look-ahead's optimiser in a plain chain, else `()`.
  """

  weights: jax.Array
  optimizer_state: Any
  key: jax.Array
  look_ahead: Any = ()


def auto_lambda(
  num_tasks: int,
  primary: str | Sequence[int | str] | None = None,
  *,
  learning_rate: optax.ScalarOrSchedule = 1e-4,
  init: float = 0.1,
  look_ahead: optax.GradientTransformation | None = None,
  reuse: bool = False,
  num_sampled: int | None = None,
  estimator: Literal["exact", "finite_difference", "first_order"] = "exact",
  key: jax.Array | int = 0,
) -> Weighting:
  r"""Learns the weights whose look-ahead step lowers the primary tasks' loss on another batch.

  .. math:: \theta' = \theta + u\Big(\sum_t \lambda_t \nabla L_t(\theta)\Big), \qquad
            \lambda \leftarrow \mathrm{Adam}\Big(\lambda,
            \nabla_\lambda \sum_{p \in P} L^{val}_p(\theta') \Big)

  with u the optimiser's step, before the parameters' own step with the new weights. The gradient is
  exact and costs one gradient on the second batch and about two forward passes; the paper takes a
  finite difference. All tasks primary is multi-task learning, some of them auxiliary learning.
  Weights are not constrained: one that falls below zero ascends its task's loss.

  The second batch comes from an independently shuffled pass over the same data: a train step of
  this weighting takes pairs `(batch, second batch)`, as `jaxmtl.training.scan_epoch(...,
  pairs=True)` makes them. In a plain `optax.chain`, `update` takes `primary_loss_fn=`, `params ->
  scalar` (the primary tasks' sum) or the losses `[T]`, on the second batch; `look_ahead` is then
  the optimiser that ends the chain, whose state this weighting keeps a copy of. An aggregator may
  follow; the look-ahead step is that of the plain weighted sum all the same, as in the paper. It
  stands before an `optax.partition`, `masked` or `selective_transform`, not in one, where it would
  see a part of the parameters only.

  A task without labels in the batch keeps its weight and gets 0 in that step. Task-specific
  parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    primary: the primary tasks by index or name, all where None.
    learning_rate: of Adam; the paper has 1e-4 on NYUv2, 3e-5 on Cityscapes, 3e-4 on CIFAR-100.
    init: weight of every task at the start.
    look_ahead: optimiser of the look-ahead step in a plain chain; the train step uses its own.
    reuse: the parameters' step takes the weights before theirs, so that it is the look-ahead step,
      and in a train step without an aggregator a gradient is saved.
    num_sampled: tasks that take part in a look-ahead, drawn uniformly each step, so that its memory
      does not grow with T; of the primary tasks at most as many judge it. In a train step only,
      whose `losses_fn` must take `tasks=`, int `[K]`, and return the losses `[K]` of these.
    estimator: as in `jaxmtl.meta.hypergradient`.
    key: an int or a random key, for the samples; a train step folds the run's key in.

  Returns:
    A `Weighting` with `bilevel` and an `AutoLambdaState`.

  Raises:
    ValueError: if `primary` are not tasks, or an option is outside its range; at update, if
      `primary_loss_fn`, `params` or `look_ahead` is missing, or `params` is a masked tree.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> def losses_fn(w):
    ...   return jnp.stack([w**2, (w - 1.0) ** 2, (w + 1.0) ** 2])
    >>> sgd = optax.sgd(0.1)
    >>> tx = optax.chain(
    ...   jaxmtl.auto_lambda(3, primary=[0], learning_rate=0.01, look_ahead=sgd),
    ...   jaxmtl.sum_tasks(3), sgd)
    >>> w = jnp.array(0.5)
    >>> _, grads = jaxmtl.task_value_and_grad(losses_fn)(w)
    >>> _, state = tx.update(
    ...   grads, tx.init(w), w, primary_loss_fn=lambda w: losses_fn(w)[0])
    >>> [round(float(x), 3) for x in state[0].weights]  # the second pulls the wrong way
    [0.11, 0.09, 0.11]

  Reference:
    Liu, James, Davison and Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships", 2022,
    section 3.
  """
  judged = task_indices("primary", primary, check_num_tasks(num_tasks))
  check_estimator(estimator)
  if not callable(learning_rate) and not guards.is_traced(learning_rate) and not learning_rate > 0:
    raise ValueError(f"learning_rate must be positive, got {learning_rate}; the paper uses 1e-4.")
  if num_sampled is not None and not 1 <= num_sampled <= num_tasks:
    raise ValueError(f"num_sampled must be from 1 to num_tasks={num_tasks}, got {num_sampled}.")
  if look_ahead is not None and (num_sampled is not None or estimator != "exact"):
    raise ValueError(
      "look_ahead is for a plain chain, where all task gradients are there and inner products with "
      "them are exact; leave num_sampled and estimator out."
    )
  adam = optax.adam(learning_rate)
  outer = jnp.zeros((1, num_tasks)).at[0, jnp.array(judged)].set(1.0)

  def init_fn(params: Any) -> AutoLambdaState:
    del params
    weights = jnp.full(num_tasks, init, jnp.float32)
    return AutoLambdaState(weights, init_tasks(adam, weights), method_key("auto_lambda", key))

  def sample(state: AutoLambdaState) -> tuple[jax.Array, jax.Array, jax.Array]:
    """K tasks that the look-ahead descends, and up to K primary ones that stand for all of them."""
    assert num_sampled is not None
    tasks_key, judged_key = jax.random.split(jax.random.split(state.key)[1])
    tasks = jax.random.choice(tasks_key, num_tasks, (num_sampled,), replace=False)
    count = min(num_sampled, len(judged))
    chosen = jax.random.choice(judged_key, jnp.array(judged), (count,), replace=False)
    return tasks, chosen, jnp.full((1, count), len(judged) / count)

  def weigh(
    state: AutoLambdaState, mask: jax.Array, hypergradient: jax.Array
  ) -> tuple[jax.Array, AutoLambdaState]:
    derivative = hypergradient[0]
    due = mask & jnp.isfinite(derivative)
    if num_sampled is not None:
      due &= jnp.zeros(num_tasks, bool).at[sample(state)[0]].set(True)
    weights, optimizer_state = step_tasks(
      adam, jnp.where(due, derivative, 0), state.optimizer_state, state.weights, due
    )
    key = jax.random.split(state.key)[0]
    used = state.weights if reuse else weights
    return used, AutoLambdaState(weights, optimizer_state, key, state.look_ahead)

  bilevel = Bilevel(
    lambda state: state.weights,
    outer,
    estimator,
    sample if num_sampled is not None else None,
    reuse=reuse and num_sampled is None,
  )
  return bilevel_weighting(num_tasks, weigh, init_fn, bilevel, look_ahead)
