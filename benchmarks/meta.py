"""Time and error of hypergradients, and of whole steps that use them.

Command: `python -m benchmarks.meta --repeats 7`. Network: the MLP 3072-1024x4 of
`benchmarks.task_gradients`, batch 64, one head a task, SGD with momentum. Prints Markdown tables:

- the derivative with respect to T task weights through one look-ahead step, exact, by the paper's
  finite difference, and in reverse over reverse mode, and whole Auto-lambda steps, in plain
  gradient steps; errors are relative to the exact derivative in double precision;
- MAXL's step of the label network, a small convolutional network each, over the same step by
  PyTorch's double backward where PyTorch is installed.

Goals: exact at most 2.5 plain steps and .75 of the finite difference; a whole step at most 3.2,
with `reuse` 2.3.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxmtl
from benchmarks import task_gradients
from benchmarks.timing import interleaved, medians
from jaxmtl import labels, losses, models, training

PRIMARY, PSI = 10, (5,) * 10


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    tasks: numbers of tasks.
    batch: examples a step of the MLP.
    width: hidden units of each of the four layers.
    inputs: input features.
    maxl_batch: images a step of MAXL, 32x32x3; 0 leaves it out.
    repeats: timed rounds.
    threads: number of PyTorch's threads; 0 keeps its default.
  """

  tasks: tuple[int, ...] = (3, 8, 20)
  batch: int = 64
  width: int = 1024
  inputs: int = 3072
  maxl_batch: int = 64
  repeats: int = 7
  threads: int = 0


def _optimizer() -> optax.GradientTransformation:
  return optax.sgd(0.01, momentum=0.9)


def _parts(config: Config, num_tasks: int) -> tuple[Any, Callable[..., jax.Array], Any]:
  """Parameters, `losses_fn(params, batch)` and two batches."""
  options = {"batch": config.batch, "width": config.width, "inputs": config.inputs}
  parts = task_gradients.mlp(task_gradients.Config(**options), num_tasks)
  shared, heads, losses_fn, (inputs, targets) = parts
  second = (inputs[::-1] * 0.9, targets)
  return (shared, heads), lambda p, batch: losses_fn(*p, batch), ((inputs, targets), second)


