"""CIFAR-100 as 20 domains of five classes: its data, its networks, and the paper's figures.

Each coarse class is a task with images of its own: a batch holds equally many images of every
domain. The convolutions are shared; batch normalization and heads are the domain's own. The 20
single-task networks train together, under `jax.vmap` over seeds and domains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark_training import Network, Outcome, Trainer, scan, start
from experiments.common import init_seeds
from experiments.methods import Method
from experiments.multi_digits import TrainingConfig
from jaxmtl import data, losses, models, training

# Stream of the run's key that shuffles each domain by itself.
_SHUFFLE_STREAM = 2
# Images of all domains together that are tested at a time.
_TEST_IMAGES = 1000

# The coarse classes in their order; prepared folders may lack the names.
NAMES = (
  *("aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables"),
  *("household_electrical_devices", "household_furniture", "insects", "large_carnivores"),
  *("large_man-made_outdoor_things", "large_natural_outdoor_scenes"),
  *("large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people"),
  *("reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2"),
)
HARDEST = ("people", "aquatic_mammals", "small_mammals", "trees", "reptiles")
# Table 3.2: test accuracy in per cent of these, and the mean of all domains.
PAPER = {
  "single task": (55.37, 68.65, 72.79, 75.37, 75.84, 82.19),
  "equal": (57.73, 73.59, 74.41, 74.64, 76.69, 82.46),
  "uncertainty": (54.14, 70.62, 74.08, 74.62, 75.62, 82.03),
  "dwa": (55.25, 71.54, 74.12, 75.68, 76.26, 82.26),
  "auto_lambda": (57.57, 74.0, 75.05, 75.15, 77.55, 83.92),
}
PAPER_AUXILIARY = {
  "gcs": (56.45, 71.05, 72.93, 74.45, 76.29, 82.58),
  "auto_lambda": (60.89, 75.7, 75.64, 77.38, 81.75, 84.92),
}


class DomainSplits(NamedTuple):
  """The parts of the data.

  Attributes:
    train: what is learned from.
    validation: what is held out, or None.
    test: what is reported on.
    num_classes: of each domain, by its name.
  """

  train: data.DomainImages
  validation: data.DomainImages | None
  test: data.DomainImages
  num_classes: dict[str, int]


def load_domains(config: TrainingConfig, validation: float) -> DomainSplits:
  """CIFAR-100 by its 20 coarse classes, with a share of the training images held out."""
  if config.architecture != "hps":
    raise ValueError(
      f"domains share one backbone (architecture='hps'), got architecture={config.architecture!r}."
    )
  parts = data.load_tasks(
    config.dataset,
    ("label", "coarse_label"),
    data_dir=config.data_dir,
    image_size=config.image_size,
    validation=validation,
    seed=config.seed,
  )

  def cut(part: data.TaskImages) -> data.DomainImages:
    return data.by_domain(part.images, part.labels["label"], part.labels["coarse_label"])

  held_out = None if parts.validation is None else cut(parts.validation)
  classes = dict.fromkeys(NAMES, parts.num_classes["label"] // len(NAMES))
  return DomainSplits(cut(parts.train), held_out, cut(parts.test), classes)


class DomainTrainer(Trainer):
  """Trains methods on all domains, and 20 networks on one each."""

  own_batches = True

  def network(self, tasks: tuple[str, ...]) -> Network:
    """Shared convolutions, normalization and a head a domain; made for all domains only."""
    if tasks != tuple(self.parts.num_classes):
      raise ValueError(f"networks learn all {len(self.parts.num_classes)} domains, got {tasks}.")
    net = self._create(len(tasks))
    count = jax.jit(jax.vmap(_right(net), in_axes=(0, None, None)))

    def accuracy(state: training.TrainState, part: str) -> jax.Array:
      counts = [count(_variables(state), *chunk) for chunk in self._chunks(part)]
      return sum(counts[1:], counts[0]) / len(getattr(self.parts, part).images)

    variables = init_seeds(self._init(net), self.config.seed, self.config.seeds)
    return Network(variables, _losses_fn(net), accuracy)

  def epoch(self, step: training.TrainStep, swap: bool) -> Callable[[Any], Any]:
    """Shuffles every domain by itself, then scans over batches of all."""
    run = scan(step, self.batch_size, self.prepare, swap)
    train = self._train_images()

    def one_seed(state: training.TrainState, train: Any) -> Any:
      key = jax.random.fold_in(jax.random.fold_in(state.key, _SHUFFLE_STREAM), state.step)
      keys = jax.random.split(key, len(self.parts.num_classes))
      shuffled = jax.tree.map(
        lambda x: jax.vmap(jax.random.permutation, in_axes=(0, 1), out_axes=1)(keys, x), train
      )
      return run(state, shuffled)

    epoch = jax.jit(jax.vmap(one_seed, in_axes=(0, None)), donate_argnums=0)
    return lambda states: epoch(states, train)

  def train_singles(self, tasks: Sequence[str]) -> Outcome:
    """Trains one network a domain, all of them and all seeds together.

    Raises:
      ValueError: if one of them diverges: nothing could be compared with it.
    """
    net = self._create(1)
    step = self.step(_losses_fn(net), 1, Method())
    run = scan(step, self.batch_size, self.prepare)
    # A domain's images, with an axis of one domain.
    train = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0)[:, :, None], self._train_images())
    over_domains = jax.vmap(run)
    epoch = jax.jit(jax.vmap(over_domains, in_axes=(0, None)), donate_argnums=0)

    def run_epoch(states: training.TrainState) -> Any:
      states, metrics = epoch(states, train)
      kept = {name: metrics[name][..., 0] for name in ("losses", "train_accuracy")}
      return states, {name: jnp.moveaxis(value, 1, -1) for name, value in kept.items()}

    one = _right(net)
    count = jax.jit(jax.vmap(jax.vmap(one), in_axes=(0, None, None)))

    def accuracy(state: training.TrainState, part: str) -> jax.Array:
      counts = [
        count(_variables(state), images[:, None], labels[:, None])[..., 0]
        for images, labels in self._chunks(part)
      ]
      return sum(counts[1:], counts[0]) / len(getattr(self.parts, part).images)

    def init(key: jax.Array) -> Any:
      return jax.vmap(self._init(net))(jax.random.split(key, len(tasks)))

    def begin(step: training.TrainStep, key: jax.Array, variables: Any) -> Any:
      keys = jax.random.split(key, len(tasks))
      return jax.vmap(lambda k, v: start(step, k, v))(keys, variables)

    variables = init_seeds(init, self.config.seed, self.config.seeds)
    network = Network(variables, _losses_fn(net), accuracy)
    outcome = self.fit("single_tasks", network, begin, step, run_epoch, tuple(tasks))
    if outcome.failure:
      raise ValueError(f"a baseline diverged: {outcome.failure}")
    return outcome

  def _create(self, num_domains: int) -> models.MultiDomain:
    # The paper's VGG has no fifth pool.
    options = {"final_pool": False} if self.config.backbone.startswith("vgg") else {}
    (classes,) = set(self.parts.num_classes.values())
    return models.multi_domain(self.config.build_backbone(**options), num_domains, classes)

  def _init(self, net: models.MultiDomain) -> Callable[[jax.Array], Any]:
    image = data.normalize(self.parts.train.images[0, 0], *self.statistics)
    return lambda key: net.init(key, image)

  def _train_images(self) -> dict[str, jax.Array]:
    images, labels = self.parts.train
    return {"image": jnp.asarray(images), "label": jnp.asarray(labels)}

  def prepare(self, key: jax.Array, batch: Any) -> Any:
    """Crops and flips images `[B, K, H, W, C]`."""
    crop_key, flip_key = jax.random.split(key)
    images = batch["image"].reshape(-1, *batch["image"].shape[2:])
    images = data.random_flip(flip_key, data.random_crop(crop_key, images))
    images = data.normalize(images, *self.statistics)
    return batch | {"image": images.reshape(batch["image"].shape)}

  def _chunks(self, part: str) -> list[tuple[jax.Array, np.ndarray]]:
    """Images `[K, n, H, W, C]` and labels, a part of them at a time, -1 where padded."""
    images, labels = getattr(self.parts, part)
    size = min(len(images), max(1, _TEST_IMAGES // images.shape[1]))
    cut = data.eval_batches(images, labels, size)
    right = np.where(cut.valid[..., None], cut.labels, -1)
    both = zip(cut.images.swapaxes(1, 2), right.swapaxes(1, 2), strict=True)
    return [(data.normalize(x, *self.statistics), y) for x, y in both]


def _variables(state: training.TrainState) -> dict[str, Any]:
  return {"params": state.params, **state.model_state}


def _right(net: models.MultiDomain) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
  """Counts right answers by domain; a label of -1 is none."""

  def count(variables: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    logits, _ = net.apply(variables, images)
    return jnp.sum(logits.argmax(-1) == labels, axis=1)

  return count


def _losses_fn(net: models.MultiDomain) -> Callable[..., Any]:
  def losses_fn(
    params: Any, model_state: Any, batch: Any, key: jax.Array, tasks: jax.Array | None = None
  ) -> Any:
    del key  # no dropout in these networks
    images, labels = (jnp.moveaxis(batch[name], 1, 0) for name in ("image", "label"))
    if tasks is not None:  # only what takes part is computed
      images, labels = images[tasks], labels[tasks]
    logits, updated = net.apply({"params": params, **model_state}, images, True, tasks)
    task_losses = jax.vmap(losses.cross_entropy)(logits, labels)
    right = jnp.mean(logits.argmax(-1) == labels, axis=1)
    return task_losses, training.Aux({"batch_stats": updated}, {"train_accuracy": right})

  return losses_fn
