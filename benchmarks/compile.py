"""Compile training steps for TPU chips that are not there, and print what the compiler counts.

Command: `python -m benchmarks.compile --network split --methods cagrad auto_lambda`; of Prismer's
pre-training `--network prismer --methods --precisions bfloat16`, perhaps `--remat`. Needs the
package `libtpu` of the version that JAX's extra `tpu` names, on any host. Beside the plain step, of
each method: GFLOP and GB moved a step and chip, temporary memory and that of the state and batch,
bytes that a chip sends in collectives, seconds of compilation. FLOPs, bytes and memory are those of
the program that the chip would run; loops count once. With several chips each has `batch` images,
and a copy of the state, or its slice with `--fsdp`.
"""

import dataclasses
import math
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import tyro

# Before JAX starts: what the chip's library would ask a TPU host for.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks import dense, prismer
from benchmarks.accelerator.config import Config as Sizes
from benchmarks.accelerator.table import table
from benchmarks.accelerator.workloads import SIZES, Workload, options_of, workload

BYTES = {"f64": 8, "s64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s8": 1, "pred": 1}
COLLECTIVE = re.compile(
  r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
  r".*?channel_id=(\d+)"
)


@dataclasses.dataclass(frozen=True)
class Config:
  """What to compile.

  Args:
    network: split (DeepLab with three heads), mlp, resnet18, resnet50, vgg16 (32 pixels, with batch
      normalisation), vit_b16, or prismer (base, 224 pixels, six experts, both backbones frozen; one
      task, no methods).
    methods: weightings and aggregators, beside the plain step.
    tasks: number of tasks; split has three.
    batch: images a chip; 0 for the network's usual number: 4 of 288x384 for split, 32 for prismer.
    height: of split's images.
    width: the same.
    precisions: compute dtypes.
    topology: chips, such as v5e:2x4 or v5e:16x16.
    chips: how many of them; 0 for all.
    remat: whether split's trunk, or prismer's blocks, are computed again in the backward pass.
    fsdp: whether parameters and optimiser states lie in slices, one a chip, instead of whole on
      each.
    effort: of the compiler, from -1 to 1; split compiles in a tenth of the time at -1.
  """

  network: Literal["split", "mlp", "resnet18", "resnet50", "vgg16", "vit_b16", "prismer"] = "split"
  methods: tuple[str, ...] = ("auto_lambda", "cagrad")
  tasks: int = 3
  batch: int = 0
  height: int = 288
  width: int = 384
  precisions: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
  topology: str = "v5e:2x4"
  chips: int = 1
  remat: bool = False
  fsdp: bool = False
  effort: float = 0.0


class Pretraining(NamedTuple):
  """Prismer's step, of which only the form is made: no value is computed."""

  config: prismer.Config
  batch: int
  num_tasks: int = 1

  def step(self, **options: Any) -> tuple[Callable[..., Any], Any, Any]:
    """The update, and the forms of its first state and of a batch."""
    if options:
      raise SystemExit("--network prismer has one task; give --methods without names.")
    made: list[Any] = []

    def first() -> Any:
      update, state, batch = prismer.step(self.config)
      made.extend((update, batch))
      return state

    state = jax.eval_shape(first)
    update, one = made
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((self.batch, *x.shape[1:]), x.dtype), one)
    return update, state, batch


def problem_of(config: Config, precision: Any, chips: int) -> Workload | Pretraining:
  """The network and a batch for all chips."""
  if config.network == "prismer":
    batch = chips * (config.batch or 32)
    sizes = prismer.Config(batch=1, experts=True, precision=precision, remat=config.remat)
    return Pretraining(sizes, batch)
  if config.network == "split":
    size = {"height": config.height, "width": config.width, "batch": chips * (config.batch or 4)}
    return dense.split(dense.Config(precision=precision, remat=config.remat, **size))
  default = SIZES[config.network].batch
  batch = chips * (config.batch or default)
  return workload(Sizes(), config.network, config.tasks, precision, batch)


