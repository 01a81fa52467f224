"""Time of one step on Flax NNX, Equinox and Flax's TrainState, in steps of a plain Linen loop.

Command: `python -m benchmarks.frameworks`.
An MLP of three layers of 1024 and a head a task, MGDA by the Gramian and by explicit task
gradients, Adam. Every round calls each program once, in turn, after a warm-up.

Prints a Markdown table: median milliseconds, and the median of the ratios to Linen's
in the same round.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import tyro
from flax import nnx

import jaxmtl
from benchmarks.timing import interleaved, medians


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    width: of the layers.
    depth: layers.
    tasks: heads T.
    batch: rows.
    repeats: timed rounds.
    forms: Gramian, explicit, and plain: the gradient of the summed losses, without jaxmtl.
  """

  width: int = 1024
  depth: int = 3
  tasks: int = 8
  batch: int = 64
  repeats: int = 15
  forms: tuple[str, ...] = ("Gramian", "explicit", "plain")


Step = Callable[[], Any]


class Mlp(nn.Module):
  config: Config

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    for _ in range(self.config.depth):
      x = nn.relu(nn.Dense(self.config.width)(x))
    return jnp.concatenate([nn.Dense(1)(x) for _ in range(self.config.tasks)], axis=1)


class NnxMlp(nnx.Module):
  def __init__(self, config: Config, rngs: nnx.Rngs):
    width = config.width
    self.layers = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(config.depth)])
    self.heads = nnx.List([nnx.Linear(width, 1, rngs=rngs) for _ in range(config.tasks)])

  def __call__(self, x: jax.Array) -> jax.Array:
    for layer in self.layers:
      x = nnx.relu(layer(x))
    return jnp.concatenate([head(x) for head in self.heads], axis=1)


class EqxMlp(eqx.Module):
  layers: list[eqx.nn.Linear]
  heads: list[eqx.nn.Linear]

  def __init__(self, config: Config, key: jax.Array):
    keys = jax.random.split(key, config.depth + config.tasks)
    width, depth = config.width, config.depth
    self.layers = [eqx.nn.Linear(width, width, key=k) for k in keys[:depth]]
    self.heads = [eqx.nn.Linear(width, 1, key=k) for k in keys[depth:]]

  def __call__(self, x: jax.Array) -> jax.Array:
    for layer in self.layers:
      x = jax.nn.relu(layer(x))
    return jnp.concatenate([head(x) for head in self.heads])


def losses_of(outputs: jax.Array, y: jax.Array) -> jax.Array:
  return jnp.mean((outputs - y) ** 2, axis=0)


def repeated(step: Callable[..., Any], *state: Any) -> Step:
  """Calls that go on from each other's state."""
  held = state

  def call() -> None:
    nonlocal held
    held = jax.block_until_ready(step(*held))

  return call


def transform(form: str, tasks: int) -> optax.GradientTransformationExtraArgs:
  """What ends a step: with the aggregator for task gradients, without for one gradient."""
  adam = optax.adam(1e-3)
  return jaxmtl.chain(jaxmtl.mgda(tasks), adam) if form == "explicit" else jaxmtl.chain(adam)


def gradient_of(
  form: str, losses_fn: Callable[[Any], jax.Array], params: Any, config: Config
) -> Any:
  """What `transform` of the form takes."""
  if form == "plain":
    return jax.grad(lambda p: losses_fn(p).sum())(params)
  if form == "explicit":
    return jaxmtl.task_value_and_grad(losses_fn)(params)[1]
  _, (gramian, pullback) = jaxmtl.task_gramian(losses_fn)(params)
  aggregator = jaxmtl.mgda(config.tasks)
  return pullback(aggregator.weigh(gramian, aggregator.init(params))[0])


def of_pytree(
  form: str, losses_fn: Callable[..., jax.Array], params: Any, config: Config, batch: tuple
) -> Step:
  tx = transform(form, config.tasks)

  @jax.jit
  def step(params: Any, state: Any) -> Any:
    grads = gradient_of(form, lambda p: losses_fn(p, *batch), params, config)
    updates, state = tx.update(grads, state, params)
    return jaxmtl.apply_updates(params, updates), state

  return repeated(step, params, tx.init(params))