def meta_steps(config: Config, num_tasks: int) -> tuple[dict[str, Callable], dict[str, float]]:
  """Programs by name, and relative errors of the two estimators."""
  params, losses_fn, batches = _parts(config, num_tasks)
  optimizer, weights = _optimizer(), jnp.full(num_tasks, 0.1)
  grads = jax.jit(jax.grad(lambda p: losses_fn(p, batches[0]).sum()))(params)
  _, opt_state = optimizer.update(grads, optimizer.init(params), params)

  def plain(params, opt_state, batches):
    grads = jax.grad(lambda p: losses_fn(p, batches[0]).sum())(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return jaxmtl.apply_updates(params, updates), opt_state

  def derivative(estimator: str, mode: str = "forward") -> Callable:
    def run(params, opt_state, batches):
      return jaxmtl.meta.hypergradient(
        lambda p, w: losses_fn(p, batches[0]) @ w,
        lambda p, w: losses_fn(p, batches[1]).sum(),
        params,
        weights.astype(jax.tree.leaves(params)[0].dtype),
        optimizer,
        opt_state,
        estimator=estimator,
        mode=mode,
      )[1]

    return run

  def whole(reuse: bool) -> tuple[Callable, Any]:
    step = training.train_step(
      lambda p, state, batch, key: (losses_fn(p, batch), training.Aux()),
      optimizer,
      num_tasks,
      weighting=jaxmtl.auto_lambda(num_tasks, reuse=reuse),
    )
    state = step.init(params, jax.random.key(0))

    def run(state, batches):
      state, metrics = step.update(state, batches)
      return state, metrics["weights"]

    return run, state

  args = (params, opt_state, batches)
  programs = {"plain": _compiled(plain, *args)}
  for name, options in {
    "hypergradient": ("exact",),
    "finite difference": ("finite_difference",),
    "reverse over reverse": ("exact", "reverse"),
  }.items():
    programs[name] = _compiled(derivative(*options), *args)
  for name, reuse in (("auto_lambda", False), ("auto_lambda, reuse", True)):
    run, state = whole(reuse)
    programs[name] = _compiled(run, state, batches)

  found = {n: np.asarray(programs[n]()) for n in ("hypergradient", "finite difference")}
  with jax.enable_x64(True):
    wide = jax.tree.map(
      lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x, args
    )
    truth = np.asarray(jax.jit(derivative("exact"))(*wide))
  return programs, {
    n: float(np.abs(x - truth).max() / np.abs(truth).max()) for n, x in found.items()
  }


class _Net(nn.Module):
  """Two 3x3 convolutions with pools, and linear heads."""

  heads: tuple[int, ...]

  @nn.compact
  def __call__(self, x: jax.Array) -> list[jax.Array]:
    for channels in (32, 64):
      x = models.max_pool(nn.relu(models.Conv(channels, (3, 3), padding=1)(x)))
    x = x.reshape(len(x), -1)
    return [nn.Dense(n)(x) for n in self.heads]


def maxl_steps(config: Config) -> dict[str, Callable]:
  """The step of MAXL's label network, and PyTorch's where it is installed."""
  net, generator = _Net((PRIMARY, sum(PSI))), _Net((sum(PSI),))
  rng = np.random.default_rng(0)
  images = rng.normal(size=(config.maxl_batch, 32, 32, 3)).astype(np.float32)
  targets = rng.integers(PRIMARY, size=config.maxl_batch)
  theta1 = net.init(jax.random.key(0), images)
  theta2 = generator.init(jax.random.key(1), images)
  sgd = optax.sgd(0.01)

  def gradient(theta1, theta2, images, targets):
    one_hot = jax.nn.one_hot(targets, PRIMARY)

    def made(theta2):
      return labels.mask_softmax(generator.apply(theta2, images)[0], targets, PSI)

    def inner(theta1, theta2):
      primary, auxiliary = net.apply(theta1, images)
      return (losses.focal(primary, one_hot) + losses.focal(auxiliary, made(theta2))).mean()

    def outer(theta1, theta2):
      primary = losses.focal(net.apply(theta1, images)[0], one_hot).mean()
      return primary + 0.2 * losses.label_entropy(made(theta2))

    return jaxmtl.meta.hypergradient(inner, outer, theta1, theta2, sgd, sgd.init(theta1))[1]

  args = (theta1, theta2, jnp.asarray(images), jnp.asarray(targets))
  programs = {"jaxmtl": _compiled(gradient, *args)}
  return programs | _torch_maxl(config, images, targets)


def _torch_maxl(config: Config, images: Any, targets: Any) -> dict[str, Callable]:
  try:
    import torch
    from torch import nn as tnn
  except ImportError:
    return {}
  if config.threads:
    torch.set_num_threads(config.threads)

  def build(heads: tuple[int, ...]) -> Any:
    body = [tnn.Conv2d(3, 32, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2)]
    body += [tnn.Conv2d(32, 64, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2), tnn.Flatten()]
    return tnn.ModuleList([tnn.Sequential(*body), *(tnn.Linear(64 * 8 * 8, n) for n in heads)])

  net, generator = build((PRIMARY, sum(PSI))), build((sum(PSI),))
  x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
  y = torch.from_numpy(targets)
  one_hot = tnn.functional.one_hot(y, PRIMARY).float()
  block = torch.arange(PRIMARY).repeat_interleave(torch.tensor(PSI))
  outside = y[:, None] != block[None]

  def outputs(net: Any, params: dict[str, Any], x: Any) -> list[Any]:
    def part(i: int, value: Any) -> Any:
      own = {k.removeprefix(f"{i}."): p for k, p in params.items() if k.startswith(f"{i}.")}
      return torch.func.functional_call(net[i], own, (value,))

    features = part(0, x)
    return [part(i, features) for i in range(1, len(net))]

  def focal(logits: Any, soft: Any) -> Any:
    log_p = logits.log_softmax(-1)
    return -(soft * (1 - log_p.exp()) ** 2 * log_p).sum(-1).mean()

  def run() -> Any:
    theta1 = dict(net.named_parameters())
    theta2 = dict(generator.named_parameters())
    made = outputs(generator, theta2, x)[0].masked_fill(outside, -torch.inf).softmax(-1)
    primary, auxiliary = outputs(net, theta1, x)
    inner = focal(primary, one_hot) + focal(auxiliary, made)
    grads = torch.autograd.grad(inner, list(theta1.values()), create_graph=True)
    ahead = {k: p - 0.01 * g for (k, p), g in zip(theta1.items(), grads, strict=True)}
    mean = made.mean(0)
    outer = focal(outputs(net, ahead, x)[0], one_hot) + 0.2 * (mean * mean.log()).sum()
    return torch.autograd.grad(outer, list(theta2.values()))

  return {"PyTorch, double backward": run}


def _compiled(fn: Callable, *args: Any) -> Callable[[], Any]:
  # Batches are arguments: XLA would compute with constants while compiling.
  call = jax.jit(fn).lower(*args).compile()
  return lambda: jax.block_until_ready(call(*args))


def main(config: Config) -> None:
  """Time every group in turn and print Markdown tables."""
  print(f"{jax.default_backend()}, {jax.devices()[0].device_kind}\n")
  print("| tasks | program | s | plain steps | over finite difference | relative error |")
  print("| --- | --- | --- | --- | --- | --- |")
  for num_tasks in config.tasks:
    programs, errors = meta_steps(config, num_tasks)
    times = medians(interleaved(programs, config.repeats))
    for name, seconds in times.items():
      ratios = f"{seconds / times['plain']:.2f} | {seconds / times['finite difference']:.2f}"
      error = f"{errors[name]:.1e}" if name in errors else ""
      print(f"| {num_tasks} | {name} | {seconds:.4f} | {ratios} | {error} |")
  if config.maxl_batch:
    times = medians(interleaved(maxl_steps(config), config.repeats))
    print("\n| MAXL's label network, step | s | over jaxmtl |\n| --- | --- | --- |")
    for name, seconds in times.items():
      print(f"| {name} | {seconds:.4f} | {seconds / times['jaxmtl']:.2f} |")


if __name__ == "__main__":
  main(tyro.cli(Config))
