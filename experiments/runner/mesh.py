"""Devices and processes: where arrays lie, and what process 0 decides for all."""

from __future__ import annotations

import contextlib
import json
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from jaxmtl import training

PyTree = Any
RUNS, DATA = "runs", "data"


def start_processes(
  coordinator: str | None, num_processes: int | None, process: int | None
) -> None:
  """Joins the processes of a job that runs on several hosts, one command on each.

  Args:
    coordinator: address and port of process 0; "auto" takes all from the cluster's environment
      (TPU pods, Slurm, Open MPI); None for one process alone.
    num_processes: how many there are.
    process: which one this is.

  Raises:
    ValueError: if one of the three is missing.
  """
  if coordinator is None:
    if num_processes is not None or process is not None:
      raise ValueError(
        "num_processes and process need coordinator, as in --coordinator host0:1234; 'auto' takes "
        "all from the cluster's environment."
      )
    return
  if coordinator == "auto":
    jax.distributed.initialize()
    return
  if num_processes is None or process is None:
    raise ValueError(
      f"coordinator={coordinator!r} needs --num-processes and --process too, got "
      f"{num_processes} and {process}."
    )
  jax.distributed.initialize(coordinator, num_processes, process)


def is_main() -> bool:
  """Whether this process prints and writes for all."""
  return jax.process_index() == 0


def say(text: str) -> None:
  """Prints a line, once for all processes."""
  if is_main():
    print(text, flush=True)


@contextlib.contextmanager
def warnings_said() -> Iterator[None]:
  """Says warnings as notes, without the line of code that they come from."""
  with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    yield
  for warning in told:
    say(f"Note: {warning.message}")


def agreed(decide: Callable[[], Any]) -> Any:
  """What process 0 finds, on all processes; anything that JSON holds.

  What is on disk decides what is trained, and processes that train different things wait for each
  other forever.
  """
  if jax.process_count() == 1:
    return decide()
  text = json.dumps(decide() if is_main() else None).encode()
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
  given = np.zeros(size, np.uint8)
  if is_main():
    given[:] = np.frombuffer(text, np.uint8)
  return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(given))))


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
  """Keeps other runs out of a folder, on all processes of this one.

  Raises:
    BlockingIOError: if another run has it; it says which one.
  """
  with contextlib.ExitStack() as stack:

    def enter() -> str | None:
      try:
        stack.enter_context(training.locked(folder))
      except BlockingIOError as error:
        return str(error)
      return None

    if why := agreed(enter):
      raise BlockingIOError(why)
    yield


class Layout:
  """Where runs and batches lie: nowhere in particular, or on a mesh of runs x data.

  Runs need no communication with each other, so that seeds cost as many chips what one costs on
  one. The examples of a batch are spread over the data axis; the data set is on every device.
  """

  def __init__(self, mesh: jax.sharding.Mesh | None = None):
    """A mesh with the axes `runs` and `data`, or None for one device."""
    self.mesh = mesh

  @classmethod
  def parse(cls, text: str | None) -> Layout:
    """Reads `2x4`, two rows of runs over four devices each; None is one device.

    Raises:
      ValueError: if it is not of this form, or there are not as many devices.
    """
    if text is None:
      if jax.process_count() > 1:
        raise ValueError(
          f"{jax.process_count()} processes need --mesh, as in --mesh 1x{jax.device_count()} (runs "
          "x data)."
        )
      return cls()
    sizes = text.lower().split("x")
    if len(sizes) != 2 or not all(size.isdigit() and int(size) for size in sizes):
      raise ValueError(f"mesh must be runs x data, as in 2x4, got {text!r}.")
    shape = int(sizes[0]), int(sizes[1])
    if shape[0] * shape[1] != jax.device_count():
      raise ValueError(
        f"mesh {text} has {shape[0] * shape[1]} devices, and there are {jax.device_count()}; on a "
        "CPU, JAX_NUM_CPU_DEVICES=8 makes eight."
      )
    kinds = (jax.sharding.AxisType.Auto,) * 2
    return cls(jax.make_mesh(shape, (RUNS, DATA), axis_types=kinds))

  @property
  def shape(self) -> tuple[int, int]:
    """Devices along runs and data."""
    return (1, 1) if self.mesh is None else tuple(self.mesh.devices.shape)

  def check(self, runs: int, batch_size: int) -> None:
    """Raises ValueError where runs or a batch cannot be spread evenly."""
    found = (
      ("runs", runs, "--seeds", self.shape[0]),
      ("batch_size", batch_size, "--batch-size", self.shape[1]),
    )
    for name, count, option, parts in found:
      if count % parts:
        raise ValueError(
          f"{name} must be a multiple of the mesh's {parts} devices for it, got {count}; change "
          f"{option} or --mesh."
        )

  def named(self, *axes: str | None) -> NamedSharding | None:
    """A sharding by axes of the mesh; None without one."""
    return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec(*axes))

  def jit(self, function: Callable[..., Any], outputs: Any = (), **options: Any) -> Any:
    """`jax.jit` with outputs that lie by axes of the mesh, `()` for everywhere."""
    if self.mesh is None:
      return jax.jit(function, **options)
    outputs = [outputs] if isinstance(outputs, (tuple, str)) else outputs
    shardings = tuple(self.named(*([o] if isinstance(o, str) else o)) for o in outputs)
    out = shardings[0] if len(shardings) == 1 else shardings
    return jax.jit(function, out_shardings=out, **options)

  def vmap(self, function: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
    """Over runs."""
    if self.mesh is None:
      return jax.vmap(function, in_axes)
    return jax.vmap(function, in_axes, spmd_axis_name=RUNS)

  def constrain(self, batch: PyTree) -> PyTree:
    """Spreads the examples of a batch, within a compiled function, over the data axis."""
    if self.mesh is None or self.shape[1] == 1:
      return batch
    return jax.lax.with_sharding_constraint(batch, self.named(DATA))

  def put(self, tree: PyTree, *axes: str | None) -> PyTree:
    """Puts arrays that every process has as a whole on devices, by axes of the mesh."""
    if self.mesh is None:
      return jax.tree.map(jax.numpy.asarray, tree)
    sharding: Any = self.named(*axes)

    def one(leaf: Any) -> jax.Array:
      leaf = np.asarray(leaf)
      return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(one, tree)

  def put_share(self, tree: PyTree, *axes: str | None) -> PyTree:
    """The same for arrays of which each process has its own share."""
    if self.mesh is None:
      return jax.tree.map(jax.numpy.asarray, tree)
    sharding: Any = self.named(*axes)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)

  def fetch(self, tree: PyTree) -> PyTree:
    """Arrays from wherever they lie to the host, as a whole on every process."""
    if jax.process_count() > 1:
      tree = self.jit(lambda x: x)(tree)
    return jax.device_get(tree)
