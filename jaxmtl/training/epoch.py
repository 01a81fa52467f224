"""Many steps in one compiled call: a scan over batches that a plan draws and a function takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.data.loader import epoch_indices
from jaxmtl.training.state import EPOCH_STREAM, SECOND_BATCH, TrainState

PyTree = Any


def scan_steps(
  update: Callable[[Any, Any], tuple[Any, dict[str, Any]]],
  order: Callable[[jax.Array, PyTree], PyTree],
  take: Callable[[PyTree, PyTree], PyTree],
  prepare: Callable[[jax.Array, PyTree], PyTree] | None = None,
  *,
  steps: int,
  length: int | None = None,
  pairs: bool = False,
  second: Callable[[PyTree], PyTree] = lambda data: data,
  clock: Callable[[Any], Any] = lambda state: state,
) -> Callable[[Any, PyTree], tuple[Any, dict[str, Any]]]:
  """Scans a train step over some steps of an epoch, wherever its batches come from.

  Order and augmentation follow from the state's key and step alone, so that steps that are run
  again after a kill, or in calls of another length, are the same.

  Args:
    update: a train step, `(state, batch) -> (state, metrics)`.
    order: `(key, data) -> plan`, a pytree with leading axis `steps`: what is taken in each step.
    take: `(data, plan of one step) -> batch`.
    prepare: `(key, batch) -> batch`, for example augmentation; applied to each batch.
    steps: of an epoch.
    length: steps a call, none of which goes beyond the epoch's end; a whole epoch where None.
    pairs: whether each step gets a pair of batches, the second of another order.
    second: what the second batches are taken from, of `data`; the same by default.
    clock: the part of a state whose `key` and `step` say where training is; all of it by default.

  Returns:
    `run(state, data) -> (state, metrics)`, metrics stacked over the steps, `[length, ...]`.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> from jaxmtl.training import Aux, scan_steps, train_step
    >>> def losses_fn(params, model_state, batch, key):
    ...   return jnp.mean((params - batch) ** 2)[None], Aux()
    >>> step = train_step(losses_fn, optax.sgd(0.1), 1)
    >>> run = scan_steps(
    ...   step.update, lambda key, data: jnp.arange(4), lambda data, i: data[i], steps=4, length=2)
    >>> state, metrics = jax.jit(run)(step.init(jnp.zeros(()), jax.random.key(0)), jnp.ones((4, 3)))
    >>> int(state.step), metrics["losses"].shape
    (2, (2, 1))
  """
  whole = length is None or length == steps
  size = steps if length is None else length

  def run(state: Any, data: PyTree) -> tuple[Any, dict[str, Any]]:
    now = clock(state)
    offset = 0 if whole else now.step % steps
    key = jax.random.fold_in(jax.random.fold_in(now.key, EPOCH_STREAM), now.step - offset)

    def one_pass(key: jax.Array, data: PyTree) -> tuple[PyTree, jax.Array]:
      """What each step takes, and a key for it."""
      order_key, prepare_key = jax.random.split(key)
      plan = order(order_key, data), jax.random.split(prepare_key, steps)
      if whole:
        return plan
      return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, offset, size), plan)

    def batch_of(data: PyTree, plan: PyTree, key: jax.Array) -> PyTree:
      batch = take(data, plan)
      return batch if prepare is None else prepare(key, batch)

    sources = [data, second(data)] if pairs else [data]

    def body(state: Any, step: Any) -> tuple[Any, Any]:
      batches = tuple(
        batch_of(source, *planned) for source, planned in zip(sources, step, strict=True)
      )
      return update(state, batches if pairs else batches[0])

    passes = [one_pass(key, data)]
    if pairs:
      passes.append(one_pass(jax.random.fold_in(key, SECOND_BATCH), sources[1]))
    return jax.lax.scan(body, state, passes)

  return run


def scan_epoch(
  update: Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]],
  batch_size: int,
  prepare: Callable[[jax.Array, PyTree], PyTree] | None = None,
  *,
  pairs: bool = False,
  cycle: bool = False,
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
  """Scans a train step over one shuffled pass of data that lies on the device.

  Order and augmentation follow from the state's key and step alone, so an epoch that is run again
  after a kill is the same to the bit. An incomplete last batch is dropped, other examples in each
  epoch.

  Args:
    update: a train step, `(state, batch) -> (state, metrics)`.
    batch_size: examples a step.
    prepare: `(key, batch) -> batch`, for example augmentation; applied to each batch.
    pairs: whether each step gets a pair of batches, the second from another pass over the same
      data, shuffled by itself; `TrainStep.pairs` says what a train step takes.
    cycle: whether the data are a dict of data sets of their own lengths, one a task for example.
      Each batch then has `batch_size` examples of each; an epoch is a pass over the longest, in
      which shorter ones start again, shuffled anew.

  Returns:
    `epoch(state, data, subset=None) -> (state, metrics)`: `data` is a pytree with leading axis N,
    `subset` int `[n]` restricts it; metrics are stacked over the steps, `[steps, ...]`. It runs
    under `jax.jit`, and under `jax.vmap` over states (and subsets).

  Raises:
    ValueError: if the batch size exceeds the number of examples, or leaves have other lengths than
      the first, whose rows would be taken from beyond their end.

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
    def take(data: PyTree, rows: Any) -> PyTree:
      if cycle:
        return {name: _take_rows(data[name], rows[name]) for name in data}
      return _take_rows(data, rows)

    if cycle:
      if subset is not None or not isinstance(data, Mapping):
        raise ValueError(
          f"cycle=True takes a dict of data sets and no subset, got {type(data).__name__}"
          f"{'' if subset is None else ' and a subset'}."
        )
      sizes = {name: _length(part, f"data[{name!r}]") for name, part in data.items()}
      steps = max(sizes.values()) // batch_size
    else:
      length = _length(data, "data")
      if subset is not None:
        _check_rows(subset, length)
      num_examples = length if subset is None else len(subset)
      steps = num_examples // batch_size

    def order(key: jax.Array, data: PyTree) -> Any:
      del data
      if cycle:
        keys = jax.random.split(key, len(sizes))
        return {
          name: _passes(keys[i], size, batch_size, steps)
          for i, (name, size) in enumerate(sorted(sizes.items()))
        }
      rows = epoch_indices(key, num_examples, batch_size)
      return rows if subset is None else jnp.asarray(subset)[rows]

    return scan_steps(update, order, take, prepare, steps=steps, pairs=pairs)(state, data)

  return epoch


