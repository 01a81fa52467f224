"""Flax's `TrainState` for transforms that take losses."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import optax

from jaxmtl import guards
from jaxmtl._extras import require

require("flax.training.train_state", "models", __name__)

from flax.training import train_state

PyTree = Any

__all__ = ["TrainState"]


class TrainState(train_state.TrainState):
  """`flax.training.train_state.TrainState` with extra arguments and without broadcasting.

  Flax's own `apply_gradients(grads=grads, losses=losses)` takes `losses` for a field to replace,
  and adds task gradients `[T, *shape]` to parameters `[*shape]` where no aggregator is in the
  chain. Subclass it to add fields, such as `batch_stats`.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> tx = jaxmtl.chain(jaxmtl.dwa(2), jaxmtl.sum_tasks(2), optax.sgd(0.1))
    >>> state = jaxmtl.flax.TrainState.create(apply_fn=None, params={"w": jnp.zeros(2)}, tx=tx)
    >>> state = state.apply_gradients(grads={"w": jnp.eye(2)}, losses=jnp.ones(2))
    >>> int(state.step), state.params["w"].round(3).tolist()
    (1, [-0.10000000149011612, -0.10000000149011612])
  """

  def apply_gradients(
    self, *, grads: PyTree, losses: Any = None, mask: Any = None, **kwargs: Any
  ) -> Self:
    """One step of the transform.

    Args:
      grads: stacked task gradients, or one gradient where the transform takes one.
      losses: task losses, for the transform.
      mask: which tasks have labels, for the transform.
      **kwargs: values of this state's other fields; all else goes to the transform.

    Returns:
      The state after it.

    Raises:
      ValueError: if an update is not of its parameter's shape.
    """
    own = {field.name for field in dataclasses.fields(self)}
    fields = {name: value for name, value in kwargs.items() if name in own}
    extra = {name: value for name, value in kwargs.items() if name not in own}
    extra |= {} if losses is None else {"losses": losses}
    extra |= {} if mask is None else {"mask": mask}
    tx = optax.with_extra_args_support(self.tx)

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None) -> Any:
      updates, state = tx.update(updates, state, params, **extra)
      guards.check_updates(params, updates)
      return updates, state

    bound = self.replace(tx=optax.GradientTransformation(tx.init, update))
    return super(TrainState, bound).apply_gradients(grads=grads, **fields).replace(tx=self.tx)
