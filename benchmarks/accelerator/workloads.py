"""Networks with several tasks, and their training steps by method."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxmtl
from benchmarks.accelerator.config import Config
from jaxmtl import aggregation, losses, models, training

CLASSES = 10


class Size(NamedTuple):
  """Images a step, their side in pixels, and the network's width (units, or a multiplier)."""

  batch: int
  side: int
  width: float


SIZES = {
  "mlp": Size(1024, 32, 4096),
  "resnet18": Size(128, 96, 1),
  "vgg16": Size(128, 32, 1),
  "resnet50": Size(32, 224, 1),
  "vit_b16": Size(32, 224, 768),
}
TINY = {
  "mlp": Size(8, 8, 16),
  "resnet18": Size(2, 32, 0.125),
  "vgg16": Size(2, 32, 0.0625),
  "resnet50": Size(2, 32, 0.125),
  "vit_b16": Size(2, 32, 48),
}


class _MLP(nn.Module):
  """Four hidden layers."""

  width: int
  dtype: Any

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
    """From `[B, H, W, C]` to `[B, width]`."""
    x = images.reshape(len(images), -1)
    for _ in range(4):
      x = nn.relu(nn.Dense(self.width, dtype=self.dtype)(x))
    return x


class Workload(NamedTuple):
  """A network, its variables and a batch."""

  losses_fn: Callable[..., Any]
  variables: Any
  batch: Any
  num_tasks: int

  def step(self, **options: Any) -> tuple[Callable[..., Any], Any, Any]:
    """A train step's update, its first state and the batch it takes; options of `train_step`."""
    optimizer = optax.sgd(0.01, momentum=0.9)
    step = training.train_step(
      self.losses_fn, optimizer, self.num_tasks, shared=models.shared_mask, **options
    )
    state = dict(self.variables)
    # A copy: steps give their states' memory away.
    params = jax.tree.map(jnp.copy, state.pop("params"))
    model_state = jax.tree.map(jnp.copy, state)
    state = step.init(params, jax.random.key(1), model_state)
    return step.update, state, (self.batch, self.batch) if step.pairs else self.batch


def size_of(config: Config, network: str) -> Size:
  """The sizes that this run takes."""
  return (TINY if config.tiny else SIZES)[network]


def workload(config: Config, network: str, num_tasks: int, dtype: str, batch: int = 0) -> Workload:
  """A classification problem of `num_tasks` tasks on random images; `batch` 0 is the network's."""
  size = size_of(config, network)
  compute = None if dtype == "float32" else jnp.dtype(dtype)
  if network == "mlp":
    backbone: nn.Module = _MLP(int(size.width), compute)
  else:
    width: Any = int(size.width) if network == "vit_b16" else size.width
    backbone = models.create(network, width=width, dtype=compute)
  tasks = [f"task{i:02d}" for i in range(num_tasks)]
  model = models.MultiHead(backbone, {t: nn.Dense(CLASSES) for t in tasks})
  keys = jax.random.split(jax.random.key(0), 3)
  count = batch or size.batch
  images = jax.random.normal(keys[0], (count, size.side, size.side, 3))
  labels = jax.random.randint(keys[1], (count, num_tasks), 0, CLASSES)
  variables = jax.jit(model.init)(keys[2], images[:1])

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    del key
    images, labels = batch
    outputs, updated = model.apply(
      {"params": params, **model_state}, images, train=True, mutable=list(model_state)
    )
    found = [losses.cross_entropy(outputs[t], labels[:, i]) for i, t in enumerate(tasks)]
    return jnp.stack(found), training.Aux({**model_state, **updated})

  return Workload(losses_fn, variables, (images, labels), num_tasks)


def explicit(method: str, num_tasks: int) -> Any:
  """An aggregator that the step gives stacked task gradients, whatever it could do without."""
  return getattr(jaxmtl, method)(num_tasks).changed(weigh=None)


def options_of(name: str, num_tasks: int) -> dict[str, Any]:
  """What `train_step` is told of a method; nothing for the plain step."""
  if name == "plain":
    return {}
  method = getattr(jaxmtl, name)(num_tasks)
  return {"aggregator" if name in aggregation.METHODS else "weighting": method}