def _take_rows(data: PyTree, rows: jax.Array) -> PyTree:
  """The same rows of every leaf."""
  return jax.tree.map(lambda leaf: leaf[rows], data)


def _passes(key: jax.Array, size: int, batch_size: int, steps: int) -> jax.Array:
  """Rows `[steps, batch_size]` of as many shuffled passes as that takes."""
  each = max(size // batch_size, 1)
  keys = jax.random.split(key, -(-steps // each))
  rows = jnp.concatenate([epoch_indices(k, size, batch_size) for k in keys])
  return rows[:steps]


def _length(data: PyTree, name: str) -> int:
  """The number of examples, which all leaves must have: an index beyond the end means the last."""
  paths = jax.tree_util.tree_leaves_with_path(data)
  if not paths or not all(jnp.ndim(leaf) for _, leaf in paths):
    shapes = jax.tree.map(jnp.shape, data)
    raise ValueError(f"{name} must be a pytree of arrays [N, ...], got {shapes}.")
  lengths = {jax.tree_util.keystr(path): len(leaf) for path, leaf in paths}
  if len(set(lengths.values())) > 1:
    raise ValueError(
      f"all leaves of {name} must have one length, got "
      f"{', '.join(f'{path}: {length}' for path, length in lengths.items())}; for data sets of "
      "their own lengths give a dict of them and cycle=True."
    )
  return next(iter(lengths.values()))


def _check_rows(subset: Any, length: int) -> None:
  """Raises where a known row is beyond the data, which would be taken for the last one."""
  if isinstance(subset, jax.core.Tracer) or not len(subset):
    return
  rows = np.asarray(subset)
  if rows.min() < 0 or rows.max() >= length:
    raise ValueError(
      f"subset must hold rows from 0 to {length - 1}, got {rows.min()} to {rows.max()}."
    )
