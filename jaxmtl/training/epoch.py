"""A whole epoch in one compiled call, for data that fits on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl.data.loader import epoch_indices
from jaxmtl.training.state import EPOCH_STREAM, SECOND_BATCH, TrainState

PyTree = Any


def scan_epoch(
  update: Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]],
  batch_size: int,
  prepare: Callable[[jax.Array, PyTree], PyTree] | None = None,
  *,
  pairs: bool = False,
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
  """Scans a train step over one shuffled pass of data that lies on the device.

  Order and augmentation follow from the state's key and step alone, so an epoch that is run again
  after a kill is the same to the bit. An incomplete last batch is dropped.

  Args:
    update: a train step, `(state, batch) -> (state, metrics)`.
    batch_size: examples a step.
    prepare: `(key, batch) -> batch`, for example augmentation; applied to each batch.
    pairs: whether each step gets a pair of batches, the second from another pass over the same
      data, shuffled by itself; `TrainStep.pairs` says what a train step takes.

  Returns:
    `epoch(state, data, subset=None) -> (state, metrics)`: `data` is a pytree with leading axis N,
    `subset` int `[n]` restricts it; metrics are stacked over the steps, `[steps, ...]`. It runs
    under `jax.jit`, and under `jax.vmap` over states (and subsets).

  Raises:
    ValueError: if the batch size exceeds the number of examples.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> from jaxmtl.training import Aux, scan_epoch, train_step
    >>> def losses_fn(params, model_state, batch, key):
    ...   return jnp.mean((params - batch) ** 2)[None], Aux()
    >>> step = train_step(losses_fn, optax.sgd(0.1), 1)
    >>> epoch = jax.jit(scan_epoch(step.update, batch_size=2))
    >>> state, metrics = epoch(step.init(jnp.zeros(()), jax.random.key(0)), jnp.arange(6.0))
    >>> int(state.step), metrics["losses"].shape
    (3, (3, 1))
  """

  def epoch(
    state: TrainState, data: PyTree, subset: jax.Array | None = None
  ) -> tuple[TrainState, dict[str, Any]]:
    num_examples = len(jax.tree.leaves(data)[0]) if subset is None else len(subset)
    key = jax.random.fold_in(jax.random.fold_in(state.key, EPOCH_STREAM), state.step)

    def one_pass(key: jax.Array) -> tuple[jax.Array, jax.Array]:
      """Rows `[steps, batch_size]`, and a key for each step."""
      order_key, prepare_key = jax.random.split(key)
      rows = epoch_indices(order_key, num_examples, batch_size)
      rows = rows if subset is None else jnp.asarray(subset)[rows]
      return rows, jax.random.split(prepare_key, len(rows))

    def batch_of(rows: jax.Array, key: jax.Array) -> PyTree:
      batch = jax.tree.map(lambda leaf: leaf[rows], data)
      return batch if prepare is None else prepare(key, batch)

    def body(state: TrainState, step: Any) -> tuple[TrainState, Any]:
      batches = tuple(batch_of(rows, step_key) for rows, step_key in step)
      return update(state, batches if pairs else batches[0])

    passes = [one_pass(key)]
    if pairs:
      passes.append(one_pass(jax.random.fold_in(key, SECOND_BATCH)))
    return jax.lax.scan(body, state, passes)

  return epoch
