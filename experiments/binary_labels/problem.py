"""The class of an image, and as an auxiliary task another label of the same class."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.binary_labels.config import Config, DataOptions, LabelKind
from experiments.problems.images import ImageTasks, Task, image_problem
from experiments.problems.own_data import load_own, need_classes, part_labels, rows_of
from experiments.runner.job import Problem
from experiments.runner.measure import most_likely
from experiments.runner.mesh import say
from jaxmtl import data, labels, losses, models, training
from jaxmtl.data.manifest import MANIFEST_SUFFIXES, manifest_tasks

MAIN, AUX = "main", "auxiliary"
CODES = "codes"


def load(config: Config) -> ImageTasks:
  """The images, all of them, whichever have labels in a run."""
  options = config.images
  if options.own:
    return _own(config)
  splits = data.load(
    options.dataset,
    data_dir=options.data_dir,
    image_size=options.image_size,
    validation=options.validation,
    seed=config.run.seed,
    label_key=options.label_key,
  )
  named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
  return ImageTasks(
    parts={
      name: {"image": part.images, MAIN: part.labels}
      for name, part in named.items()
      if part is not None
    },
    tasks={MAIN: Task(splits.train.num_classes, tuple(splits.train.class_names or ()))},
    statistics=data.channel_statistics(splits.train.images),
  )


def _own(config: Config) -> ImageTasks:
  """Images of one's own that have a label in the one column that is learned."""
  options, column = config.images, _column(config.images)
  found = load_own(
    options.dataset,
    config.own_data,
    image_size=options.image_size,
    seed=config.run.seed,
    tasks=(column,),
  )
  need_classes(options.dataset, found, (column,))
  parts, left_out = {}, 0
  for name, part in found.parts.items():
    known = part_labels(part)[column] >= 0
    left_out += int((~known).sum())
    if known.any():
      parts[name] = _named(rows_of(part, np.flatnonzero(known)), column)
  if left_out:
    say(f"{left_out} image(s) without a label in column {column!r} are left out.")
  return found._replace(parts=parts, tasks={MAIN: found.tasks[column]})


def _column(options: DataOptions) -> str:
  """The one that is learned; raises ValueError where several might be meant."""
  table = pathlib.Path(options.dataset).suffix.lower() in MANIFEST_SUFFIXES
  if options.label_key != DataOptions.label_key:
    return options.label_key
  columns = manifest_tasks(options.dataset) if table else ("class",)
  if options.label_key in columns:
    return options.label_key
  if len(columns) > 1:
    raise ValueError(
      f"label_key must name the column of {options.dataset} that is the main task, one of "
      f"{', '.join(columns)}, as in --label-key {columns[0]}."
    )
  return columns[0]


def _named(part: Any, column: str) -> Any:
  """A part with its label under the name of the main task."""
  if isinstance(part, Mapping):
    return {"image": part["image"], MAIN: part[column]}
  return part.with_labels({MAIN: part.labels[column]})


def some_of(part: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
  """Examples as arrays, with the axes of `rows` in front."""
  if isinstance(part, Mapping):
    return {name: values[rows] for name, values in part.items()}
  found = part.subset(rows.ravel()).load()
  return {name: values.reshape(*rows.shape, *values.shape[1:]) for name, values in found.items()}


def labelled(config: Config, images: ImageTasks) -> np.ndarray:
  """The training images with labels, int `[seeds, n]`, another choice for each seed."""
  options = config.images
  classes = part_labels(images.parts["train"])[MAIN]
  return np.stack(
    [
      data.labelled_fraction(classes, options.fraction, seed=seed, of=options.fraction_of)
      for seed in config.run.all_seeds
    ]
  )


def draw_codes(config: Config, kind: LabelKind, num_classes: int) -> np.ndarray:
  """The labels of a kind, float `[seeds, num_classes, dim]`, drawn from each run's key.

  On the host: binary labels are NumPy's and cannot be drawn within a compiled `Problem.init`, which
  gets them as the run's setting.
  """
  keys = [jax.random.key(seed) for seed in config.run.all_seeds]
  if kind == "none":
    return np.stack([np.eye(num_classes, dtype=np.float32) for _ in keys])
  draw = labels.binary_labels if kind == "binary" else labels.uniform_labels
  return np.stack([np.asarray(draw(key, num_classes, config.labels.dim)) for key in keys])


def class_problem(config: Config, images: ImageTasks) -> Problem:
  """The main task alone: the baseline, and what is left of the others after training."""
  options, network = config.schedule, config.network

  def augment(key: jax.Array, image: jax.Array) -> jax.Array:
    crop_key, flip_key = jax.random.split(key)
    if options.crop_padding:
      image = data.random_crop(crop_key, image, options.crop_padding)
    return data.random_flip(flip_key, image) if options.flip else image

  return image_problem(
    images,
    (MAIN,),
    network.build(),
    dense=network.dense,
    augment=augment,
    describe={"backbone": network.backbone, "width": network.width},
  )


def with_codes(problem: Problem, config: Config, images: ImageTasks, kind: LabelKind) -> Problem:
  """The class problem with an auxiliary head that learns a code of the class.

  Codes, `[num_classes, dim]`, are a run's setting and go into the model's state. What is predicted
  and measured stays that of the class alone, see `without_codes`.
  """
  head = models.DenseLabelDecoder(
    config.labels.dim, side=config.labels.decoder_side, width=config.labels.decoder_width
  )
  network = config.network
  heads: dict[str, nn.Module] = {MAIN: network.dense(images.tasks[MAIN].classes), AUX: head}
  model = models.MultiHead(network.build(), heads)
  code_loss = losses.binary_cross_entropy if kind == "binary" else losses.smooth_l1

  def init(key: jax.Array, codes: jax.Array) -> Any:
    return {**model.init(key, jnp.zeros((2, *images.shape))), CODES: codes}

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    own = {name: v for name, v in model_state.items() if name != CODES}
    outputs: Any
    outputs, updated = model.apply(
      {"params": params, **own},
      batch["image"],
      train=True,
      mutable=["batch_stats"],
      rngs={"dropout": key},
    )
    target = batch[MAIN]
    found = [
      losses.cross_entropy(outputs[MAIN], target),
      code_loss(outputs[AUX], model_state[CODES][target]),
    ]
    right = jnp.mean(most_likely(outputs[MAIN]) == target)
    kept = {name: v for name, v in updated.items() if name in own}
    # One number, of the task that counts.
    aux = training.Aux({**model_state, **kept}, {"train_accuracy": right[None]})
    return jnp.stack(found), aux

  return problem._replace(tasks=(MAIN, AUX), init=init, losses_fn=losses_fn)


def without_codes(state: Any) -> dict[str, Any]:
  """The network as it is used after training: no codes, and no auxiliary head."""
  variables = training.variables_of(state)
  return models.drop_heads({k: v for k, v in variables.items() if k != CODES}, AUX)
