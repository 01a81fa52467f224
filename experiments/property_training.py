"""Training of networks that predict a class and a property of each image."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.common import create_backbone, fit_or_go_on
from experiments.property_targets import Targets, measure
from jaxmtl import data, labels, models, training

# Options that a run may change when it goes on from its checkpoints.
FREE = ("workdir", "data_dir", "checkpoint_every", "preset", "approaches", "seeds", "seed")


@dataclasses.dataclass(frozen=True)
class PropertyConfig:
  """Options of every experiment on images with a class and a property."""

  dataset: Literal["digits_ink", "steel"] = "digits_ink"
  """digits_ink: digits of ten inks and their mass, embedded; steel: micrographs and hardness."""
  data_dir: str | None = None
  """Folder of the steel data set, with trainset, trainset.xlsx, and so on."""
  split: Literal["published", "grouped"] = "published"
  """Of steel: as published, or no micrograph in two parts."""
  image_size: int | None = None
  """Side in pixels; None keeps the size."""
  backbone: str = "convnet4"
  """Any name of jaxmtl.models.create."""
  width: float | None = None
  """Channels of convnet4; a factor for the others, see jaxmtl.models."""
  epochs: int = 100
  batch_size: int = 32
  learning_rate: float = 1e-3
  weight_decay: float = 1e-4
  """Added to the gradient, before Adam."""
  schedule: Literal["plateau", "cosine"] = "plateau"
  """plateau: a tenth of the learning rate whenever the validation loss stands still; cosine: to
  zero, after a first epoch of warm-up."""
  patience: int = 5
  """Epochs without a better validation loss that a plateau may last."""
  augment: bool = False
  """Quarter turns and mirror images."""
  seeds: int = 3
  """Networks a model, trained one after the other."""
  seed: int = 0
  """First seed."""
  checkpoint_every: int = 5
  """Epochs between checkpoints."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    for name in ("epochs", "seeds", "batch_size", "checkpoint_every", "patience"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
    if self.width is not None and not self.width > 0:
      raise ValueError(f"width must be positive, got {self.width}.")
    self.build_backbone()  # raises for an unknown name

  def build_backbone(self) -> nn.Module:
    """The backbone."""
    return create_backbone(self.backbone, self.width)

  def load(self) -> data.PropertySplits:
    """The data."""
    if self.dataset == "digits_ink":
      return data.digits_ink()
    return data.load_steel(self.data_dir, image_size=self.image_size, split=self.split)


class Compiled(NamedTuple):
  """What is compiled once for all networks with the same heads.

  Attributes:
    init: `key -> TrainState`.
    epoch: `(state, examples) -> (state, metrics)`.
    outputs: `(state, uint8 images) -> outputs by head`.
    gradient: `(state, examples) -> gradient` of the mean loss over whole batches of examples.
  """

  init: Callable[..., training.TrainState]
  epoch: Callable[..., Any]
  outputs: Callable[..., dict[str, jax.Array]]
  gradient: Callable[..., Any]


