"""Time of one training step of VGG-19-BN on 32x32 images: ours, plain `lax.conv`, and PyTorch.

Command: `python -m benchmarks.vgg_step --batch 64 --repeats 5`.
PyTorch takes part where it is installed.
Every repeat times each program once, in turn, after one warm-up; the table shows medians.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import tyro

from benchmarks.timing import interleaved, medians
from jaxmtl import models
from jaxmtl.models import conv as conv_module


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    batch: Images a step.
    repeats: Timed rounds.
    width: Multiplier of all channel counts.
    steps: Steps of one scanned call.
    seeds: Networks trained together under vmap inside the scan; 0 leaves this row out.
    lax_in_scan: Also time plain `lax.conv` inside the scan (many times slower on CPU).
    threads: Number of PyTorch's threads; 0 keeps its default.
  """

  batch: int = 64
  repeats: int = 5
  width: float = 1.0
  steps: int = 2
  seeds: int = 0
  lax_in_scan: bool = False
  threads: int = 0


def _jax_step(config: Config, form: str, mode: str) -> Callable[[], Any]:
  """A compiled call that trains; `mode` is alone, scan or seeds."""
  model = models.MultiHead(models.create("vgg19", width=config.width), {"main": nn.Dense(100)})
  images = jax.random.normal(jax.random.key(1), (config.batch, 32, 32, 3))
  labels = jnp.arange(config.batch) % 100
  optimizer = optax.sgd(0.01, momentum=0.9)

  def start(key):
    variables = model.init(key, images)
    return variables, optimizer.init(variables["params"])

  def step(state, _=None):
    variables, momentum = state

    def loss_fn(params):
      outputs, updates = model.apply(
        {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(outputs["main"], labels)
      return losses.mean(), updates

    gradient, updates = jax.grad(loss_fn, has_aux=True)(variables["params"])
    change, momentum = optimizer.update(gradient, momentum)
    params = optax.apply_updates(variables["params"], change)
    return ({"params": params, **updates}, momentum), None

  def scanned(state):
    return jax.lax.scan(step, state, None, length=config.steps)[0]

  chosen, conv_module.use_matmul = conv_module.use_matmul, lambda _="auto": form == "matmul"
  key = jax.random.key(0)
  if mode == "seeds":
    state = jax.jit(jax.vmap(start))(jax.random.split(key, config.seeds))
    call = jax.jit(jax.vmap(scanned)).lower(state).compile()
  else:
    state = jax.jit(start)(key)
    call = jax.jit(scanned if mode == "scan" else lambda s: step(s)[0]).lower(state).compile()
  conv_module.use_matmul = chosen
  return lambda: jax.block_until_ready(call(state))


def _torch_step(config: Config) -> Callable[[], Any] | None:
  """The same step in PyTorch, or None where it is not installed."""
  try:
    import torch
  except ImportError:
    return None
  if config.threads:
    torch.set_num_threads(config.threads)
  layers: list[Any] = []
  channels = 3
  for depth, width in zip(models.STAGES[19], (64, 128, 256, 512, 512), strict=True):
    width = round(width * config.width)
    for _ in range(depth):
      conv = torch.nn.Conv2d(channels, width, 3, padding=1, bias=False)
      layers += [conv, torch.nn.BatchNorm2d(width), torch.nn.ReLU(inplace=True)]
      channels = width
    layers.append(torch.nn.MaxPool2d(2))
  net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(channels, 100))
  optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
  images, labels = torch.randn(config.batch, 3, 32, 32), torch.arange(config.batch) % 100

  def call() -> None:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(images), labels).backward()
    optimizer.step()

  return call


def main(config: Config) -> None:
  """Time every program in turn and print a Markdown table."""
  programs: dict[str, tuple[Callable[[], Any] | None, int]] = {
    "ours, jit": (_jax_step(config, "matmul", "alone"), 1),
    "ours, in scan": (_jax_step(config, "matmul", "scan"), config.steps),
    "plain lax.conv, jit": (_jax_step(config, "lax", "alone"), 1),
    "PyTorch": (_torch_step(config), 1),
  }
  if config.seeds:
    calls = config.steps * config.seeds
    name = f"ours, {config.seeds} seeds in scan (each)"
    programs[name] = (_jax_step(config, "matmul", "seeds"), calls)
  if config.lax_in_scan:
    programs["plain lax.conv, in scan"] = (_jax_step(config, "lax", "scan"), config.steps)
  present = {name: call for name, (call, _) in programs.items() if call}
  times = {
    name: [seconds / programs[name][1] for seconds in values]
    for name, values in interleaved(present, config.repeats).items()
  }
  middle = medians(times)
  reference = middle.get("PyTorch", middle["ours, jit"])
  against = "PyTorch" if "PyTorch" in middle else "ours, jit"
  print(f"| program | s a step | fastest | over {against} |\n| --- | --- | --- | --- |")
  for name, median in middle.items():
    print(f"| {name} | {median:.3f} | {min(times[name]):.3f} | {median / reference:.2f} |")


if __name__ == "__main__":
  main(tyro.cli(Config))
