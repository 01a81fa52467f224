"""The groups of every part: a title, and a function that gives its rows."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxmtl
from benchmarks import meta, seeds, whole_step
from benchmarks.accelerator.config import Config
from benchmarks.accelerator.maps import contrast_steps, dense_steps
from benchmarks.accelerator.measure import Program, prepared, timed
from benchmarks.accelerator.workloads import Workload, explicit, size_of, workload
from benchmarks.aggregation import bytes_to_move
from benchmarks.timing import interleaved, medians
from jaxmtl.aggregation import METHODS

Rows = list[dict[str, Any]]
Group = tuple[str, Callable[[], Rows]]


def agreement(config: Config) -> Iterator[Group]:
  """Every aggregator's update on this platform beside the CPU's."""

  def run() -> Rows:
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(5, 2000)).astype(np.float32)
    here, there = jax.devices()[0], jax.devices("cpu")[0]

    def update(name: str, device: Any) -> np.ndarray:
      with jax.default_device(device):
        aggregator, rows = METHODS[name](5), jax.device_put(jacobian, device)
        found, _ = jax.jit(aggregator.update)(
          rows, aggregator.init(rows[0]), losses=jnp.arange(1.0, 6.0)
        )
        return np.asarray(found)

    rows = []
    for name in METHODS:
      found, expected = update(name, here), update(name, there)
      error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
      rows.append({"program": name, "relative_error": float(error)})
    return rows

  yield "agreement with the CPU, float32, T = 5, P = 2,000", run


def steps(config: Config) -> Iterator[Group]:
  """Whole steps by method."""
  for network in config.networks:
    for dtype in config.dtypes:
      for num_tasks in config.tasks if network == "mlp" else (middle(config),):
        yield _steps_of(config, network, dtype, num_tasks)


def deep(config: Config) -> Iterator[Group]:
  """Whole steps of ResNet-50, which take long to compile."""
  for dtype in config.dtypes[::-1]:
    yield _steps_of(config, "resnet50", dtype, middle(config))


def middle(config: Config) -> int:
  """The number of tasks of what is measured with one number only."""
  return (config.tasks[1:2] or config.tasks)[0]


def _steps_of(config: Config, network: str, dtype: str, num_tasks: int) -> Group:
  size = size_of(config, network)

  def run() -> Rows:
    methods = _methods(config, network, num_tasks, dtype)
    return timed(methods, config.rounds, config.threads)

  title = f"step, {network} of width {size.width:g}, {size.batch} images of {size.side} px, {dtype}"
  return f"{title}, T = {num_tasks}", run


def _methods(
  config: Config, network: str, num_tasks: int, dtype: str
) -> dict[str, Callable[[], Program]]:
  problem = workload(config, network, num_tasks, dtype)
  methods = config.methods if network == "mlp" else config.methods[:3]
  makers = {"plain": _of(problem)}
  for name in methods:
    makers[name] = _of(problem, aggregator=getattr(jaxmtl, name)(num_tasks))
  weightings = ("auto_lambda", "uncertainty", "gradnorm") if network == "mlp" else ("auto_lambda",)
  for name in weightings:
    makers[name] = _of(problem, weighting=getattr(jaxmtl, name)(num_tasks))
  return makers


def _of(problem: Workload, **options: Any) -> Callable[[], Program]:
  def make() -> Program:
    update, state, batch = problem.step(**options)
    return Program(update, state, (batch,))

  return make


def forms(config: Config) -> Iterator[Group]:
  """A PCGrad step with task gradients at once, in turn, and without them."""
  num_tasks = middle(config)

  def of(network: str, dtype: str) -> Rows:
    problem = workload(config, network, num_tasks, dtype)
    own, stacked = jaxmtl.pcgrad(num_tasks), explicit("pcgrad", num_tasks)
    makers = {
      "plain": _of(problem),
      "default": _of(problem, aggregator=own),
      "from the Gramian, all at once": _of(problem, aggregator=own, chunk_size=num_tasks),
      "from the Gramian, in turn": _of(problem, aggregator=own, chunk_size=1),
      "explicit, all at once": _of(problem, aggregator=stacked, chunk_size=num_tasks),
      "explicit, in turn": _of(problem, aggregator=stacked, chunk_size=1),
    }
    return timed(makers, config.rounds, config.threads)

  for dtype in config.dtypes[::-1]:
    for network in config.networks:
      title = f"forms of PCGrad, {network}, {dtype}, T = {num_tasks}"
      yield title, functools.partial(of, network, dtype)


def meta_gradients(config: Config) -> Iterator[Group]:
  """Hypergradients and finite differences; errors against double precision."""
  sizes = {"batch": 8, "width": 16, "inputs": 12} if config.tiny else {"batch": 1024, "width": 4096}
  for num_tasks in config.tasks:

    def run(num_tasks: int = num_tasks) -> Rows:
      programs, errors = meta.meta_steps(meta.Config(**sizes), num_tasks)
      times = medians(interleaved(programs, 3 * config.rounds))
      return [
        {
          "program": name,
          "seconds": seconds,
          "ratio": seconds / times["plain"],
          **({"relative_error": errors[name]} if name in errors else {}),
        }
        for name, seconds in times.items()
      ]

    yield f"hypergradient, MLP, float32, T = {num_tasks}", run


def several_seeds(config: Config) -> Iterator[Group]:
  """Eight seeds in one call."""

  def run() -> Rows:
    sizes = {"batch": 4, "steps": 2, "width": 4} if config.tiny else {"batch": 128, "width": 32}
    programs = seeds.programs(seeds.Config(seeds=2 if config.tiny else 8, **sizes))
    times = medians(interleaved(programs, config.rounds))
    return [
      {"program": name, "seconds": s, "ratio": s / times["one after another"]}
      for name, s in times.items()
    ]

  yield "seeds, an epoch of Auto-lambda on ConvNet-4, 8 seeds", run


def aggregation(config: Config) -> Iterator[Group]:
  """Every aggregator alone."""
  size = 1000 if config.tiny else 10_000_000
  num_tasks = middle(config)

  def run() -> Rows:
    rows = jax.random.normal(jax.random.key(0), (num_tasks, size))
    given = jnp.ones(num_tasks)

    def of(name: str) -> Callable[[], Program]:
      def make() -> Program:
        aggregator = METHODS[name](num_tasks)
        return Program(
          lambda state, g, x: aggregator.update(g, state, losses=x),
          aggregator.init(rows[0]),
          (rows, given),
          chained=False,
        )

      return make

    # `x + 1` reads and writes every number once.
    makers = {"copy": lambda: Program(lambda x: x + 1, rows, chained=False)}
    found = timed(makers | {n: of(n) for n in METHODS}, config.rounds, config.threads, "copy")
    bandwidth = 2 * rows.nbytes / found[0]["seconds"]
    found[0]["gigabytes_a_second"] = bandwidth / 1e9
    for row in found[1:]:
      if "seconds" in row:
        bound = bytes_to_move(row["program"], num_tasks, size) / bandwidth
        row["over_the_bound"] = row["seconds"] / bound
    return found

  yield f"aggregation alone, float32, T = {num_tasks}, P = {size:,}", run


def peers(config: Config) -> Iterator[Group]:
  """TorchJD's whole steps beside ours."""
  try:
    import torch
    import torchjd  # noqa: F401
  except ImportError:
    return
  device = "cuda" if torch.cuda.is_available() else "cpu"
  num_tasks = middle(config)
  for method in ("pcgrad", "upgrad"):
    for network in ("mlp", "cnn", "vit"):

      def run(network: str = network, method: str = method) -> Rows:
        batch = 4 if config.tiny else 512
        options = whole_step.Config(method=method, device=device, batch=batch)
        programs = whole_step.jax_steps(options, network, num_tasks)
        programs |= whole_step.torch_steps(options, network, num_tasks)
        times = medians(interleaved(programs, config.rounds))
        return [
          {"program": name, "seconds": s, "ratio": s / times["plain"]} for name, s in times.items()
        ]

      yield f"TorchJD on {device}, {method}, {network}, float32, T = {num_tasks}", run