class Trainer:
  """Trains targets on the same data, from the same backbone's parameters, in the same order."""

  def __init__(self, config: PropertyConfig, parts: data.PropertySplits, folder: pathlib.Path):
    """Puts the training images on the device.

    Args:
      config: the options.
      parts: the data.
      folder: where checkpoints and metrics go, one folder a run.
    """
    self.config, self.parts, self._folder = config, parts, folder
    self._statistics = data.channel_statistics(parts.train.images)
    self._images = jnp.asarray(parts.train.images)
    self._batch_size = min(config.batch_size, len(parts.train))
    self.steps = len(parts.train) // self._batch_size
    self._compiled: dict[tuple[str, ...], Compiled] = {}

  def train(
    self, name: str, targets: Targets, seed: int, epochs: int | None = None
  ) -> tuple[training.TrainState, list[dict[str, Any]]]:
    """Trains one network, or goes on with it.

    Args:
      name: of the run, and of its folder.
      targets: what it learns.
      seed: of parameters and order.
      epochs: the last one; as configured where None.

    Returns:
      The last state, and a row of metrics an epoch.

    Raises:
      training.TrainingDiverged: if a loss stops being finite.
      ValueError: if the folder holds checkpoints of another configuration.
    """
    config, compiled = self.config, self.compiled(targets)
    examples = self.examples(targets)
    validation = self.parts.validation
    wanted = targets.encode(validation.classes, validation.values)

    def run_epoch(state: training.TrainState) -> tuple[training.TrainState, dict[str, Any]]:
      state, metrics = compiled.epoch(state, examples)
      outputs = self.outputs(state, targets, validation.images)
      loss = targets.losses(outputs, wanted).sum()
      found = measure(validation, *targets.decode(outputs)) | {"loss": loss}
      state = dataclasses.replace(state, optimizer=observe(config, state.optimizer, loss))
      # One value an epoch beside one a step; the loop takes means.
      return state, metrics | {f"validation_{k}": np.array([v]) for k, v in found.items()}

    identity = dataclasses.asdict(config) | {"run": name, "run_seed": seed}
    return fit_or_go_on(
      self._folder / name,
      {k: v for k, v in identity.items() if k not in FREE},
      compiled.init(jax.random.key(seed)),
      run_epoch,
      epochs or config.epochs,
      name=name,
      checkpoint_every=config.checkpoint_every,
      task_names=list(targets.heads),
    )

  def outputs(
    self, state: training.TrainState, targets: Targets, images: np.ndarray
  ) -> dict[str, jax.Array]:
    """What a network says of uint8 images, by head `[N, K]`."""
    apply = self.compiled(targets).outputs
    cut = data.eval_batches(images, np.arange(len(images)), min(128, len(images)))
    found = [apply(state, batch) for batch in cut.images]
    return {head: jnp.concatenate([f[head] for f in found])[: len(images)] for head in found[0]}

  def mean_gradient(self, state: training.TrainState, targets: Targets) -> float:
    """The mean magnitude of the gradient of the loss over the training set."""
    gradient = self.compiled(targets).gradient(state, self.examples(targets))
    return float(labels.mean_magnitude(gradient))

  def compiled(self, targets: Targets) -> Compiled:
    """The functions for these heads; targets with the same heads must have the same losses."""
    key = tuple(targets.heads)
    if key not in self._compiled:
      self._compiled[key] = self._compile(targets)
    return self._compiled[key]

  def examples(self, targets: Targets) -> dict[str, jax.Array]:
    """The training images with their targets."""
    train = self.parts.train
    return {"image": self._images, **targets.encode(train.classes, train.values)}

  def build_model(self, sizes: Mapping[str, int]) -> nn.Module:
    """The network, with so many outputs by head; one that gives outputs by head may override it."""
    heads: dict[str, nn.Module] = {head: nn.Dense(size) for head, size in sizes.items()}
    return models.MultiHead(self.config.build_backbone(), heads)

  def build_step(self, losses_fn: Callable[..., Any], num_tasks: int) -> training.TrainStep:
    """The train step, with equal weights; one with another weighting may override it."""
    return training.train_step(losses_fn, make_optimizer(self.config, self.steps), num_tasks)

  def _compile(self, targets: Targets) -> Compiled:
    config, model = self.config, self.build_model(targets.heads)

    def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
      outputs: Any
      outputs, updated = model.apply(
        {"params": params, **model_state},
        batch["image"],
        train=True,
        mutable=["batch_stats", models.PENALTIES],
        rngs={"dropout": key},
      )
      penalties = models.task_penalties(updated, tuple(targets.heads))
      kept = {name: value for name, value in updated.items() if name in model_state}
      return targets.losses(outputs, batch) + penalties, training.Aux({**model_state, **kept})

    def prepare(key: jax.Array, batch: Any) -> Any:
      images = batch["image"]
      images = data.random_dihedral(key, images) if config.augment else images
      return {**batch, "image": data.normalize(images, *self._statistics)}

    def init(key: jax.Array) -> training.TrainState:
      variables = model.init(key, data.normalize(self._images[:2], *self._statistics))
      return step.init(variables["params"], key, {"batch_stats": variables.get("batch_stats", {})})

    def outputs(state: training.TrainState, images: jax.Array) -> Any:
      variables = {"params": state.params, **state.model_state}
      return model.apply(variables, data.normalize(images, *self._statistics))

    def gradient(state: training.TrainState, examples: Any) -> Any:
      # Batches as in training, mixed: batch normalization takes their own statistics.
      def add(total: Any, rows: jax.Array) -> tuple[Any, None]:
        batch = prepare(state.key, jax.tree.map(lambda leaf: leaf[rows], examples))

        def loss_fn(params: Any) -> jax.Array:
          return losses_fn(params, state.model_state, batch, state.key)[0].sum()

        return jax.tree.map(jnp.add, total, jax.grad(loss_fn)(state.params)), None

      rows = data.epoch_indices(state.key, len(self._images), self._batch_size)
      total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, state.params), rows)
      return jax.tree.map(lambda leaf: leaf / self.steps, total)

    step = self.build_step(losses_fn, len(targets.heads))
    epoch = training.scan_epoch(step.update, self._batch_size, prepare, pairs=step.pairs)
    return Compiled(
      jax.jit(init), jax.jit(epoch, donate_argnums=0), jax.jit(outputs), jax.jit(gradient)
    )


def make_optimizer(config: PropertyConfig, steps: int) -> optax.GradientTransformation:
  """Adam with weight decay as PyTorch's, and a learning rate that falls."""
  decay = optax.add_decayed_weights(config.weight_decay)
  if config.schedule == "plateau":
    return optax.chain(decay, optax.adam(config.learning_rate), _held(_plateau(config)))
  total = max(config.epochs * steps, 2)
  rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, min(steps, total - 1), total)
  return optax.chain(decay, optax.adam(rate))


def _plateau(config: PropertyConfig) -> optax.GradientTransformationExtraArgs:
  # PyTorch's patience is the number of epochs that are borne, optax's the one that is too many.
  return optax.contrib.reduce_on_plateau(0.1, config.patience + 1)


def _held(plateau: optax.GradientTransformationExtraArgs) -> optax.GradientTransformation:
  """Scales updates as a plateau's state says, which only `observe` changes, once an epoch."""

  def update(updates: Any, state: Any, params: Any = None) -> Any:
    del params
    return jax.tree.map(lambda leaf: state.scale * leaf, updates), state

  return optax.GradientTransformation(plateau.init, update)


def observe(config: PropertyConfig, state: Any, loss: jax.Array) -> Any:
  """The optimiser's state after an epoch with this validation loss."""
  if config.schedule != "plateau":
    return state
  return (*state[:-1], _plateau(config).update({}, state[-1], value=loss)[1])
