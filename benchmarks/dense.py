"""A training step of dense prediction by method, in plain steps, and beside torchvision.

Command: `python -m benchmarks.dense --rounds 5`. Network: the Auto-lambda paper's Split of
ResNet-50 at output stride 8, with heads for 13 classes, depth and normals, on images of 128x160.
PyTorch takes part where torchvision is installed: its deeplabv3_resnet50 with a head a task. Prints
a Markdown table: milliseconds, plain steps, and temporary memory by the compiler's count. Goals: a
plain step at most 1.3 of torchvision's; Auto-lambda at most 2.6 plain steps; PCGrad and CAGrad 1.8,
with 1.6 times the memory.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import tyro

import jaxmtl
from benchmarks.accelerator.measure import Program, timed
from benchmarks.accelerator.table import table
from benchmarks.accelerator.workloads import Workload, options_of
from experiments.problems.maps import MapImages, MapTask, answers, map_problem
from jaxmtl import losses, models

TASKS = {
  "segmentation": MapTask("classes", 13),
  "depth": MapTask("depth", 1),
  "normal": MapTask("normal", 3),
}


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    backbone: a ResNet's name.
    batch: images a step.
    height: of the images.
    width: the same.
    features: channels within the heads.
    methods: beside the plain step.
    at_representation: aggregators that see gradients at the trunk's output.
    reuse: whether Auto-lambda's step takes the weights before its own, and is the look-ahead.
    precision: float32 or bfloat16.
    remat: whether the trunk's blocks are computed again in the backward pass.
    rounds: timed rounds.
    threads: programs that compile at a time; PyTorch's threads are its default.
  """

  backbone: str = "resnet50"
  batch: int = 2
  height: int = 128
  width: int = 160
  features: int = 256
  methods: tuple[str, ...] = ("auto_lambda", "pcgrad", "cagrad", "graddrop")
  at_representation: tuple[str, ...] = ("pcgrad", "cagrad")
  reuse: bool = False
  precision: str = "float32"
  remat: bool = False
  rounds: int = 5
  threads: int = 1


def network(config: Config) -> Any:
  """The Split network."""
  dtype = None if config.precision == "float32" else jnp.dtype(config.precision)
  return models.deeplab(
    models.create(config.backbone, output_stride=8, dtype=dtype, remat=config.remat),
    {t: kind.outputs for t, kind in TASKS.items()},
    features=config.features,
  )


def split(config: Config) -> Workload:
  """The network with random images and maps."""
  keys = jax.random.split(jax.random.key(0), 4)
  size = (config.batch, config.height, config.width)
  normal = jax.random.normal(keys[3], (*size, 3))
  batch = {
    "image": jax.random.uniform(keys[0], (*size, 3)),
    "segmentation": jax.random.randint(keys[1], size, -1, 13),
    "depth": jax.random.uniform(keys[2], (*size, 1), minval=1, maxval=5),
    "normal": normal / jnp.linalg.norm(normal, axis=-1, keepdims=True),
  }
  problem = map_problem(MapImages({"train": batch}, TASKS, {}), tuple(TASKS), network(config))
  variables = jax.jit(lambda key: problem.init(key, None))(jax.random.key(1))
  return Workload(problem.losses_fn, variables, batch, len(TASKS))


