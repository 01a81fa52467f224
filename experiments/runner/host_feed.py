"""Batches of data that stay on the host, read while the devices work."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.feeds import Call
from experiments.runner.mesh import DATA
from jaxmtl import data

PyTree = Any


class Rows:
  """Arrays in memory as a source of examples, for `HostFeed`."""

  def __init__(self, examples: Mapping[str, Any]):
    """Takes arrays by name with the same leading axis."""
    self._examples = dict(examples)

  def __len__(self) -> int:
    return len(next(iter(self._examples.values())))

  def __getitem__(self, index: Any) -> dict[str, Any]:
    return {name: values[index] for name, values in self._examples.items()}


class HostFeed:
  """Data of any size on the host, read by Grain: a few batches at a time are on the device.

  All runs see the same batches. Every process reads its own share of each. While the devices work
  on a chunk, a thread reads the next one, and none beyond.
  """

  # Of a chunk, at most: steps, and bytes on this process.
  _STEPS, _BYTES = 16, 2**28

  def __init__(self, source: Any, batch_size: int, seed: int = 0):
    """Says what is read.

    Args:
      source: anything with `len` and `[i]` that gives dicts of arrays, or a `data.ImageDataset`.
      batch_size: examples a step, of all processes together.
      seed: of the order.
    """
    one = source[0] if hasattr(source, "__getitem__") else source.images[0]
    size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(one))
    processes = jax.process_count()
    self._source, self._seed = source, seed
    self.batch_size = min(batch_size, len(source) // processes * processes)
    self._share = self.batch_size // processes
    if self.batch_size < 1 or self.batch_size % processes:
      raise ValueError(
        f"batch_size must be a multiple of the {processes} processes, at least as large, got "
        f"{batch_size} of {len(source)} examples."
      )
    self.steps = len(source) // processes // self._share
    self.most = max(1, min(self._STEPS, self._BYTES // max(1, size * self._share)))
    self._next: tuple[Any, concurrent.futures.Future[list[PyTree]]] | None = None

  @property
  def content(self) -> Any:
    """What is read."""
    if hasattr(self._source, "__getitem__"):
      return self._source
    return {"image": self._source.images, "label": self._source.labels}

  def only(self, *names: str) -> HostFeed:
    """The same feed: examples are read as a whole."""
    del names
    return self

  @property
  def axes(self) -> Any:
    """Nothing differs by run."""
    return None

  def chunk(self, call: Call) -> PyTree:
    """The next batches, `[length, batch_size, ...]`, and those of another order for pairs."""
    passes = [call.layout.put_share(found, None, DATA) for found in self._taken(call)]
    return {"first": call.layout.put(np.int32(call.step % call.steps)), "passes": passes}

  def ahead(self, call: Call) -> None:
    """Begins to read what a call will need, in a thread; what goes wrong is raised by `chunk`."""
    self._forget()
    thread = concurrent.futures.ThreadPoolExecutor(1, "host-feed")
    self._next = _read_by(call), thread.submit(self._passes, call)
    thread.shutdown(wait=False)

  def _taken(self, call: Call) -> list[PyTree]:
    """What was read ahead, where it is what the call needs, or what is read now."""
    if self._next is None or self._next[0] != _read_by(call):
      self._forget()
      return self._passes(call)
    (_, found), self._next = self._next, None
    return found.result()

  def _forget(self) -> None:
    """Lets go of what was read for a call that did not come."""
    if self._next is not None:
      concurrent.futures.wait([self._next[1]])
      self._next = None

  def _passes(self, call: Call) -> list[PyTree]:
    return [self._read(call.step, call.length, second) for second in range(1 + call.pairs)]

  def _read(self, step: int, length: int, second: int) -> PyTree:
    share = jax.process_index(), jax.process_count()
    found: list[Any] = []
    while len(found) < length:
      epoch, first = divmod(step + len(found), self.steps)
      last = min(first + length - len(found), self.steps)
      order = data.batches(
        self._source, self._share, seed=self._seed, epoch=2 * epoch + second, shard=share
      )
      # Grain's threads read ahead; batches come in their order.
      found += list(order.slice(slice(first, last)).to_iter_dataset())
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)

  def second(self, chunk: PyTree) -> PyTree:
    """The batches of the other order."""
    return {"first": chunk["first"], "passes": chunk["passes"][1:]}

  def order(self, key: jax.Array, chunk: PyTree, steps: int) -> PyTree:
    """Numbers of the steps; the order of examples is Grain's."""
    del key, chunk
    return jnp.arange(steps)

  def take(self, chunk: PyTree, plan: jax.Array) -> PyTree:
    """One of the batches that were read."""
    return jax.tree.map(lambda leaf: leaf[plan - chunk["first"]], chunk["passes"][0])


def _read_by(call: Call) -> tuple[int, int, bool]:
  """What decides which batches are read."""
  return call.step, call.length, call.pairs
