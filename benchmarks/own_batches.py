"""A step with gradient surgery where every task has a batch of its own, in plain steps.

Command: `python -m benchmarks.own_batches --repeats 7`. Domains with five classes share the
convolutions of ConvNet-4, as in `experiments.auto_lambda --preset cifar100`. The plain step is that
of the summed losses; the others take every domain's gradient, of its own images or of the whole
batch. Prints a Markdown table: median and fastest seconds, and plain steps.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax
import tyro

import jaxmtl
from benchmarks.timing import interleaved, medians
from jaxmtl import losses, models, training


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    tasks: numbers of domains.
    batch: images of each.
    width: channels of ConvNet-4.
    size: side of the images in pixels.
    method: an aggregator that needs task gradients or their Gramian.
    whole: whether to time task gradients of the whole batch as well.
    repeats: timed rounds.
  """

  tasks: tuple[int, ...] = (3, 8, 20)
  batch: int = 32
  width: int = 16
  size: int = 32
  method: str = "pcgrad"
  whole: bool = True
  repeats: int = 7


def programs(config: Config, num_tasks: int) -> dict[str, Callable[[], Any]]:
  """Compiled steps."""
  net = models.multi_domain(models.create("convnet4", width=config.width), num_tasks, 5)
  keys = jax.random.split(jax.random.key(0), 3)
  shape = (num_tasks, config.batch, config.size, config.size, 3)
  batch = {
    "image": jax.random.normal(keys[0], shape),
    "label": jax.random.randint(keys[1], shape[:2], 0, 5),
  }
  variables = jax.jit(net.init)(keys[2], batch["image"][0, 0])

  def losses_fn(
    params: Any, model_state: Any, batch: Any, key: jax.Array, tasks: jax.Array | None = None
  ) -> Any:
    del key
    if tasks is not None:
      batch = jax.tree.map(lambda leaf: leaf[tasks], batch)
    logits, updated = net.apply({"params": params, **model_state}, batch["image"], True, tasks)
    found = jax.vmap(losses.cross_entropy)(logits, batch["label"])
    return found, training.Aux({"batch_stats": updated})

  def compiled(method: str | None, own_batches: bool = False) -> Callable[[], Any]:
    step = training.train_step(
      losses_fn,
      optax.sgd(0.01),
      num_tasks,
      aggregator=getattr(jaxmtl, method)(num_tasks) if method else None,
      shared=models.shared_mask,
      own_batches=own_batches,
    )
    state = step.init(variables["params"], keys[2], {"batch_stats": variables["batch_stats"]})
    call = jax.jit(step.update).lower(state, batch).compile()
    return lambda: jax.block_until_ready(call(state, batch))

  steps = {"plain": compiled(None), "own batches": compiled(config.method, own_batches=True)}
  return steps | ({"whole batch": compiled(config.method)} if config.whole else {})


def main(config: Config) -> None:
  """Times every number of domains in turn."""
  print(f"{jax.default_backend()}, jax {jax.__version__}, {config.method}\n")
  print("| T | step | s a step | fastest | plain steps |")
  print("| --- | --- | --- | --- | --- |")
  for num_tasks in config.tasks:
    times = interleaved(programs(config, num_tasks), config.repeats)
    middle = medians(times)
    for name, median in middle.items():
      print(
        f"| {num_tasks} | {name} | {median:.4f} | {min(times[name]):.4f} "
        f"| {median / middle['plain']:.2f} |",
        flush=True,
      )


if __name__ == "__main__":
  main(tyro.cli(Config))
