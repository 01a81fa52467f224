"""A whole training step with gradient surgery: from the Gramian alone, explicit, and in TorchJD.

Command: `python -m benchmarks.whole_step --repeats 7`. TorchJD (0.18 was measured) takes part where
it is installed, with both of its engines: autojac makes the task gradients, autogram the Gramian.
Networks: an MLP 3072-1024x4 (batch 64), three 3x3 convolutions with 32, 64 and 128 channels on
32x32 images (batch 64), and a vision transformer of four blocks (width 192, 64 tokens, batch 32).
One linear layer gives one output a task; losses are squared errors, all parameters are shared.
Prints a Markdown table: median and fastest seconds, in plain steps of the sum of the losses, and
over the faster engine of TorchJD.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import tyro

import jaxmtl
from benchmarks.timing import interleaved, medians
from jaxmtl import models

LEARNING_RATE = 0.01


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    networks: among mlp, cnn, vit.
    tasks: numbers of tasks.
    method: pcgrad, upgrad, mgda or another Gramian-based aggregator that both libraries have.
    explicit: whether to time explicit task gradients as well.
    repeats: timed rounds.
    threads: number of PyTorch's threads; 0 keeps its default.
    device: PyTorch's device, cpu or cuda.
    batch: images a step; 0 takes each network's own.
  """

  networks: tuple[str, ...] = ("mlp", "cnn", "vit")
  tasks: tuple[int, ...] = (3, 8, 20)
  method: str = "upgrad"
  explicit: bool = True
  repeats: int = 7
  threads: int = 0
  device: str = "cpu"
  batch: int = 0


class MLP(nn.Module):
  """Four layers of 1024."""

  outputs: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """From `[B, 32, 32, 3]` to `[B, outputs]`."""
    x = x.reshape(len(x), -1)
    for _ in range(4):
      x = nn.relu(nn.Dense(1024)(x))
    return nn.Dense(self.outputs)(x)


class CNN(nn.Module):
  """Three convolutions, each followed by a 2x2 max pool."""

  outputs: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """From `[B, 32, 32, 3]` to `[B, outputs]`."""
    for channels in (32, 64, 128):
      x = nn.relu(models.Conv(channels, (3, 3), padding=1)(x))
      x = models.max_pool(x)
    return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class ViT(nn.Module):
  """Four pre-norm blocks on 4x4 patches."""

  outputs: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """From `[B, 32, 32, 3]` to `[B, outputs]`."""
    patches = x.reshape(len(x), 8, 4, 8, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(len(x), 64, 48)
    positions = self.param("positions", nn.initializers.normal(0.02), (64, 192))
    x = nn.Dense(192)(patches) + positions
    for _ in range(4):
      x = x + nn.MultiHeadDotProductAttention(3)(nn.LayerNorm()(x))
      x = x + nn.Dense(192)(nn.gelu(nn.Dense(768)(nn.LayerNorm()(x))))
    return nn.Dense(self.outputs)(nn.LayerNorm()(x).mean(1))


NETWORKS: dict[str, tuple[type[nn.Module], int]] = {
  "mlp": (MLP, 64),
  "cnn": (CNN, 64),
  "vit": (ViT, 32),
}


def jax_steps(config: Config, network: str, num_tasks: int) -> dict[str, Callable[[], Any]]:
  """Compiled steps: plain, from the Gramian, and with explicit task gradients."""
  make, size = NETWORKS[network]
  size = config.batch or size
  model, aggregator = make(num_tasks), getattr(jaxmtl, config.method)(num_tasks)
  images = jax.random.normal(jax.random.key(0), (size, 32, 32, 3))
  targets = jax.random.normal(jax.random.key(1), (size, num_tasks))
  params = jax.jit(model.init)(jax.random.key(2), images)

  batch = (images, targets)  # an argument: XLA would compute with constants while compiling

  def losses_fn(params: Any, batch: Any) -> jax.Array:
    images, targets = batch
    return jnp.mean((model.apply(params, images) - targets) ** 2, axis=0)

  def apply(params: Any, grads: Any) -> Any:
    return optax.apply_updates(params, jax.tree.map(lambda g: -LEARNING_RATE * g, grads))

  def plain(params: Any, state: Any, batch: Any) -> Any:
    return apply(params, jax.grad(lambda p: losses_fn(p, batch).sum())(params)), state

  def implicit(params: Any, state: Any, batch: Any) -> Any:
    losses, (gramian, pullback) = jaxmtl.task_gramian(losses_fn)(params, batch)
    weights, state = aggregator.weigh(gramian, state, losses=losses)
    return apply(params, pullback(weights)), state

  def explicit(params: Any, state: Any, batch: Any) -> Any:
    losses, task_grads = jaxmtl.task_value_and_grad(losses_fn)(params, batch)
    grads, state = aggregator.update(task_grads, state, params, losses=losses)
    return apply(params, grads), state

  steps = {"plain": plain, "from the Gramian": implicit}
  if config.explicit:
    steps["explicit"] = explicit

  def compiled(step: Callable) -> Callable[[], Any]:
    state = aggregator.init(params)
    call = jax.jit(step).lower(params, state, batch).compile()
    return lambda: jax.block_until_ready(call(params, state, batch))

  return {name: compiled(step) for name, step in steps.items()}


def torch_steps(config: Config, network: str, num_tasks: int) -> dict[str, Callable[[], Any]]:
  """The same steps in TorchJD; none where it is not installed."""
  try:
    import torch
    from torchjd import aggregation
    from torchjd.autogram import Engine
    from torchjd.autojac import backward, jac_to_grad
  except ImportError:
    return {}
  if config.threads:
    torch.set_num_threads(config.threads)
  if config.device == "cuda":
    torch.set_float32_matmul_precision("high")  # what JAX does there unless told otherwise
  names = {"upgrad": "UPGrad", "pcgrad": "PCGrad", "mgda": "MGDA", "mean_tasks": "Mean"}
  method = names.get(config.method, config.method)
  weighting = getattr(aggregation, f"{method}Weighting")()
  aggregator = getattr(aggregation, method)()
  batch = config.batch or NETWORKS[network][1]
  images = torch.randn(batch, 3, 32, 32, device=config.device)
  targets = torch.randn(batch, num_tasks, device=config.device)

  def step(differentiate: Callable[[Any, Any], None], net: Any) -> Callable[[], None]:
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)

    def call() -> None:
      optimizer.zero_grad()
      differentiate(net, ((net(images) - targets) ** 2).mean(0))
      optimizer.step()
      if config.device == "cuda":
        torch.cuda.synchronize()

    return call

  def plain(net: Any, losses: Any) -> None:
    losses.sum().backward()

  def autojac(net: Any, losses: Any) -> None:
    backward(losses)
    jac_to_grad(net.parameters(), aggregator)

  def autogram(net: Any, losses: Any) -> None:
    losses.backward(weighting(engine.compute_gramian(losses)))

  nets = [_torch_network(network, num_tasks).to(config.device) for _ in range(3)]
  engine = Engine(nets[2], batch_dim=None)  # it counts the passes of its network
  return {
    "PyTorch, plain": step(plain, nets[0]),
    "TorchJD, autojac": step(autojac, nets[1]),
    "TorchJD, autogram": step(autogram, nets[2]),
  }


