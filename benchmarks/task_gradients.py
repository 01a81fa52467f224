"""Time of a step with loss weighting, and with PCGrad, in plain steps of the same network.

Command: `python -m benchmarks.task_gradients --repeats 7`.
Prints a Markdown table: median and fastest seconds a step, and the median over the plain step's.
Every repeat times each program of a group once, in turn, after one warm-up. Goals: at most 1.05
plain steps with loss weighting, at most 12 with PCGrad on 8 tasks.
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
from benchmarks.timing import interleaved, medians


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    tasks: numbers of tasks for PCGrad on the MLP.
    chunks: whether to time every chunk size; otherwise only the default.
    batch: examples a step of the MLP.
    width: hidden units of each of the four layers.
    inputs: input features.
    cnn_tasks: tasks of the convolutional network; 0 leaves it out.
    cnn_batch: images a step, 32x32x3.
    repeats: timed rounds.
  """

  tasks: tuple[int, ...] = (3, 8, 20)
  chunks: bool = True
  batch: int = 64
  width: int = 1024
  inputs: int = 3072
  cnn_tasks: int = 3
  cnn_batch: int = 32
  repeats: int = 7


def mlp(config: Config, num_tasks: int) -> tuple[Any, Any, Callable[..., jax.Array], Any]:
  """Shared layers, heads, the losses function and a batch."""
  sizes = [config.inputs] + [config.width] * 4
  keys = iter(jax.random.split(jax.random.key(0), 8))
  shared = [_normal(next(keys), sizes[i : i + 2]) for i in range(4)]
  heads = _normal(next(keys), (num_tasks, config.width, 10))
  inputs = jax.random.normal(next(keys), (config.batch, config.inputs))
  labels = jax.random.randint(next(keys), (num_tasks, config.batch), 0, 10)

  def losses_fn(shared, heads, batch):
    x, y = batch
    for kernel in shared:
      x = jax.nn.relu(x @ kernel)
    return _losses(x, heads, y)

  return shared, heads, losses_fn, (inputs, labels)


def _cnn(config: Config) -> tuple[Any, Any, Callable[..., jax.Array], Any]:
  """Four convolutions, the shared ones, then a head a task."""
  channels = [3, 32, 64, 64, 64]
  keys = iter(jax.random.split(jax.random.key(0), 8))
  shared = [_normal(next(keys), (3, 3, *channels[i : i + 2])) for i in range(4)]
  heads = _normal(next(keys), (config.cnn_tasks, channels[-1], 10))
  images = jax.random.normal(next(keys), (config.cnn_batch, 32, 32, 3))
  labels = jax.random.randint(next(keys), (config.cnn_tasks, config.cnn_batch), 0, 10)

  def losses_fn(shared, heads, batch):
    x, y = batch
    for i, kernel in enumerate(shared):
      stride = 1 + (i > 0)
      x = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
      )
      x = jax.nn.relu(x)
    return _losses(x.mean((1, 2)), heads, y)

  return shared, heads, losses_fn, (images, labels)


def _losses(features: jax.Array, heads: jax.Array, labels: jax.Array) -> jax.Array:
  logits = jnp.einsum("nf,tfc->tnc", features, heads)
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(1)


def _normal(key: jax.Array, shape: Any) -> jax.Array:
  fan_in = functools.reduce(lambda a, b: a * b, shape[-4:-1] if len(shape) == 4 else shape[-2:-1])
  return jax.random.normal(key, shape) * (2 / fan_in) ** 0.5


def _plain(shared: Any, heads: Any, losses_fn: Callable[..., jax.Array], batch: Any) -> Callable:
  optimizer = optax.sgd(0.01)

  def step(params, state):
    grads = jax.grad(lambda p: losses_fn(*p, batch).sum())(params)
    updates, state = optimizer.update(grads, state, params)
    return jaxmtl.apply_updates(params, updates), state

  return _compiled(step, (shared, heads), optimizer.init((shared, heads)))


def _weighted(
  weighting: Any, shared: Any, heads: Any, losses_fn: Callable[..., jax.Array], batch: Any
) -> Callable:
  """One backward pass, with the weights as cotangent."""
  optimizer = optax.sgd(0.01)

  def step(params, state):
    weights_state, state = state
    losses, pullback = jax.vjp(lambda p: losses_fn(*p, batch), params)
    weights, weights_state = weighting.weigh(losses, weights_state)
    (grads,) = pullback(weights)
    updates, state = optimizer.update(grads, state, params)
    return jaxmtl.apply_updates(params, updates), (weights_state, state)

  params = (shared, heads)
  return _compiled(step, params, (weighting.init(params), optimizer.init(params)))


def _pcgrad(
  chunk_size: int | None, shared: Any, heads: Any, losses_fn: Callable[..., jax.Array], batch: Any
) -> Callable:
  aggregator, optimizer = jaxmtl.pcgrad(len(heads)), optax.sgd(0.01)
  grad_fn = jaxmtl.task_value_and_grad(losses_fn, specific_argnums=1, chunk_size=chunk_size)

  def step(params, state):
    key, state = state
    _, (task_grads, own) = grad_fn(*params, batch)
    grads, key = aggregator.update(task_grads, key, params[0])
    updates, state = optimizer.update((grads, own), state, params)
    return jaxmtl.apply_updates(params, updates), (key, state)

  params = (shared, heads)
  return _compiled(step, params, (aggregator.init(shared), optimizer.init(params)))


def _compiled(step: Callable, params: Any, state: Any) -> Callable[[], Any]:
  call = jax.jit(step).lower(params, state).compile()
  return lambda: jax.block_until_ready(call(params, state))


def _print_rows(group: str, programs: dict[str, Callable[[], Any]], repeats: int) -> None:
  times = interleaved(programs, repeats)
  middle = medians(times)
  for name, median in middle.items():
    ratio = median / middle["plain"]
    print(f"| {group} | {name} | {median:.4f} | {min(times[name]):.4f} | {ratio:.2f} |")


def main(config: Config) -> None:
  """Time every group in turn and print a Markdown table."""
  print(f"{jax.default_backend()}, {jax.devices()[0].device_kind}\n")
  print("| network | step | s a step | fastest | plain steps |\n| --- | --- | --- | --- | --- |")
  parts = mlp(config, 3)
  weightings = {"dwa": jaxmtl.dwa(3), "uncertainty": jaxmtl.uncertainty(3)}
  steps = {name: _weighted(weighting, *parts) for name, weighting in weightings.items()}
  _print_rows("MLP, T=3", {"plain": _plain(*parts)} | steps, config.repeats)
  for num_tasks in config.tasks:
    parts = mlp(config, num_tasks)
    _print_rows(f"MLP, T={num_tasks}", _pcgrad_steps(config, num_tasks, parts), config.repeats)
  if config.cnn_tasks:
    parts = _cnn(config)
    steps = _pcgrad_steps(config, config.cnn_tasks, parts)
    _print_rows(f"CNN, T={config.cnn_tasks}", steps, config.repeats)


def _pcgrad_steps(config: Config, num_tasks: int, parts: Any) -> dict[str, Callable[[], Any]]:
  steps = {"plain": _plain(*parts), "pcgrad, default": _pcgrad(None, *parts)}
  for chunk_size in (1, num_tasks) if config.chunks else ():
    steps[f"pcgrad, chunk_size={chunk_size}"] = _pcgrad(chunk_size, *parts)
  return steps


if __name__ == "__main__":
  main(tyro.cli(Config))
