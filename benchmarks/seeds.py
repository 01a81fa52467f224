"""Time of several seeds trained in one call, over the same seeds one after another.

Command: `python -m benchmarks.seeds --repeats 5`. One epoch of Auto-lambda on images with five
tasks, ConvNet-4, as `experiments.auto_lambda` trains it: `jax.vmap` over the seeds' states in one
compiled call, against one compiled call a seed. Prints a Markdown table.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxmtl
from benchmarks.timing import interleaved, medians
from jaxmtl import losses, models, training

TASKS = ("left", "right", "sum", "parity", "noise")


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    seeds: networks.
    batch: images a step.
    steps: steps of an epoch.
    width: channels of ConvNet-4.
    size: side of the images in pixels.
    repeats: timed rounds.
  """

  seeds: int = 3
  batch: int = 25
  steps: int = 20
  width: int = 16
  size: int = 14
  repeats: int = 5


def programs(config: Config) -> dict[str, Any]:
  """An epoch of all seeds, as one call and as one call a seed."""
  model = models.MultiHead(
    models.create("convnet4", width=config.width), {t: nn.Dense(10) for t in TASKS}
  )

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    del key
    outputs, updated = model.apply(
      {"params": params, **model_state}, batch["image"], train=True, mutable=["batch_stats"]
    )
    found = jnp.stack([losses.cross_entropy(outputs[t], batch[t]) for t in TASKS])
    return found, training.Aux(updated)

  weighting = jaxmtl.auto_lambda(len(TASKS))
  optimizer = optax.sgd(0.05, momentum=0.9)
  step = training.train_step(losses_fn, optimizer, len(TASKS), weighting=weighting)
  rng = np.random.default_rng(0)
  count = config.steps * config.batch
  train = {t: jnp.asarray(rng.integers(10, size=count)) for t in TASKS}
  shape = (count, config.size, config.size, 1)
  train["image"] = jnp.asarray(rng.normal(size=shape), jnp.float32)

  def init(key: jax.Array) -> training.TrainState:
    variables = model.init(key, train["image"][:2])
    return step.init(variables["params"], key, {"batch_stats": variables["batch_stats"]})

  keys = jax.vmap(jax.random.key)(jnp.arange(config.seeds))
  states = jax.jit(jax.vmap(init))(keys)
  single = [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(config.seeds)]
  epoch = training.scan_epoch(step.update, config.batch, pairs=step.pairs)
  alone = jax.jit(epoch).lower(single[0], train).compile()
  together = jax.jit(jax.vmap(epoch, in_axes=(0, None))).lower(states, train).compile()
  return {
    "one call": lambda: jax.block_until_ready(together(states, train)),
    "one after another": lambda: [jax.block_until_ready(alone(s, train)) for s in single],
  }


def main(config: Config) -> None:
  """Time both in turn and print a Markdown table."""
  print(f"{jax.default_backend()}, {jax.devices()[0].device_kind}\n")
  times = medians(interleaved(programs(config), config.repeats))
  print(f"| {config.seeds} seeds, epoch of {config.steps} steps | s | ratio |")
  print("| --- | --- | --- |")
  for name, seconds in times.items():
    print(f"| {name} | {seconds:.3f} | {seconds / times['one after another']:.2f} |")


if __name__ == "__main__":
  main(tyro.cli(Config))