def _torch_network(network: str, outputs: int) -> Any:
  from torch import nn as tnn

  if network == "mlp":
    layers: list[Any] = [tnn.Flatten()]
    for size in (3072, 1024, 1024, 1024):
      layers += [tnn.Linear(size, 1024), tnn.ReLU()]
    return tnn.Sequential(*layers, tnn.Linear(1024, outputs))
  if network == "cnn":
    layers = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
      layers += [tnn.Conv2d(before, after, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2)]
    return tnn.Sequential(*layers, tnn.Flatten(), tnn.Linear(2048, outputs))

  import torch

  class Positions(tnn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.weight = tnn.Parameter(0.02 * torch.randn(64, 192))

    def forward(self, x: Any) -> Any:
      return x + self.weight

  class Attention(tnn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.qkv, self.out = tnn.Linear(192, 576), tnn.Linear(192, 192)

    def forward(self, x: Any) -> Any:
      parts = self.qkv(x).unflatten(-1, (3, 3, 64)).permute(2, 0, 3, 1, 4)
      mixed = tnn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
      return self.out(mixed.transpose(1, 2).flatten(2))

  class Block(tnn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.norms = tnn.ModuleList([tnn.LayerNorm(192), tnn.LayerNorm(192)])
      self.attention = Attention()
      self.mlp = tnn.Sequential(tnn.Linear(192, 768), tnn.GELU(), tnn.Linear(768, 192))

    def forward(self, x: Any) -> Any:
      x = x + self.attention(self.norms[0](x))
      return x + self.mlp(self.norms[1](x))

  class Transformer(tnn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.embed, self.positions = tnn.Linear(48, 192), Positions()
      self.blocks = tnn.Sequential(*[Block() for _ in range(4)])
      self.norm, self.head = tnn.LayerNorm(192), tnn.Linear(192, outputs)

    def forward(self, x: Any) -> Any:
      patches = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
      x = self.blocks(self.positions(self.embed(patches)))
      return self.head(self.norm(x).mean(1))

  return Transformer()


def main(config: Config) -> None:
  """Time every network and number of tasks in turn and print a Markdown table."""
  print(f"{jax.default_backend()}, jax {jax.__version__}, {config.method}\n")
  print("| network | T | step | s a step | fastest | plain steps | over TorchJD |")
  print("| --- | --- | --- | --- | --- | --- | --- |")
  for network in config.networks:
    for num_tasks in config.tasks:
      programs = jax_steps(config, network, num_tasks) | torch_steps(config, network, num_tasks)
      times = interleaved(programs, config.repeats)
      middle = medians(times)
      engines = [value for name, value in middle.items() if name.startswith("TorchJD")]
      for name, median in middle.items():
        ratio = f"{median / min(engines):.2f}" if engines else "-"
        print(
          f"| {network} | {num_tasks} | {name} | {median:.4f} | {min(times[name]):.4f} "
          f"| {median / middle['plain']:.2f} | {ratio} |",
          flush=True,
        )


if __name__ == "__main__":
  main(tyro.cli(Config))
