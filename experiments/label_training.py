"""Training of one network on the one-hot label of a class and one other label of it."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmtl
from experiments.common import accuracy_fn, fit_or_go_on, init_seeds, ms_per_step
from jaxmtl import data, losses, models, training
from jaxmtl.aggregation import METHODS

if TYPE_CHECKING:
  from experiments.binary_labels import Config

LabelKind = Literal["none", "binary", "uniform"]
MAIN, AUX = "main", "auxiliary"

# Options that a run may change when it goes on from its checkpoints.
_FREE = ("workdir", "data_dir", "checkpoint_every", "label_kinds", "task_weights", "preset")


@dataclasses.dataclass(frozen=True)
class Variant:
  """One row of the table: the auxiliary label and the weights of the two losses."""

  kind: LabelKind
  weights: tuple[float, float] = (1.0, 0.0)

  @property
  def name(self) -> str:
    """As the table shows it."""
    if self.kind == "none":
      return "baseline"
    return f"{self.kind} ({self.weights[0]:g}, {self.weights[1]:g})"

  @property
  def folder(self) -> str:
    """Name of its folder."""
    return re.sub(r"[ ,()]+", "_", self.name).strip("_")

  @property
  def tasks(self) -> list[str]:
    """Names of its tasks, the main one first."""
    return [MAIN] if self.kind == "none" else [MAIN, AUX]


def train_variant(
  config: Config,
  variant: Variant,
  splits: data.Splits,
  subsets: np.ndarray,
  codes: np.ndarray,
  statistics: Any,
  evaluate: Callable[[Any, data.ImageDataset], jax.Array],
  folder: pathlib.Path,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Trains one variant, all seeds together, and tests it.

  Args:
    config: the experiment's options.
    variant: which auxiliary label, with which weights.
    splits: the data.
    subsets: int `[seeds, n]`, the labelled training images of each seed.
    codes: float `[seeds, num_classes, dim]`, the auxiliary labels of each seed.
    statistics: mean and standard deviation of the training images' channels.
    evaluate: from `evaluator`.
    folder: where its checkpoints and metrics go.

  Returns:
    Its row of the results, and its curves by name, float `[seeds, epochs]`.

  Raises:
    training.TrainingDiverged: if a loss stops being finite.
    ValueError: if the folder holds checkpoints of another configuration.
  """
  num_classes, num_images = splits.train.num_classes, subsets.shape[1]
  batch_size = num_images // -(-num_images // config.batch_size)
  steps = num_images // batch_size
  model = build_model(config, num_classes, variant.tasks)
  prepare = _augmentation(config, statistics)
  build = _step_builder(config, variant, model, steps)
  step = build(config.aggregator)

  train_data = {
    "image": jnp.asarray(splits.train.images),
    "label": jnp.asarray(splits.train.labels),
  }
  device_subsets = jnp.asarray(subsets)

  def init(key: jax.Array, codes: jax.Array) -> training.TrainState:
    images = data.normalize(train_data["image"][:2], *statistics)
    variables = model.init(key, images, train=False)
    state = {"batch_stats": variables.get("batch_stats", {}), "codes": codes}
    return step.init(variables["params"], key, state)

  state = init_seeds(init, config.seed, config.seeds, jnp.asarray(codes))
  epoch = jax.jit(
    jax.vmap(
      training.scan_epoch(step.update, batch_size, prepare, pairs=step.pairs), in_axes=(0, None, 0)
    ),
    donate_argnums=0,
  )

  step_cosine = config.aggregator != "none"
  probe = build("sum_tasks").update

  @jax.jit
  @jax.vmap
  def cosine(state: training.TrainState, subset: jax.Array) -> jax.Array:
    """Of the tasks' gradients on the first labelled images, where training does not make them."""
    rows = subset[:batch_size]
    batch = prepare(state.key, jax.tree.map(lambda leaf: leaf[rows], train_data))
    return probe(dataclasses.replace(state, aggregator=optax.EmptyState()), batch)[1]["cosine"]

  def main_variables(state: training.TrainState) -> dict[str, Any]:
    """The network without its auxiliary head."""
    variables = {"params": state.params, "batch_stats": state.model_state["batch_stats"]}
    return models.drop_heads(variables, *variant.tasks[1:])

  def after_epoch(state: training.TrainState) -> dict[str, Any]:
    values = {}
    if splits.validation is not None:
      values["validation_accuracy"] = evaluate(main_variables(state), splits.validation)
    if AUX in variant.tasks and not step_cosine:
      values["cosine"] = cosine(state, device_subsets)
    return values

  identity = dataclasses.asdict(config) | {"variant": variant.name}
  state, history = fit_or_go_on(
    folder / variant.folder,
    {k: v for k, v in identity.items() if k not in _FREE},
    state,
    lambda s: epoch(s, train_data, device_subsets),
    config.epochs,
    name=variant.name,
    evaluate=after_epoch,
    checkpoint_every=config.checkpoint_every,
    task_names=variant.tasks,
  )

  # The auxiliary head is gone; the test set is looked at here, once.
  accuracies = 100 * np.asarray(evaluate(main_variables(state), splits.test), float)
  row = {
    "variant": variant.name,
    "kind": variant.kind,
    "test_accuracy": accuracies.tolist(),
    "mean": accuracies.mean(),
    "std": accuracies.std(ddof=1) if len(accuracies) > 1 else None,
    "train_accuracy": (100 * np.ravel(history[-1]["train_accuracy"])).tolist(),
    "ms_per_step": ms_per_step(history, steps),
  }
  names = ("train_accuracy", "validation_accuracy", "cosine")
  curves = {n: np.stack([r[n] for r in history], axis=1) for n in names if n in history[-1]}
  if "cosine" in curves:
    curves["cosine"] = curves["cosine"][:, :, 0, 1]
  return row, curves


