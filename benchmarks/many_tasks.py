"""What many tasks cost: a whole step of a small network with 8 to 1,000 tasks.

Command: `python -m benchmarks.many_tasks`. The network is an MLP with three hidden layers of 64 on
vectors of 128, one output a task, batch 64; losses are squared errors, the last layer is the tasks'
own. Prints a Markdown table: median milliseconds of a step, and in brackets its ratio to T backward
passes over activations alone, which any method that wants the inner products of T gradients needs.
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
from jaxmtl.training import Aux, train_step


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    tasks: numbers of tasks.
    methods: aggregators.
    repeats: timed rounds.
  """

  tasks: tuple[int, ...] = (8, 139, 1000)
  methods: tuple[str, ...] = (
    *("sum_tasks", "pcgrad", "mgda", "cagrad", "imtl_g", "aligned_mtl", "nash_mtl", "dual_proj"),
    "upgrad",
  )
  repeats: int = 5


class Trunk(nn.Module):
  """What all tasks share."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """From `[B, 128]` to `[B, 64]`."""
    for _ in range(3):
      x = nn.relu(nn.Dense(64)(x))
    return x


def programs(config: Config, num_tasks: int) -> dict[str, Callable[[], Any]]:
  """Compiled steps by method, a plain one, and the backward passes over activations."""
  trunk, keys = Trunk(), jax.random.split(jax.random.key(0), 4)
  batch = jax.random.normal(keys[0], (64, 128)), jax.random.normal(keys[1], (64, num_tasks))
  params = {
    "trunk": jax.jit(trunk.init)(keys[2], batch[0]),
    "heads": jax.random.normal(keys[3], (64, num_tasks)) / 8,
  }

  def losses_fn(params: Any, model_state: Any, batch: Any, key: Any) -> Any:
    outputs = trunk.apply(params["trunk"], batch[0]) @ params["heads"]
    return ((outputs - batch[1]) ** 2).mean(0), Aux()

  def shared(params: Any) -> Any:
    return {"trunk": jax.tree.map(lambda _: True, params["trunk"]), "heads": False}

  def step(**options: Any) -> Callable[[], Any]:
    made = train_step(losses_fn, optax.sgd(0.01), num_tasks, shared=shared, **options)
    state, update = made.init(params, jax.random.key(0)), jax.jit(made.update)
    return lambda: jax.block_until_ready(update(state, batch))

  @jax.jit
  def activations(params: Any, batch: Any) -> jax.Array:
    def losses(images: jax.Array) -> jax.Array:
      return losses_fn(params, (), (images, batch[1]), None)[0]

    values, pullback = jax.vjp(losses, batch[0])
    return jax.vmap(pullback)(jnp.eye(len(values)))[0].sum()

  found = {
    "plain step": step(),
    "T passes": lambda: jax.block_until_ready(activations(params, batch)),
  }
  for name in config.methods:
    # UPGrad solves a problem a task: minutes with a thousand.
    if name != "upgrad" or num_tasks < 500:
      found[name] = step(aggregator=getattr(jaxmtl, name)(num_tasks))
  return found


def main(config: Config) -> None:
  """Prints the table."""
  columns = {}
  for num_tasks in config.tasks:
    columns[num_tasks] = medians(interleaved(programs(config, num_tasks), config.repeats))
  print(f"| step | {' | '.join(f'T = {t}' for t in columns)} |")
  print(f"|---|{'---|' * len(columns)}")
  for name in ("plain step", "T passes", *config.methods):
    cells = []
    for times in columns.values():
      if name not in times:
        cells.append("-")
        continue
      ratio = f" ({times[name] / times['T passes']:.2f})" if name in config.methods else ""
      cells.append(f"{1e3 * times[name]:.1f} ms{ratio}")
    print(f"| `{name}` | {' | '.join(cells)} |")


if __name__ == "__main__":
  main(tyro.cli(Config))
