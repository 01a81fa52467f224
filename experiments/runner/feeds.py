"""Where a job's batches come from: from the device, or from several sources."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.mesh import RUNS, Layout
from jaxmtl import data

PyTree = Any


class Call(NamedTuple):
  """Some steps that run in one compiled call.

  Attributes:
    step: the first one, counted from the start of training.
    length: how many.
    steps: of an epoch.
    pairs: whether each takes two independent batches.
    layout: where arrays go.
  """

  step: int
  length: int
  steps: int
  pairs: bool
  layout: Layout


class Feed(Protocol):
  """Batches for training.

  Attributes:
    steps: of an epoch.
    batch_size: examples a step (of each task, where tasks have their own).
    most: steps a call: as many as are still worth no progress in between, or fit into memory.
    content: what batches are made of, arrays or sources in nested dicts, by which data are known
      again.
  """

  steps: int
  batch_size: int
  most: int

  @property
  def content(self) -> Any:
    """What batches are made of."""

  @property
  def axes(self) -> Any:
    """Which parts of a chunk have a leading axis of runs, as `jax.vmap`'s `in_axes`."""

  def chunk(self, call: Call) -> PyTree:
    """What the steps of a call need, on the devices."""

  def ahead(self, call: Call) -> None:
    """Hears which call is next, while the devices are at work; may read for it in the meantime."""

  def second(self, chunk: PyTree) -> PyTree:
    """The chunk that the second batches of pairs are taken from."""

  def order(self, key: jax.Array, chunk: PyTree, steps: int) -> PyTree:
    """What is taken in each of the `steps` of an epoch, a leading axis; compiled."""

  def take(self, chunk: PyTree, plan: PyTree) -> PyTree:
    """The batch of one step; compiled."""


class DeviceFeed:
  """Data that fit on the device, shuffled anew in every epoch.

  An incomplete last batch is dropped, other examples in each epoch.
  """

  most = 100

  def __init__(
    self,
    examples: Mapping[str, Any],
    batch_size: int,
    *,
    subset: np.ndarray | None = None,
    own: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
  ):
    """Says what is learned from.

    Args:
      examples: arrays by name with leading axis N.
      batch_size: examples a step; at most as many as there are.
      subset: int `[runs, n]`, the examples that each run learns from; all where None.
      own: further arrays by name that differ by run, `[runs, N, ...]`; or what makes them, called
        only if there is something to train: of another job's outcome, for example.
    """
    self._data: dict[str, Any] = {
      "examples": dict(examples),
      "subset": {} if subset is None else {"rows": np.asarray(subset)},
    }
    self._own = own if callable(own) else lambda: own or {}
    everything = len(next(iter(examples.values())))
    self._count = everything if subset is None else np.shape(subset)[1]
    self.batch_size = min(batch_size, self._count)
    self.steps = self._count // self.batch_size
    self._placed: tuple[Layout, PyTree] | None = None
    self._view: tuple[DeviceFeed, tuple[str, ...]] | None = None

  def only(self, *names: str) -> DeviceFeed:
    """The same feed with some of the arrays, which lie on the devices once for all.

    Jobs that take what they need alone, and differ in names, share a compiled program.
    """
    view = copy.copy(self)
    view._view = self, names
    return view

  @property
  def content(self) -> Any:
    """Examples, and which of them each run has; not what other jobs' outcomes make."""
    if self._view is None:
      return self._data
    whole, names = self._view
    examples = whole._data["examples"]
    return {**whole._data, "examples": {name: examples[name] for name in names}}

  @property
  def axes(self) -> Any:
    """Only what differs by run has an axis of runs."""
    return {"examples": None, "subset": 0, "own": 0}

  def chunk(self, call: Call) -> PyTree:
    """All data, put on the devices once."""
    if self._view is not None:
      whole, names = self._view
      chunk = whole.chunk(call)
      return {**chunk, "examples": {name: chunk["examples"][name] for name in names}}
    layout = call.layout
    if self._placed is None or self._placed[0] is not layout:
      by_run = {"subset": self._data["subset"], "own": dict(self._own())}
      self._placed = (
        layout,
        {
          "examples": layout.put(self._data["examples"]),
          **layout.put(by_run, RUNS),
        },
      )
    return self._placed[1]

  def ahead(self, call: Call) -> None:
    """Nothing: all data are on the devices."""

  def second(self, chunk: PyTree) -> PyTree:
    """The same: the second batches have an order of their own."""
    return chunk

  def order(self, key: jax.Array, chunk: PyTree, steps: int) -> jax.Array:
    """Rows `[steps, batch_size]`."""
    rows = _passes(key, self._count, self.batch_size, steps)
    return chunk["subset"]["rows"][rows] if chunk["subset"] else rows

  def take(self, chunk: PyTree, plan: jax.Array) -> PyTree:
    """Rows of all arrays."""
    return jax.tree.map(lambda leaf: leaf[plan], {**chunk["examples"], **chunk["own"]})


