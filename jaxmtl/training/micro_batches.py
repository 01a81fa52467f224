"""A batch in parts: the memory of a small batch, the losses and gradients of the whole one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.gradients.losses import sorted_names, stack_losses
from jaxmtl.training.state import Aux

PyTree = Any


def micro_batches(
  losses_fn: Callable[..., tuple[Any, Aux]], count: int
) -> Callable[..., tuple[Any, Aux]]:
  r"""Makes of a function of a batch one that goes through the batch in parts.

  .. math:: L_t = \frac{\sum_b n_{tb} \, L_{tb}}{\sum_b n_{tb}}

  with n the labels of task t in micro-batch b (`Aux.counts`; where that is None, 1 if the task has
  labels, which without `Aux.mask` those have whose loss is not exactly 0). Activations of one
  micro-batch are in memory at a time: each is computed again in the backward pass. Its gradients
  are those of the whole batch, whatever takes them; batch normalization sees micro-batches.

  Args:
    losses_fn: `(params, model_state, batch, key) -> (losses, Aux)`.
    count: micro-batches, of which the batch size must be a multiple.

  Returns:
    The function. `Aux`: the model state after the last micro-batch,
    means of metrics, the tasks with labels in any micro-batch, sums of counts.

  Raises:
    ValueError: when called, if the batch does not divide.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.training import Aux
    >>> from jaxmtl.training.micro_batches import micro_batches
    >>> def losses_fn(params, model_state, batch, key):
    ...   return jnp.stack([jnp.mean(params * batch), jnp.mean(batch**2)]), Aux()
    >>> split = micro_batches(losses_fn, 2)
    >>> split(jnp.array(2.0), (), jnp.array([1.0, 2.0, 3.0, 4.0]), jax.random.key(0))[0].tolist()
    [5.0, 7.5]
  """
  if isinstance(count, bool) or not isinstance(count, int) or count < 1:
    raise ValueError(f"accumulate must be a positive integer, got {count!r}: micro-batches a step.")

  def whole(
    params: PyTree, model_state: PyTree, batch: Any, key: jax.Array, **options: Any
  ) -> tuple[Any, Aux]:
    names: list[str] = []
    parts = jax.tree.map(lambda leaf: _split(leaf, count), batch)

    # What a part computes is not kept for the backward pass.
    @jax.checkpoint
    def part(params: PyTree, model_state: PyTree, batch: Any, number: jax.Array) -> Any:
      own_key = jax.random.fold_in(key, number)
      losses, aux = losses_fn(params, model_state, batch, own_key, **options)
      names[:] = sorted_names(losses) if isinstance(losses, Mapping) else []
      losses = stack_losses(losses)
      labelled = guards.check_mask(aux.mask, len(losses))
      numbers = 1 if aux.counts is None else guards.check_vector("counts", aux.counts, len(losses))
      given = jnp.where(labelled, numbers, 0).astype(losses.dtype)
      # A task without labels may have any loss, which must not reach the sums.
      total = jnp.where(given > 0, losses, 0) * given
      untold = aux.mask is None and aux.counts is None
      return total, jnp.where(losses != 0, given, 0) if untold else given, aux

    def add(carry: Any, inputs: Any) -> tuple[Any, Any]:
      sums, counts, model_state = carry
      losses, seen, aux = part(params, model_state, *inputs)
      return (sums + losses, counts + seen, aux.model_state), aux.metrics

    first = jax.tree.map(lambda leaf: leaf[0], parts)
    shapes = jax.eval_shape(part, params, model_state, first, jnp.zeros((), jnp.int32))
    zeros = jnp.zeros(shapes[0].shape, shapes[0].dtype)
    carry = zeros, zeros, model_state
    (sums, counts, model_state), metrics = jax.lax.scan(add, carry, (parts, jnp.arange(count)))
    losses = sums / jnp.where(counts > 0, counts, 1)
    aux = Aux(
      model_state,
      jax.tree.map(lambda values: values.mean(0), metrics),
      None if shapes[2].mask is None and shapes[2].counts is None else counts > 0,
      None if shapes[2].counts is None else counts,
    )
    return ({name: losses[i] for i, name in enumerate(names)} if names else losses), aux

  return losses_fn if count == 1 else whole


def _split(leaf: Any, count: int) -> jax.Array:
  """Parts `[count, B / count, ...]`, each with examples of every device that shares the batch."""
  leaf = jnp.asarray(leaf)
  if not leaf.ndim or leaf.shape[0] % count:
    raise ValueError(
      f"a batch of shape {leaf.shape} has no {count} micro-batches of one size; accumulate must "
      "divide the batch size."
    )
  return jnp.moveaxis(leaf.reshape(leaf.shape[0] // count, count, *leaf.shape[1:]), 1, 0)
