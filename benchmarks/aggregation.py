"""Time and peak memory of every aggregator on given task gradients, beside TorchJD and LibMTL.

Command: `python -m benchmarks.aggregation --tasks 2 3 8 20 40 --sizes 10000 1000000 --repeats 7`.
The peers (TorchJD 0.18 and LibMTL 1.1.5 were measured) take part where they are installed, on the
same Jacobians in the same run. Every round calls each program once, in turn, after a warm-up. For a
whole training step see `benchmarks/whole_step.py`.

Prints a Markdown table: median milliseconds, the time over the bound that memory sets, peak memory
above what was held before the call (Linux), and our time over each peer's. The bound is the bytes
that must move (task gradients twice for a method that weighs them by their Gramian, once for the
others, and the update) over the bandwidth of one core's copy of as many numbers, measured beside;
two cores may go below it. LibMTL aggregates inside its backward pass; its losses are inner products
with the rows, so that its time includes T copies of a row.
"""

import ctypes
import dataclasses
import gc
import pathlib
import re
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxmtl
from benchmarks.timing import interleaved, medians
from jaxmtl.aggregation import METHODS

# Ours -> theirs, with the options that make them the same method.
TORCHJD: dict[str, tuple[str, dict[str, Any]]] = {
  "aligned_mtl": ("AlignedMTL", {}),
  "cagrad": ("CAGrad", {"c": 0.5}),
  "conflict_free": ("ConFIG", {}),
  "dual_proj": ("DualProj", {}),
  "excess_mtl": ("ExcessMTL", {}),
  "fairgrad": ("FairGrad", {"alpha": 1.0}),
  "graddrop": ("GradDrop", {}),
  "gradvac": ("GradVac", {}),
  "imtl_g": ("IMTLG", {}),
  "krum": ("Krum", {"n_byzantine": 0}),
  "mean_tasks": ("Mean", {}),
  "mgda": ("MGDA", {}),
  "nash_mtl": ("NashMTL", {}),
  "pcd": ("PCD", {}),
  "pcgrad": ("PCGrad", {}),
  "sum_tasks": ("Sum", {}),
  "trimmed_mean": ("TrimmedMean", {"trim_number": 1}),
  "upgrad": ("UPGrad", {}),
}
LIBMTL: dict[str, tuple[str, dict[str, Any]]] = {
  "cagrad": ("CAGrad", {"calpha": 0.5, "rescale": 0}),
  "gradvac": ("GradVac", {"beta": 0.5}),
  "mgda": ("MGDA", {"mgda_gn": "none"}),
  "pcgrad": ("PCGrad", {}),
}


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    methods: names of aggregators; all where empty.
    tasks: numbers of tasks T.
    sizes: numbers of parameters P.
    repeats: timed rounds.
    peers: whether to time TorchJD and LibMTL.
  """

  methods: tuple[str, ...] = ()
  tasks: tuple[int, ...] = (2, 3, 8, 20, 40)
  sizes: tuple[int, ...] = (10_000, 1_000_000)
  repeats: int = 7
  peers: bool = True


def ours(name: str, jacobian: np.ndarray) -> Callable[[], Any]:
  """A compiled update."""
  aggregator = METHODS[name](len(jacobian))
  rows, losses = jnp.asarray(jacobian), jnp.ones(len(jacobian))
  state = aggregator.init(rows[0])
  update = jax.jit(lambda g, s, x: aggregator.update(g, s, losses=x))
  call = update.lower(rows, state, losses).compile()
  return lambda: jax.block_until_ready(call(rows, state, losses))


def torchjd(name: str, jacobian: np.ndarray) -> Callable[[], Any] | None:
  """TorchJD's aggregator, or None."""
  try:
    import torch
    from torchjd import aggregation
  except ImportError:
    return None
  if name not in TORCHJD or not hasattr(aggregation, TORCHJD[name][0]):
    return None
  theirs, options = TORCHJD[name]
  if name == "nash_mtl":
    options = {"n_tasks": len(jacobian)}
  rows = torch.from_numpy(jacobian)
  aggregator = getattr(aggregation, theirs)(**options)
  return lambda: aggregator(rows)