class DomainFeed:
  """A data set a task, equally many examples of each in a batch, each shuffled by itself."""

  def __init__(self, examples: Mapping[str, Any], batch_size: int):
    """Takes arrays by name, `[N, K, ...]` for K domains, and examples a domain and step."""
    self._whole = DeviceFeed(examples, batch_size)
    self._count, self._domains = next(iter(examples.values())).shape[:2]
    self.batch_size, self.steps = self._whole.batch_size, self._whole.steps
    self.most, self.axes, self.content = self._whole.most, self._whole.axes, self._whole.content
    self.chunk, self.ahead, self.second = self._whole.chunk, self._whole.ahead, self._whole.second

  def order(self, key: jax.Array, chunk: PyTree, steps: int) -> jax.Array:
    """Rows `[steps, batch_size, K]`."""
    del chunk
    keys = jax.random.split(key, self._domains)
    rows = jax.vmap(lambda k: _passes(k, self._count, self.batch_size, steps))(keys)
    return jnp.moveaxis(rows, 0, -1)

  def take(self, chunk: PyTree, plan: jax.Array) -> PyTree:
    """Each domain's own rows."""
    domains = jnp.arange(self._domains)
    return jax.tree.map(lambda leaf: leaf[plan, domains], chunk["examples"])


class Zip:
  """Several feeds side by side, such as labelled and unlabelled images: a batch of each a step.

  An epoch is one of the longest, or of so many steps; the shorter ones come round again, in another
  order each time.
  """

  def __init__(self, steps: int | None = None, /, **feeds: Feed):
    """Takes the steps of an epoch, and feeds by the names under which their batches come."""
    self._feeds = feeds
    self.steps = steps or max(feed.steps for feed in feeds.values())
    self.batch_size = max(feed.batch_size for feed in feeds.values())
    self.most = min(feed.most for feed in feeds.values())

  @property
  def content(self) -> Any:
    """Those of the feeds."""
    return {name: feed.content for name, feed in self._feeds.items()}

  @property
  def axes(self) -> Any:
    """Those of the feeds."""
    return {name: feed.axes for name, feed in self._feeds.items()}

  def chunk(self, call: Call) -> PyTree:
    """Those of the feeds."""
    return {name: feed.chunk(call) for name, feed in self._feeds.items()}

  def ahead(self, call: Call) -> None:
    """Tells all of them."""
    for feed in self._feeds.values():
      feed.ahead(call)

  def second(self, chunk: PyTree) -> PyTree:
    """Those of the feeds."""
    return {name: feed.second(chunk[name]) for name, feed in self._feeds.items()}

  def order(self, key: jax.Array, chunk: PyTree, steps: int) -> PyTree:
    """Those of the feeds, each with a key of its own."""
    return {
      name: feed.order(jax.random.fold_in(key, number), chunk[name], steps)
      for number, (name, feed) in enumerate(self._feeds.items())
    }

  def take(self, chunk: PyTree, plan: PyTree) -> PyTree:
    """A batch of each, by name."""
    return {name: feed.take(chunk[name], plan[name]) for name, feed in self._feeds.items()}


def _passes(key: jax.Array, count: int, batch_size: int, steps: int) -> jax.Array:
  """Rows `[steps, batch_size]` of one shuffled pass, or of as many as it takes."""
  per_pass = count // batch_size
  if steps == per_pass:
    return data.epoch_indices(key, count, batch_size)
  keys = jax.random.split(key, -(-steps // per_pass))
  rows = [data.epoch_indices(k, count, batch_size) for k in keys]
  return jnp.concatenate(rows)[:steps]