def build_model(config: Config, num_classes: int, tasks: list[str]) -> models.MultiHead:
  """The backbone with a linear head for the classes and, where asked, the dense-label decoder."""
  heads: dict[str, nn.Module] = {MAIN: nn.Dense(num_classes)}
  if AUX in tasks:
    heads[AUX] = models.DenseLabelDecoder(config.dim)
  return models.MultiHead(models.create(config.backbone), heads)


def evaluator(
  model: models.MultiHead, statistics: Any, batch_size: int = 250
) -> Callable[[Any, data.ImageDataset], jax.Array]:
  """`(variables, dataset) -> accuracy [seeds]` in 0..1 of the main head; compiled once a shape."""

  def predict(variables: Any, images: jax.Array) -> Any:
    return model.apply(variables, data.normalize(images, *statistics), train=False)

  counted = accuracy_fn(predict, batch_size)
  return lambda variables, dataset: counted(variables, dataset.images, {MAIN: dataset.labels})[MAIN]


def _augmentation(config: Config, statistics: Any) -> Callable[[jax.Array, Any], Any]:
  def prepare(key: jax.Array, batch: Any) -> Any:
    crop_key, flip_key = jax.random.split(key)
    images = batch["image"]
    if config.crop_padding:
      images = data.random_crop(crop_key, images, config.crop_padding)
    if config.flip:
      images = data.random_flip(flip_key, images)
    return {"image": data.normalize(images, *statistics), "label": batch["label"]}

  return prepare


def _step_builder(
  config: Config, variant: Variant, model: models.MultiHead, steps_per_epoch: int
) -> Callable[[str], training.TrainStep]:
  """Makes the variant's train step for an aggregator's name."""

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    del key  # no dropout in these networks
    outputs: Any
    outputs, updated = model.apply(
      {"params": params, "batch_stats": model_state["batch_stats"]},
      batch["image"],
      train=True,
      mutable=["batch_stats"],
    )
    logits, target = outputs[MAIN], batch["label"]
    task_losses = [losses.cross_entropy(logits, target)]
    if variant.kind == "binary":
      task_losses.append(losses.binary_cross_entropy(outputs[AUX], model_state["codes"][target]))
    elif variant.kind == "uniform":
      task_losses.append(losses.smooth_l1(outputs[AUX], model_state["codes"][target]))
    accuracy = jnp.mean(logits.argmax(-1) == target)
    return jnp.stack(task_losses), training.Aux(
      model_state={**model_state, **updated}, metrics={"train_accuracy": accuracy}
    )

  boundaries = {round(m * config.epochs) * steps_per_epoch: 0.1 for m in config.milestones}
  schedule = optax.piecewise_constant_schedule(config.learning_rate, boundaries)
  optimizer = optax.chain(
    optax.add_decayed_weights(config.weight_decay), optax.sgd(schedule, config.momentum)
  )

  def build(aggregator: str) -> training.TrainStep:
    combined = AUX in variant.tasks and aggregator != "none"
    return training.train_step(
      losses_fn,
      optimizer,
      len(variant.tasks),
      weighting=jaxmtl.constant(2, variant.weights) if AUX in variant.tasks else None,
      aggregator=METHODS[aggregator](2) if combined else None,
      shared=models.shared_mask,
    )

  return build