def batches(config: Config) -> Iterator[Group]:
  """The largest batch, from the memory of two batches by the compiler's count."""
  limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 16e9)
  num_tasks = middle(config)
  for network in config.networks[1:3]:
    first = size_of(config, network).batch
    for dtype in config.dtypes[-1:]:

      def run(network: str = network, dtype: str = dtype, first: int = first) -> Rows:
        total: dict[str, list[float]] = {}
        for count in (first, 2 * first):
          problem = workload(config, network, num_tasks, dtype, count)
          makers = {
            "plain": _of(problem),
            "pcgrad": _of(problem, aggregator=jaxmtl.pcgrad(num_tasks)),
            "graddrop": _of(problem, aggregator=jaxmtl.graddrop(num_tasks)),
            "auto_lambda": _of(problem, weighting=jaxmtl.auto_lambda(num_tasks)),
          }
          ready, _ = prepared(makers, config.threads)
          for name, one in ready.items():
            memory = one.analysis()
            total.setdefault(name, []).append(memory["temporary_bytes"] + memory["argument_bytes"])
        rows = []
        for name, (small, large) in ((n, t) for n, t in total.items() if len(t) == 2):
          each = (large - small) / first
          rows.append(
            {
              "program": name,
              "bytes_an_image": each,
              "bytes_without": small - each * first,
              "largest_batch": int((limit - small + each * first) / each) if each > 0 else None,
            }
          )
        return rows

      yield f"largest batch in {limit / 1e9:.0f} GB, {network}, {dtype}, T = {num_tasks}", run


PARTS: dict[str, Callable[[Config], Iterator[Group]]] = {
  "agreement": agreement,
  "steps": steps,
  "dense": dense_steps,
  "contrast": contrast_steps,
  "forms": forms,
  "meta": meta_gradients,
  "seeds": several_seeds,
  "aggregation": aggregation,
  "peers": peers,
  "deep": deep,
  "batches": batches,
}
