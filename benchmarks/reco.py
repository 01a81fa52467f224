"""What ReCo's loss costs: of a training step, and beside a loop over classes in PyTorch.

Command: `python -m benchmarks.reco --rounds 5`. Network: DeepLabV3+ of ResNet-18 at output stride
16 with heads of 256 channels, two images of 256x256, so that representations are 2x64x64x256; 19
classes, 256 queries, 512 negatives each. The step is timed without the head of representations,
with it, and with the loss on it. The loop takes part where torch is installed. Prints two Markdown
tables: milliseconds, ratios and temporary memory by the compiler's count. Goals: a step with the
loss at most 1.25 of one without it; the loss with its gradient at most .2 of the loop.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import tyro

from benchmarks.accelerator.measure import Program, timed
from benchmarks.accelerator.table import table
from jaxmtl import contrast, losses, models, training


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    backbone: a ResNet's name.
    batch: images a step.
    side: of the images, in pixels.
    features: channels of the pyramid and the heads.
    dimension: of a representation.
    classes: of the labels, blocks of which each image has all.
    num_queries: of each class.
    num_negatives: of each query.
    sure: share of the pixels that are no queries.
    rounds: timed rounds.
    threads: programs that compile at a time; PyTorch's threads are its default.
  """

  backbone: str = "resnet18"
  batch: int = 2
  side: int = 256
  features: int = 256
  dimension: int = 256
  classes: int = 19
  num_queries: int = 256
  num_negatives: int = 512
  sure: float = 0.5
  rounds: int = 5
  threads: int = 1


def labels_of(config: Config, side: int) -> jax.Array:
  """Blocks of classes, `[batch, side, side]`."""
  rows, columns = jnp.mgrid[:side, :side] * 5 // side
  found = (5 * rows + columns) % config.classes
  return jnp.stack([jnp.roll(found, 7 * i, axis=1) for i in range(config.batch)])


def inputs(config: Config) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Representations, labels and probabilities at a quarter of the images' resolution."""
  side = config.side // 4
  keys = jax.random.split(jax.random.key(0), 3)
  labels = labels_of(config, side)
  features = jax.random.normal(keys[0], (*labels.shape, config.dimension))
  logits = jax.random.normal(keys[1], (*labels.shape, config.classes))
  certain = 20 * jax.nn.one_hot(labels, config.classes)
  sure = jax.random.bernoulli(keys[2], config.sure, (*labels.shape, 1))
  return features, labels, jax.nn.softmax(logits + sure * certain)


def reco(config: Config, representations: Any, labels: Any, probabilities: Any, key: Any) -> Any:
  """The loss."""
  return contrast.reco_loss(
    representations,
    labels=labels,
    probabilities=probabilities,
    key=key,
    num_queries=config.num_queries,
    num_negatives=config.num_negatives,
  )


def step(config: Config, *, head: bool = True, contrasted: bool = True) -> Program:
  """A training step on labels; with the representation head, and with ReCo's loss on it.

  The head alone has a loss that costs nothing, or the compiler would leave it out.
  """
  network = models.DeepLabV3Plus(
    models.create(config.backbone, output_stride=16),
    config.classes,
    config.dimension if head else None,
    features=config.features,
  )
  labels = labels_of(config, config.side)
  image = jax.random.normal(jax.random.key(1), (config.batch, config.side, config.side, 3))
  small = labels_of(config, config.side // 4)

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    outputs, moved = network.apply(
      {"params": params, **model_state}, batch["image"], train=True, mutable=["batch_stats"]
    )
    logits = models.resize_aligned(outputs["classes"], (config.side, config.side))
    found = [losses.cross_entropy(logits, batch["labels"], ignore=-1)]
    if contrasted:
      sure = jax.nn.softmax(outputs["classes"])
      found.append(reco(config, outputs["representation"], batch["small"], sure, key))
    elif head:
      found.append((outputs["representation"] ** 2).mean())
    return jnp.stack(found), training.Aux({**model_state, **moved})

  made = training.train_step(losses_fn, optax.sgd(0.01, momentum=0.9), 1 + head)
  variables = dict(jax.jit(network.init)(jax.random.key(2), image))
  state = made.init(variables.pop("params"), jax.random.key(3), variables)
  return Program(made.update, state, ({"image": image, "labels": labels, "small": small},))


def loss_alone(config: Config) -> Program:
  """The loss and its gradient."""
  features, labels, probabilities = inputs(config)

  def value_and_grad(features: Any, key: Any) -> Any:
    return jax.value_and_grad(lambda x: reco(config, x, labels, probabilities, key))(features)

  return Program(value_and_grad, features, (jax.random.key(4),), chained=False)


def torch_loop(config: Config) -> Callable[[], None] | None:
  """The same loss, class by class and with indexing on the host, or None without torch."""
  try:
    import numpy as np
    import torch
  except ImportError:
    return None
  features, labels, probabilities = (
    torch.from_numpy(np.array(x)).flatten(0, 2) for x in inputs(config)
  )
  features.requires_grad_()
  cosine = torch.nn.functional.cosine_similarity

  def call() -> None:
    present = [int(c) for c in labels.unique()]
    pools = [features[labels == c] for c in present]
    means = torch.stack([pool.detach().mean(0) for pool in pools])
    total = features.sum() * 0
    for place, c in enumerate(present):
      hard = pools[place][probabilities[labels == c, c] < 0.97]
      if not len(hard):
        continue
      query = hard[torch.randint(len(hard), (config.num_queries,))]
      others = [other for other in range(len(present)) if other != place]
      near = cosine(means[place][None], means[others]) / 0.5
      drawn = torch.distributions.Categorical(logits=near).sample(
        (config.num_queries, config.num_negatives)
      )
      keys = torch.empty(config.num_queries, config.num_negatives, config.dimension)
      for number, other in enumerate(others):
        where = drawn == number
        pool = pools[other].detach()
        keys[where] = pool[torch.randint(len(pool), (int(where.sum()),))]
      first = means[place].expand(config.num_queries, 1, -1)
      logits = cosine(query[:, None], torch.cat([first, keys], 1), dim=2) / 0.5
      target = torch.zeros(config.num_queries, dtype=torch.long)
      total = total + torch.nn.functional.cross_entropy(logits, target)
    features.grad = None
    (total / len(present)).backward()

  return call


def main(config: Config) -> None:
  """Time every program in turn and print Markdown tables."""
  print(f"{jax.default_backend()}, jax {jax.__version__}\n")
  makers: dict[str, Callable[[], Program]] = {
    "plain": lambda: step(config, head=False, contrasted=False),
    "with the head": lambda: step(config, contrasted=False),
    "with ReCo": lambda: step(config),
  }
  print(table(timed(makers, config.rounds, config.threads)))
  call = torch_loop(config)
  others = {} if call is None else {"PyTorch's loop": call}
  alone = {"loss and gradient": lambda: loss_alone(config)}
  name = next(iter(others), "loss and gradient")
  print()
  print(table(timed(alone, config.rounds, config.threads, plain=name, others=others)))


if __name__ == "__main__":
  main(tyro.cli(Config))
