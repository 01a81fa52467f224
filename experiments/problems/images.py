"""Images with several tasks, each a classification or a regression, some labels missing or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.job import Problem
from experiments.runner.measure import accuracy, mean_absolute_error, most_likely
from jaxmtl import data, losses, models, training
from jaxmtl.models.architectures.ltb import cooling
from jaxmtl.training.trained import task_head

Augment = Callable[[Any, jax.Array], jax.Array]
OnFeatures = Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]


class Task(NamedTuple):
  """What is asked about an image.

  Attributes:
    classes: how many there are; 0 for a number.
    names: of the classes, or empty.
    mean: of a number on the training set.
    scale: its deviation there; networks learn it less the mean and over this.
  """

  classes: int
  names: tuple[str, ...] = ()
  mean: float = 0.0
  scale: float = 1.0

  @property
  def outputs(self) -> int:
    """Numbers that the network gives."""
    return self.classes or 1


class ImageTasks(NamedTuple):
  """Images with tasks, in three parts.

  Attributes:
    parts: by "train", "validation" (or without it) and "test": uint8 `image` `[N, H, W, C]`, and by
      task integer classes `[N]`, -1 where missing, or float numbers, standardised, NaN where
      missing; or sources of such examples.
    tasks: by name.
    statistics: mean and deviation of the training images' channels.
    identity: what tells these images from others, for a job's; empty where options say it.
  """

  parts: dict[str, Any]
  tasks: dict[str, Task]
  statistics: tuple[Any, Any]
  identity: Mapping[str, Any] = {}

  @property
  def shape(self) -> tuple[int, ...]:
    """Of an image."""
    train = self.parts["train"]
    return tuple((train["image"] if isinstance(train, Mapping) else [train[0]["image"]])[0].shape)

  @property
  def measured(self) -> dict[str, Any]:
    """The parts that a job measures."""
    return {name: part for name, part in self.parts.items() if name != "train"}

  def measured_of(self, tasks: Sequence[str]) -> dict[str, Any]:
    """The same with the labels of some tasks alone, where parts are in memory."""

    def some(part: Any) -> Any:
      return {n: part[n] for n in ("image", *tasks)} if isinstance(part, Mapping) else part

    return {name: some(part) for name, part in self.measured.items()}

  def labels_missing(self) -> bool:
    """Whether a training label is missing."""
    train = self.parts["train"]
    labels = train if isinstance(train, Mapping) else getattr(train, "labels", None)
    if labels is None:
      return True  # nobody knows without reading all
    return any(
      (labels[t] < 0).any() if task.classes else np.isnan(labels[t]).any()
      for t, task in self.tasks.items()
    )


def of_splits(splits: Any) -> ImageTasks:
  """`data.TaskSplits` as `ImageTasks`."""
  named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
  found = {
    name: {"image": part.images, **part.labels} for name, part in named.items() if part is not None
  }
  tasks = {task: Task(count) for task, count in splits.num_classes.items()}
  return ImageTasks(found, tasks, data.channel_statistics(splits.train.images))


def image_problem(
  images: ImageTasks,
  tasks: tuple[str, ...],
  backbone: nn.Module,
  *,
  architecture: str = "hps",
  hidden: int = 0,
  anneal_steps: int = 1,
  dense: Callable[[int], nn.Module] = nn.Dense,
  augment: Augment | None = None,
  describe: Mapping[str, Any] | None = None,
) -> Problem:
  """Tasks of images by one network.

  Args:
    images: the data.
    tasks: which ones are learned; a single one has a backbone and a head, whatever the
      architecture.
    backbone: what the architecture is made of.
    architecture: a name of `models.multi_task`.
    hidden: units of the first of two layers of each head; 0 for one linear layer.
    anneal_steps: of learning to branch.
    dense: makes a linear layer of a head, of so many outputs.
    augment: `(key, uint8 images) -> images`.
    describe: the backbone's name and options, so that the network can be rebuilt from its weights.
  """
  kinds = {t: images.tasks[t] for t in tasks}
  name = architecture if len(tasks) > 1 else "hps"
  options = {"temperature": cooling(anneal_steps)} if name == "ltb" else {}
  model = models.multi_task(name, backbone, heads_of(images, tasks, hidden, dense), **options)
  missing, shape = images.labels_missing(), images.shape
  statistics = images.statistics

  def init(key: jax.Array, setting: Any) -> Any:
    del setting
    return model.init(key, data.normalize(jnp.zeros((2, *shape), jnp.uint8), *statistics))

  def prepare(key: jax.Array, batch: Any) -> Any:
    image = batch["image"] if augment is None else augment(key, batch["image"])
    return batch | {"image": data.normalize(image, *statistics)}

  def predict(variables: Any, batch: Any) -> Any:
    return model.apply(variables, data.normalize(batch["image"], *statistics))

  classes = [t for t, kind in kinds.items() if kind.classes]
  numbers = [t for t, kind in kinds.items() if not kind.classes]
  metrics = {"accuracy": accuracy(classes)} if classes else {}
  if numbers:
    metrics["mae"] = mean_absolute_error(numbers, {t: kinds[t].scale for t in numbers})
  described = {}
  if describe is not None:
    described = {
      **describe,
      "hidden": hidden,
      "architecture": name,
      "shape": shape,
      "statistics": statistics,
      "tasks": {t: kind._asdict() for t, kind in kinds.items()},
    }
  return Problem(
    tasks=tasks,
    init=init,
    losses_fn=losses_fn(model, kinds, missing),
    prepare=prepare,
    predict=predict,
    metrics=metrics,
    describe=described,
  )


def heads_of(
  images: ImageTasks,
  tasks: tuple[str, ...],
  hidden: int = 0,
  dense: Callable[[int], nn.Module] = nn.Dense,
) -> dict[str, nn.Module]:
  """One head a task, of one or two layers."""
  return {t: task_head(images.tasks[t].outputs, hidden, dense) for t in tasks}


def encoder(images: ImageTasks, backbone: nn.Module) -> Callable[[Any, Any], Any]:
  """`(variables, batch) -> features` of a network with one backbone (hps), not in training."""

  def encode(variables: Any, batch: Any) -> Any:
    own = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
    return backbone.apply(own, data.normalize(batch["image"], *images.statistics))

  return encode


def losses_fn(model: nn.Module, kinds: Mapping[str, Task], missing: bool) -> Callable[..., Any]:
  """Cross-entropy of classes, squared error of numbers; a task without labels has no part.

  What it returns takes, beside `train_step`'s arguments, `on_features`, where one backbone is
  shared (hps): `(variables, features, batch, losses [T]) -> (losses [T], metrics)`, for terms of a
  loss that look at the features.
  """

  def valid(task: str, batch: Any) -> Any:
    if not missing:
      return None
    return batch[task] >= 0 if kinds[task].classes else ~jnp.isnan(batch[task])

  def loss(task: str, output: jax.Array, batch: Any) -> jax.Array:
    if kinds[task].classes:
      return losses.cross_entropy(output, batch[task], valid(task, batch))
    return losses.mean_squared_error(output[..., 0], batch[task], valid(task, batch))

  def all_losses(
    params: Any,
    model_state: Any,
    batch: Any,
    key: jax.Array,
    tasks: jax.Array | None = None,
    on_features: OnFeatures | None = None,
  ) -> Any:
    variables = {"params": params, **model_state}
    options: Any = {
      "train": True,
      "mutable": ["batch_stats", models.PENALTIES],
      "rngs": {"dropout": key},
    }
    outputs: Any
    if on_features is None:
      outputs, updated = model.apply(variables, batch["image"], **options)
    else:
      features, updated = model.apply(variables, batch["image"], method="encode", **options)
      outputs, updated = model.apply({**variables, **updated}, features, method="decode", **options)
    found = jnp.stack([loss(t, outputs[t], batch) for t in kinds])
    found += models.task_penalties(updated, tuple(kinds))
    metrics: dict[str, jax.Array] = {}
    if on_features is not None:
      found, metrics = on_features(variables, features, batch, found)
    if all(kind.classes for kind in kinds.values()) and not missing:
      right = [jnp.mean(most_likely(outputs[t]) == batch[t]) for t in kinds]
      metrics["train_accuracy"] = jnp.stack(right)
    mask = jnp.stack([valid(t, batch).any() for t in kinds]) if missing else None
    kept = {k: v for k, v in updated.items() if k in model_state}
    aux = training.Aux({**model_state, **kept}, metrics, mask)
    return found if tasks is None else found[tasks], aux

  return all_losses
