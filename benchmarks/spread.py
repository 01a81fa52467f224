"""Work and memory of a device where the batch is spread over several, in accelerators' forms.

Command: `python -m benchmarks.spread --devices 1 8`. Compiles a step on simulated CPU devices, at
so many images a device, and prints what XLA's compiler counts: work that follows the number of
devices is everybody's, done by each. A loop counts once. Nothing is run.
"""

import dataclasses
import os
from typing import Any

import tyro


@dataclasses.dataclass(frozen=True)
class Config:
  """What to compile.

  Args:
    backbone: of `jaxmtl.models.create`, with batch normalization.
    width: of it.
    tasks: heads of five classes.
    batch: images a device.
    side: of the images, in pixels.
    methods: aggregators, beside the plain step.
    devices: numbers of devices.
  """

  backbone: str = "convnet4"
  width: float = 16
  tasks: int = 4
  batch: int = 8
  side: int = 16
  methods: tuple[str, ...] = ("pcgrad", "graddrop")
  devices: tuple[int, ...] = (1, 8)


def row(config: Config, method: str | None, devices: int) -> dict[str, Any]:
  """The compiler's counts."""
  import flax.linen as nn
  import jax
  import jax.numpy as jnp
  import numpy as np
  import optax
  from jax.sharding import Mesh, NamedSharding, PartitionSpec

  import jaxmtl
  from jaxmtl import losses, models, training

  heads = {f"task_{i}": nn.Dense(5) for i in range(config.tasks)}
  network = models.MultiHead(models.create(config.backbone, width=config.width), heads)

  def losses_fn(params: Any, model_state: Any, batch: Any, key: Any) -> Any:
    outputs, moved = network.apply(
      {"params": params, **model_state}, batch["image"], train=True, mutable=["batch_stats"]
    )
    found = jnp.stack([losses.cross_entropy(x, batch["label"]) for x in outputs.values()])
    return found, training.Aux({**model_state, **moved})

  count = config.batch * devices
  batch = {
    "image": np.zeros((count, config.side, config.side, 3), np.float32),
    "label": np.zeros(count, np.int32),
  }
  variables = dict(jax.jit(network.init)(jax.random.key(0), batch["image"][:2]))
  step = training.train_step(
    losses_fn,
    optax.sgd(0.1),
    config.tasks,
    aggregator=None if method is None else getattr(jaxmtl, method)(config.tasks),
    shared=models.shared_mask,
  )
  state = step.init(variables.pop("params"), jax.random.key(0), variables)
  mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))

  def abstract(tree: Any, *axes: str) -> Any:
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=sharding), tree
    )

  with jaxmtl.forms_for("gpu"):
    lowered = jax.jit(lambda *args: step.update(*args)).lower(
      abstract(state), abstract(batch, "data")
    )
  compiled = lowered.compile()
  return {
    "program": f"{method or 'plain'}, {devices} device(s)",
    "flops": compiled.cost_analysis()["flops"],
    "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
  }


def main(config: Config) -> None:
  """Print a Markdown table."""
  os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={max(config.devices)}"
  print("| step | MFLOP a device | temporary MB a device |\n|---|---:|---:|")
  for method in (None, *config.methods):
    for devices in config.devices:
      found = row(config, method, devices)
      counts = f"{found['flops'] / 1e6:.1f} | {found['temporary_bytes'] / 1e6:.2f}"
      print(f"| {found['program']} | {counts} |", flush=True)


if __name__ == "__main__":
  main(tyro.cli(Config))
