"""Time of one training step of a convolutional network: ours, plain `lax.conv`, and PyTorch.

Commands: `python -m benchmarks.convnet_step --network vgg16 --repeats 5`, the same with vgg19, and
`python -m benchmarks.convnet_step --network resnet18 --size 96 --batch 32`.
PyTorch takes part where it is installed.
Every repeat times each program once, in turn, after one warm-up; the table shows medians.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

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
    network: vgg16 or vgg19 with batch normalization, or resnet18.
    size: height and width of the images.
    batch: images a step.
    plain: whether to time plain `lax.conv` as well.
    repeats: timed rounds.
    width: multiplier of all channel counts.
    steps: steps of one scanned call.
    seeds: networks trained together under vmap inside the scan; 0 leaves this row out.
    lax_in_scan: also time plain `lax.conv` inside the scan (many times slower on CPU).
    threads: number of PyTorch's threads; 0 keeps its default.
  """

  network: Literal["vgg16", "vgg19", "resnet18"] = "vgg19"
  size: int = 32
  batch: int = 64
  plain: bool = True
  repeats: int = 5
  width: float = 1.0
  steps: int = 2
  seeds: int = 0
  lax_in_scan: bool = False
  threads: int = 0


def _jax_step(config: Config, form: str, mode: str) -> Callable[[], Any]:
  """A compiled call that trains; `mode` is alone, scan or seeds."""
  backbone = models.create(config.network, width=config.width)
  model = models.MultiHead(backbone, {"main": nn.Dense(100)})
  images = jax.random.normal(jax.random.key(1), (config.batch, config.size, config.size, 3))
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

  chosen, conv_module.use_cpu_form = conv_module.use_cpu_form, lambda _="auto": form == "cpu"
  key = jax.random.key(0)
  if mode == "seeds":
    state = jax.jit(jax.vmap(start))(jax.random.split(key, config.seeds))
    call = jax.jit(jax.vmap(scanned)).lower(state).compile()
  else:
    state = jax.jit(start)(key)
    call = jax.jit(scanned if mode == "scan" else lambda s: step(s)[0]).lower(state).compile()
  conv_module.use_cpu_form = chosen
  return lambda: jax.block_until_ready(call(state))


def _torch_step(config: Config) -> Callable[[], Any] | None:
  """The same step in PyTorch, or None where it is not installed."""
  try:
    import torch
  except ImportError:
    return None
  if config.threads:
    torch.set_num_threads(config.threads)
  make = _torch_resnet18 if config.network == "resnet18" else _torch_vgg
  net = make(config)
  optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
  images, labels = (
    torch.randn(config.batch, 3, config.size, config.size),
    torch.arange(config.batch) % 100,
  )

  def call() -> None:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(images), labels).backward()
    optimizer.step()

  return call


def _torch_vgg(config: Config) -> Any:
  import torch

  layers: list[Any] = []
  channels, stages = 3, models.STAGES[int(config.network.removeprefix("vgg"))]
  for depth, width in zip(stages, (64, 128, 256, 512, 512), strict=True):
    width = round(width * config.width)
    for _ in range(depth):
      conv = torch.nn.Conv2d(channels, width, 3, padding=1, bias=False)
      layers += [conv, torch.nn.BatchNorm2d(width), torch.nn.ReLU(inplace=True)]
      channels = width
    layers.append(torch.nn.MaxPool2d(2))
  layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, 100)]
  return torch.nn.Sequential(*layers)


def _torch_resnet18(config: Config) -> Any:
  from torch import nn as tnn

  def conv_norm(before: int, after: int, size: int, stride: int) -> list[Any]:
    conv = tnn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return [conv, tnn.BatchNorm2d(after)]

  class Block(tnn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
      super().__init__()
      first, second = conv_norm(before, after, 3, stride), conv_norm(after, after, 3, 1)
      self.body = tnn.Sequential(*first, tnn.ReLU(), *second)
      self.shortcut = tnn.Sequential(*(conv_norm(before, after, 1, stride) if stride > 1 else []))

    def forward(self, x: Any) -> Any:
      return tnn.functional.relu(self.body(x) + self.shortcut(x))

  widths = [round(channels * config.width) for channels in (64, 128, 256, 512)]
  before = widths[0]
  layers = [*conv_norm(3, before, 7, 2), tnn.ReLU(), tnn.MaxPool2d(3, 2, 1)]
  for after in widths:
    layers += [Block(before, after, 2 if after > before else 1), Block(after, after, 1)]
    before = after
  return tnn.Sequential(*layers, tnn.AdaptiveAvgPool2d(1), tnn.Flatten(), tnn.Linear(before, 100))


def main(config: Config) -> None:
  """Time every program in turn and print a Markdown table."""
  programs: dict[str, tuple[Callable[[], Any] | None, int]] = {
    "ours, jit": (_jax_step(config, "cpu", "alone"), 1),
    "ours, in scan": (_jax_step(config, "cpu", "scan"), config.steps),
    "PyTorch": (_torch_step(config), 1),
  }
  if config.plain:
    programs["plain lax.conv, jit"] = (_jax_step(config, "lax", "alone"), 1)
  if config.seeds:
    calls = config.steps * config.seeds
    name = f"ours, {config.seeds} seeds in scan (each)"
    programs[name] = (_jax_step(config, "cpu", "seeds"), calls)
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