def libmtl(name: str, jacobian: np.ndarray) -> Callable[[], Any] | None:
  """LibMTL's method on a network whose task gradients are the rows, or None."""
  let_libmtl_in()
  try:
    import torch
    from LibMTL import weighting
  except ImportError:
    return None
  if name not in LIBMTL:
    return None
  theirs, options = LIBMTL[name]
  rows = torch.from_numpy(jacobian)
  parameter = torch.nn.Parameter(torch.zeros(jacobian.shape[1]))

  class Network(getattr(weighting, theirs)):  # type: ignore[misc]
    def get_share_params(self) -> Any:
      return [parameter]

    def zero_grad_share_params(self) -> None:
      parameter.grad.zero_()

  network = Network()
  network.task_num, network.task_name = len(jacobian), [str(i) for i in range(len(jacobian))]
  network.device, network.rep_grad, network.epoch = torch.device("cpu"), False, 0
  network.init_param()

  def call() -> None:
    parameter.grad = torch.zeros_like(parameter)
    network.backward(rows @ parameter + 1, **options)

  return call


def let_libmtl_in() -> None:
  """Its models import a module that torchvision has removed, which its weightings do not use."""
  utils = sys.modules.setdefault("torchvision.models.utils", types.ModuleType("utils"))
  utils.load_state_dict_from_url = None  # type: ignore[attr-defined]


def _working(
  make: Callable, name: str, jacobian: np.ndarray, failures: list[str]
) -> Callable[[], Any] | None:
  """A peer's method; None where it has none or fails on these task gradients, which is noted."""
  try:
    call = make(name, jacobian)
    if call:
      call()
    return call
  except Exception as error:  # whatever a peer raises
    place = f"{make.__name__}, {name}, T={len(jacobian)}, P={jacobian.shape[1]}"
    failures.append(f"{place}: {type(error).__name__}: {error}")
    return None


def peak_memory(call: Callable[[], Any]) -> float:
  """Largest resident memory during a call above that before it, in MB; NaN where not Linux."""
  try:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident("VmRSS")
    call()
    return (_resident("VmHWM") - before) / 1024
  except OSError:
    return float("nan")


def _resident(field: str) -> int:
  text = pathlib.Path("/proc/self/status").read_text()
  found = re.search(rf"{field}:\s+(\d+)", text)
  return int(found.group(1)) if found else 0


def copy_bandwidth(count: int, repeats: int) -> float:
  """Bytes a second that a copy of so many float32 reads and writes, in the cache where they fit."""
  source, target = np.ones(count, np.float32), np.ones(count, np.float32)
  times = interleaved({"copy": lambda: np.copyto(target, source)}, repeats)
  return 2 * source.nbytes / medians(times)["copy"]


def bytes_to_move(name: str, num_tasks: int, size: int) -> int:
  """What a method reads and writes at least, in float32; states are not counted."""
  passes = 2 if METHODS[name](num_tasks).weigh is not None else 1
  return 4 * size * (passes * num_tasks + 1)


def main(config: Config) -> None:
  """Time every method and print a Markdown table."""
  unknown = set(config.methods) - set(METHODS)
  if unknown:
    raise SystemExit(f"methods {sorted(unknown)} are not known; known ones: {sorted(METHODS)}.")
  print(f"jaxmtl {jaxmtl.__version__}, jax {jax.__version__}, {jax.default_backend()}\n")
  print(
    "| method | T | P | ms | over the bound | MB | TorchJD ms | MB | over it | LibMTL ms | MB | "
    "over it |"
  )
  print("|" + " --- |" * 12)
  failures: list[str] = []
  for num_tasks in config.tasks:
    for size in config.sizes:
      rng = np.random.default_rng(0)
      jacobian = rng.normal(size=(num_tasks, size)).astype(np.float32)
      bandwidth = copy_bandwidth(jacobian.size, config.repeats)
      for name in config.methods or METHODS:
        programs = {"ours": ours(name, jacobian)}
        for make in (torchjd, libmtl) if config.peers else ():
          if call := _working(make, name, jacobian, failures):
            programs[make.__name__] = call
        middle = medians(interleaved(programs, config.repeats))
        memory = {peer: peak_memory(call) for peer, call in programs.items()}
        bound = bytes_to_move(name, num_tasks, size) / bandwidth
        cells = [f"{1000 * middle['ours']:.2f}", f"{middle['ours'] / bound:.1f}"]
        cells.append(f"{memory['ours']:.0f}")
        for peer in ("torchjd", "libmtl"):
          known = peer in middle
          cells += [f"{1000 * middle[peer]:.2f}", f"{memory[peer]:.0f}"] if known else ["-", "-"]
          cells += [f"{middle['ours'] / middle[peer]:.2f}"] if known else ["-"]
        print(f"| {name} | {num_tasks} | {size} | " + " | ".join(cells) + " |", flush=True)
  print("\n" + "\n".join(failures))


if __name__ == "__main__":
  main(tyro.cli(Config))