def linen(form: str, config: Config, batch: tuple) -> Step:
  net = Mlp(config)
  params = net.init(jax.random.key(0), batch[0])
  return of_pytree(form, lambda p, x, y: losses_of(net.apply(p, x), y), params, config, batch)


def train_state(form: str, config: Config, batch: tuple) -> Step:
  net = Mlp(config)
  params = net.init(jax.random.key(0), batch[0])
  state = jaxmtl.flax.TrainState.create(
    apply_fn=net.apply, params=params, tx=transform(form, config.tasks)
  )

  @jax.jit
  def step(state: jaxmtl.flax.TrainState) -> tuple[Any]:
    losses_fn = lambda p: losses_of(state.apply_fn(p, batch[0]), batch[1])  # noqa: E731
    grads = gradient_of(form, losses_fn, state.params, config)
    return (state.apply_gradients(grads=grads),)

  return repeated(step, state)


def equinox(form: str, config: Config, batch: tuple) -> Step:
  params, static = eqx.partition(EqxMlp(config, jax.random.key(0)), eqx.is_inexact_array)

  def losses_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return losses_of(jax.vmap(eqx.combine(params, static))(x), y)

  return of_pytree(form, losses_fn, params, config, batch)


def nnx_parts(form: str, config: Config, batch: tuple) -> tuple[Any, Any, Callable[..., None]]:
  """A module, its optimiser, and a function that takes a step of them."""
  model = NnxMlp(config, nnx.Rngs(0))
  optimizer = nnx.Optimizer(model, transform(form, config.tasks), wrt=nnx.Param)

  def losses_fn(model: NnxMlp) -> jax.Array:
    return losses_of(model(batch[0]), batch[1])

  def move(model: NnxMlp, optimizer: Any) -> None:
    if form == "plain":
      grads = nnx.grad(lambda m: losses_fn(m).sum())(model)
    elif form == "explicit":
      grads = jaxmtl.nnx.task_value_and_grad(losses_fn)(model)[1]
    else:
      _, (gramian, pullback) = jaxmtl.nnx.task_gramian(losses_fn)(model)
      aggregator = jaxmtl.mgda(config.tasks)
      grads = pullback(aggregator.weigh(gramian, aggregator.init(nnx.state(model)))[0])
    optimizer.update(model, grads)

  return model, optimizer, move


def nnx_split(form: str, config: Config, batch: tuple) -> Step:
  """Under `jax.jit`, between merge and split."""
  model, optimizer, move = nnx_parts(form, config, batch)
  graphdef, state = nnx.split((model, optimizer))

  @jax.jit
  def step(state: Any) -> tuple[Any]:
    both = nnx.merge(graphdef, state)
    move(*both)
    return (nnx.state(both),)

  return repeated(step, state)


def nnx_jit(form: str, config: Config, batch: tuple) -> Step:
  """Under `nnx.jit`, which also looks through both objects at each call."""
  model, optimizer, move = nnx_parts(form, config, batch)
  step = nnx.jit(move)

  def call() -> None:
    step(model, optimizer)
    jax.block_until_ready(nnx.state((model, optimizer)))

  return call


FRAMEWORKS = {
  "Linen": linen,
  "TrainState": train_state,
  "NNX": nnx_split,
  "nnx.jit": nnx_jit,
  "Equinox": equinox,
}


def main(config: Config) -> None:
  keys = jax.random.split(jax.random.key(1))
  batch = (
    jax.random.normal(keys[0], (config.batch, config.width)),
    jax.random.normal(keys[1], (config.batch, config.tasks)),
  )
  print("| step | " + " | ".join(f"{name}, ms | ratio" for name in FRAMEWORKS) + " |")
  print("|---|" + "---|---|" * len(FRAMEWORKS))
  for form in config.forms:
    steps = {name: make(form, config, batch) for name, make in FRAMEWORKS.items()}
    times = interleaved(steps, config.repeats)
    # A round's programs ran under the same load.
    ratios = medians(
      {n: [t / s for t, s in zip(times[n], times["Linen"], strict=True)] for n in times}
    )
    cells = [f"{1e3 * t:.1f} | {ratios[n]:.2f}" for n, t in medians(times).items()]
    print(f"| {form} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
  main(tyro.cli(Config))