def at_the_representation(config: Config, problem: Workload, name: str) -> Program:
  """A step whose aggregator sees the gradients at the trunk's output, with one way back from it."""
  net, aggregator = network(config), getattr(jaxmtl, name)(len(TASKS))
  optimizer = optax.sgd(0.01, momentum=0.9)
  variables = jax.tree.map(jnp.copy, problem.variables)
  params, stats = variables["params"], variables["batch_stats"]

  def apply(variables: Any, method: Any, *args: Any) -> Any:
    return net.apply(variables, *args, True, method=method, mutable=["batch_stats"])

  def step(state: Any, batch: Any) -> Any:
    params, opt_state, aggregator_state, stats = state
    own = {n: p for n, p in params.items() if n != "backbone"}

    def encode(shared: Any, batch: Any) -> Any:
      found = {"params": {"backbone": shared}, "batch_stats": stats}
      features, updated = apply(found, net.features, batch["image"], tuple(TASKS))
      return features["depth"], updated["batch_stats"]["backbone"]

    def losses_of(encoded: Any, own: Any, batch: Any) -> Any:
      found = {}
      for task in TASKS:
        head = {"params": own, "batch_stats": stats}
        output, _ = apply(head, net.head, task, encoded[0])
        found[task] = models.resize_aligned(output, batch["image"].shape[1:3])
      found = answers(found, TASKS)
      return jnp.stack(
        [
          losses.cross_entropy(found["segmentation"], batch["segmentation"], ignore=-1),
          losses.pixel_l1(found["depth"], batch["depth"], ignore=0),
          losses.pixel_l1(found["normal"], batch["normal"], ignore=0),
        ]
      )

    graded = jaxmtl.representation_value_and_grad(encode, losses_of)
    values, (grads, own_grad, pullback) = graded(params["backbone"], own, batch)
    combined, aggregator_state = aggregator.update(grads[0], aggregator_state, losses=values)
    of_stats = jax.tree.map(lambda g: jnp.zeros_like(g[0]), grads[1])
    grad = {"backbone": pullback((combined, of_stats)), **own_grad}
    updates, opt_state = optimizer.update(grad, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state, aggregator_state, stats), values

  z = jax.eval_shape(
    lambda v, x: apply(v, net.features, x, tuple(TASKS))[0]["depth"],
    problem.variables,
    problem.batch["image"],
  )
  first = params, optimizer.init(params), aggregator.init(jnp.zeros(z.shape, z.dtype)), stats
  return Program(step, first, (problem.batch,))


def makers(config: Config) -> dict[str, Callable[[], Program]]:
  """Programs by method."""
  problem = split(config)

  def of(name: str) -> Callable[[], Program]:
    def make() -> Program:
      options = options_of(name, len(TASKS))
      if name == "auto_lambda" and config.reuse:
        options["weighting"] = jaxmtl.auto_lambda(len(TASKS), reuse=True)
      update, state, batch = problem.step(**options)
      return Program(update, state, (batch,))

    return make

  found = {name: of(name) for name in ("plain", *config.methods)}
  for name in config.at_representation:
    found[f"{name}, at the representation"] = functools.partial(
      at_the_representation, config, problem, name
    )
  return found


def torch_step(config: Config) -> Callable[[], None] | None:
  """The same plain step in torchvision, or None where it is not installed."""
  try:
    import torch
    from torchvision.models.segmentation import deeplabv3_resnet50
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead
  except ImportError:
    return None
  trunk = deeplabv3_resnet50(weights=None, weights_backbone=None).backbone
  heads = torch.nn.ModuleList([DeepLabHead(2048, kind.outputs) for kind in TASKS.values()])
  parameters = [*trunk.parameters(), *heads.parameters()]
  optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
  images = torch.randn(config.batch, 3, config.height, config.width)
  classes = torch.randint(0, 13, (config.batch, config.height, config.width))

  def call() -> None:
    optimizer.zero_grad()
    features = trunk(images)["out"]
    sizes = images.shape[2:]
    resize = torch.nn.functional.interpolate
    outputs = [resize(h(features), sizes, mode="bilinear", align_corners=True) for h in heads]
    loss = torch.nn.functional.cross_entropy(outputs[0], classes)
    loss = loss + outputs[1].abs().mean() + outputs[2].abs().sum(1).mean()
    loss.backward()
    optimizer.step()

  return call


def main(config: Config) -> None:
  """Time every program in turn and print a Markdown table."""
  print(f"{jax.default_backend()}, jax {jax.__version__}, {config.precision}\n")
  call = torch_step(config)
  others = {} if call is None else {"torchvision, plain": call}
  rows = timed(makers(config), config.rounds, config.threads, others=others)
  print(table(rows))


if __name__ == "__main__":
  main(tyro.cli(Config))