def row_of(
  problem: Workload | Pretraining, name: str, mesh: Mesh, fsdp: bool = False
) -> dict[str, Any]:
  """What the compiler counts of a method's step."""
  update, state, batch = problem.step(**options_of(name, problem.num_tasks))

  def place(leaf: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
    sharding = NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding)

  state = jax.tree.map(
    lambda x: place(x, _slices(x, mesh.size) if fsdp else PartitionSpec()), state
  )
  batch = jax.tree.map(lambda x: place(x, PartitionSpec("data")), batch)
  kept = (jax.tree.map(lambda x: x.sharding, state), None) if fsdp else None
  lowered = jax.jit(update, donate_argnums=0, out_shardings=kept).lower(state, batch)
  begin = time.perf_counter()
  compiled = lowered.compile()
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  return {
    "program": name,
    "flops": cost["flops"],
    "bytes_accessed": cost["bytes accessed"],
    "temporary_bytes": memory.temp_size_in_bytes,
    "argument_bytes": memory.argument_size_in_bytes,
    "collective_bytes": collective_bytes(compiled.as_text()),
    "compile_seconds": time.perf_counter() - begin,
  }


def _slices(leaf: Any, parts: int) -> PartitionSpec:
  """Along the longest axis that can be cut into so many parts; small ones lie everywhere."""
  axes = [axis for axis, size in enumerate(np.shape(leaf)) if size % parts == 0]
  if not axes:
    return PartitionSpec()
  longest = max(axes, key=lambda axis: np.shape(leaf)[axis])
  return PartitionSpec(*[None] * longest, "data")


def collective_bytes(program: str) -> float:
  """Bytes that a chip sends in all collectives of a program, on a ring of many chips.

  An all-reduce is a reduce-scatter and an all-gather: twice its size. A TPU's reduce-scatter is
  written as an all-reduce of which a computation takes a slice. A collective that runs beside
  several computations stands in the text of each, with the same channel.
  """
  sent: dict[str, float] = {}
  is_slice = False
  for line in program.splitlines():
    if line.endswith("{"):  # a computation begins
      is_slice = "all-reduce-scatter" in line.split("(")[0]
    if found := COLLECTIVE.search(line):
      shapes, kind, channel = found.groups()
      factor = 2 if kind == "all-reduce" and not is_slice else 1
      # What comes of a reduce-scatter is a chip's part.
      parts = _group_size(line) if kind == "reduce-scatter" else 1
      sent[channel] = factor * parts * _bytes(shapes)
  return sum(sent.values())


def _bytes(shapes: str) -> int:
  found = 0
  for dtype, dimensions in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
    found += BYTES[dtype] * math.prod(int(n) for n in dimensions.split(",") if n)
  return found


def _group_size(line: str) -> int:
  """Chips that a collective is over, of either way to write them."""
  if found := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", line):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", found[2]))
  if found := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
    return int(found[1])
  found = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
  return found[1].count(",") + 1 if found else 1


def main(config: Config) -> None:
  """Print a table a precision."""
  jax.config.update("jax_exec_time_optimization_effort", config.effort)
  try:
    topology = topologies.get_topology_desc(platform="tpu", topology_name=config.topology)
  except (RuntimeError, ValueError, NotImplementedError) as error:
    raise SystemExit(f"--topology {config.topology}: {error} (is libtpu installed?)") from None
  devices = topology.devices[: config.chips or None]
  mesh = Mesh(np.array(devices), ("data",))
  for precision in config.precisions:
    problem = problem_of(config, precision, len(devices))
    print(f"\n{config.network}, {len(devices)} of {config.topology}, {precision}\n")
    rows = []
    for name in ("plain", *config.methods):
      try:  # in the forms of the platform that the arguments are on
        rows.append(row_of(problem, name, mesh, config.fsdp))
      except jax.errors.JaxRuntimeError as error:  # out of memory: the others may fit
        rows.append({"program": name, "failure": str(error).splitlines()[0][:160]})
      print(rows[-1], file=sys.stderr, flush=True)  # the next one may take minutes
    print(table(rows), flush=True)


if __name__ == "__main__":
  main(tyro.cli(Config))
