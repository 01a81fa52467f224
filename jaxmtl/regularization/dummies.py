"""Further heads beside a task's own: several of the same architecture, stacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxmtl import losses

PyTree = Any
# Loss functions by task, or one for all: `(outputs, targets, mask=None) -> scalar`.
LossFns = Callable[..., jax.Array] | Mapping[str, Callable[..., jax.Array]]


def dummy_heads(
  key: jax.Array, heads: Mapping[str, Any], features: PyTree, num_dummies: int = 3
) -> dict[str, PyTree]:
  """Draws several heads a task, of the architecture of the task's own.

  For `dgr` they stay as they are: keep them where the optimiser does not reach, closed over or in
  `TrainState.model_state`. For `pta` they are trained, as task-specific parameters.

  Args:
    key: of the random parameters.
    heads: by task, Linen modules, or any objects with `init(key, features) -> variables` and
      `apply(variables, features) -> outputs`, such as those of a `models.MultiHead`.
    features: what the encoder gives, e.g. `[B, D]`; only shapes and dtypes matter.
    num_dummies: d, heads a task.

  Returns:
    By task, the variables of d heads, leaves `[d, ...]`.

  Raises:
    ValueError: if `num_dummies` is not positive, or there are no heads.

  Example:
    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> from jaxmtl import regularization
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> dummies = regularization.dummy_heads(jax.random.key(0), heads, jnp.ones((1, 4)))
    >>> dummies["digit"]["params"]["kernel"].shape
    (3, 4, 10)

  Reference:
    Shin, Do and Son, "Learning Representation for Multitask Learning through Self-Supervised
    Auxiliary Learning", 2024, section 3.3.
  """
  if num_dummies < 1:
    raise ValueError(f"num_dummies must be at least 1, got {num_dummies}; the paper takes 3.")
  if not heads:
    raise ValueError("heads is empty; pass the model's heads by task name.")
  keys = jax.random.split(key, (len(heads), num_dummies))
  return {
    task: jax.vmap(head.init, in_axes=(0, None))(keys[i], features)
    for i, (task, head) in enumerate(heads.items())
  }


class HeadTask(NamedTuple):
  """What belongs to one task.

  Attributes:
    head: the architecture.
    variables: of its d further heads, leaves `[d, ...]`.
    loss: `outputs -> scalar`, of this batch.
    loss_fn: `(outputs, targets, mask=None) -> scalar`.
  """

  head: Any
  variables: PyTree
  loss: Callable[[PyTree], jax.Array]
  loss_fn: Callable[..., jax.Array]


def by_task(
  heads: Mapping[str, Any],
  variables: Mapping[str, PyTree],
  targets: Mapping[str, Any],
  loss_fns: LossFns | None,
  masks: Mapping[str, Any] | None,
) -> dict[str, HeadTask]:
  """Brings together what belongs to each task, cross-entropy where no loss is named."""
  tasks = {}
  for task, head in heads.items():
    for name, given in (("dummies", variables), ("targets", targets), ("loss_fns", loss_fns)):
      if isinstance(given, Mapping) and task not in given:
        raise ValueError(f"{name} has nothing for task {task!r}; it has {sorted(given)}.")
    loss_fn = loss_fns[task] if isinstance(loss_fns, Mapping) else loss_fns
    loss_fn = losses.cross_entropy if loss_fn is None else loss_fn
    # A loss without masks need not take one.
    given_mask = {} if masks is None or masks.get(task) is None else {"mask": masks[task]}

    def loss(
      outputs: PyTree, fn: Any = loss_fn, y: Any = targets[task], m: Any = given_mask
    ) -> Any:
      return fn(outputs, y, **m)

    tasks[task] = HeadTask(head, variables[task], loss, loss_fn)
  return tasks
