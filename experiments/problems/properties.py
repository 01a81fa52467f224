"""Images with a class and a property: what a network is asked for, the problem, and its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.job import Problem
from experiments.runner.measure import most_likely, ratio
from jaxmtl import data, labels, losses, models, training

CLASS, VALUE, HYBRID = "class", "value", "hybrid"
# What was measured, beside the targets that are made of it.
TRUE_CLASS, TRUE_VALUE = "true_class", "true_value"
NEAR = 0.08  # "within 8 %"
# Each metric, and the task that it is of.
COLUMNS = {"accuracy": CLASS, "mse": VALUE, "mae": VALUE, "mape": VALUE, "near": VALUE}


class Targets(NamedTuple):
  """What a network is asked for, and how class and value follow from what it says.

  Attributes:
    heads: number of outputs by head.
    encode: `(classes, values) -> targets by name`, `[N]` each, before training.
    losses: `(outputs by head [B, K], targets by name [B], valid [B] or None) -> [T]`, means over
      the valid examples.
    decode: `outputs by head -> (classes, values)`.
  """

  heads: Mapping[str, int]
  encode: Callable[[Any, Any], dict[str, jax.Array]]
  losses: Callable[[Mapping[str, jax.Array], Mapping[str, Any], Any], jax.Array]
  decode: Callable[[Mapping[str, jax.Array]], tuple[jax.Array, jax.Array]]


class Predicted(NamedTuple):
  """What a network says of a batch.

  Attributes:
    classes: integers `[B]`; -1 where what the network says is not finite.
    values: float `[B]`, in the property's unit.
    outputs: by head, `[B, K]`.
  """

  classes: jax.Array
  values: jax.Array
  outputs: Mapping[str, jax.Array]


def pair_losses(
  outputs: Mapping[str, jax.Array], targets: Mapping[str, Any], valid: Any = None
) -> jax.Array:
  """Cross-entropy of the class and squared error of the value, `[2]`."""
  return jnp.stack(
    [
      losses.cross_entropy(outputs[CLASS], targets[CLASS], valid),
      losses.mean_squared_error(outputs[VALUE][..., 0], targets[VALUE], valid),
    ]
  )


def pair_targets(num_classes: int, mean: float = 0.0, std: float = 1.0) -> Targets:
  """Two tasks: the class, and the value, less a mean and over a standard deviation."""

  def encode(classes: Any, values: Any) -> dict[str, jax.Array]:
    return {CLASS: jnp.asarray(classes), VALUE: (jnp.asarray(values) - mean) / std}

  def decode(outputs: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    return most_likely(outputs[CLASS]), mean + std * outputs[VALUE][..., 0]

  return Targets({CLASS: num_classes, VALUE: 1}, encode, pair_losses, decode)


def pair_of(parts: data.PropertySplits, *, standardise: bool) -> Targets:
  """Class and value, the latter by the training set's mean and deviation where so wanted."""
  count, values = len(parts.class_names), parts.train.values.astype(float)
  return pair_targets(count, values.mean(), values.std()) if standardise else pair_targets(count)


def hybrid_losses(
  outputs: Mapping[str, jax.Array], targets: Mapping[str, Any], valid: Any = None
) -> jax.Array:
  """Squared error of the hybrid label, `[1]`."""
  return losses.mean_squared_error(outputs[HYBRID][..., 0], targets[HYBRID], valid)[None]


def hybrid_targets(hybrid: labels.FastCAR) -> Targets:
  """One task: FastCAR's hybrid label."""
  return Targets(
    {HYBRID: 1},
    lambda classes, values: {HYBRID: hybrid.encode(values, classes)},
    hybrid_losses,
    lambda outputs: hybrid.decode(outputs[HYBRID][..., 0]),
  )


def examples_of(part: data.PropertyImages, targets: Targets) -> dict[str, Any]:
  """What is learned from: images and targets."""
  encoded = targets.encode(part.classes, part.values)
  return {"image": part.images, **{name: np.asarray(values) for name, values in encoded.items()}}


def measured_of(part: data.PropertyImages, targets: Targets) -> dict[str, Any]:
  """What is measured on: images, targets, and what these are made of."""
  return {**examples_of(part, targets), TRUE_CLASS: part.classes, TRUE_VALUE: part.values}


def property_problem(
  parts: data.PropertySplits, targets: Targets, model: nn.Module, *, augment: bool = False
) -> Problem:
  """Class and property of an image by one network.

  Args:
    parts: the data.
    targets: what the network is asked for.
    model: called as `model(images, train=...)`; gives outputs by head.
    augment: whether images are turned by quarters and mirrored.
  """
  statistics = data.channel_statistics(parts.train.images)
  shape = parts.train.images.shape[1:]
  tasks = tuple(targets.heads)

  def init(key: jax.Array, setting: Any) -> Any:
    del setting
    images = data.normalize(jnp.zeros((2, *shape), jnp.uint8), *statistics)
    variables = model.init(key, images)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    outputs: Any
    outputs, updated = model.apply(
      {"params": params, **model_state},
      batch["image"],
      train=True,
      mutable=["batch_stats", models.PENALTIES],
      rngs={"dropout": key},
    )
    penalties = models.task_penalties(updated, tasks)
    kept = {name: value for name, value in updated.items() if name in model_state}
    found = targets.losses(outputs, batch, None) + penalties
    return found, training.Aux({**model_state, **kept})

  def prepare(key: jax.Array, batch: Any) -> Any:
    images = batch["image"]
    images = data.random_dihedral(key, images) if augment else images
    return {**batch, "image": data.normalize(images, *statistics)}

  def predict(variables: Any, batch: Any) -> Predicted:
    outputs: Any = model.apply(variables, data.normalize(batch["image"], *statistics))
    return Predicted(*targets.decode(outputs), outputs)

  metrics = {**ERRORS, "loss": _loss(targets, tasks)}
  return Problem(tasks, init, losses_fn, prepare, predict, metrics)


def _of_examples(
  task: str, per_example: Callable[[Predicted, Any], Any], *, lower_is_better: bool = True
) -> training.Metric:
  """The mean over examples of a number each."""

  def count(said: Predicted, batch: Any) -> dict[str, Any]:
    valid = batch["valid"]
    # What is padded has value 0, by which nothing can be divided.
    known = {**batch, TRUE_VALUE: jnp.where(valid, batch[TRUE_VALUE], 1)}
    total = jnp.where(valid, per_example(said, known), 0).sum()
    return {task: {"total": total, "count": valid.sum()}}

  return training.Metric(
    count, lambda sums: ratio(sums["total"], sums["count"]), lower_is_better=lower_is_better
  )


def _error(said: Predicted, batch: Any) -> jax.Array:
  return jnp.abs(said.values - batch[TRUE_VALUE])


def _relative(said: Predicted, batch: Any) -> jax.Array:
  return _error(said, batch) / jnp.abs(batch[TRUE_VALUE])


ERRORS: dict[str, training.Metric] = {
  "accuracy": _of_examples(
    CLASS, lambda said, batch: 100.0 * (said.classes == batch[TRUE_CLASS]), lower_is_better=False
  ),
  "mse": _of_examples(VALUE, lambda said, batch: _error(said, batch) ** 2),
  "mae": _of_examples(VALUE, _error),
  "mape": _of_examples(VALUE, lambda said, batch: 100 * _relative(said, batch)),
  "near": _of_examples(
    VALUE, lambda said, batch: 100.0 * (_relative(said, batch) <= NEAR), lower_is_better=False
  ),
}
"""How well classes and values are predicted: `accuracy` of the class (%), and of the value the mean
squared error, the mean absolute error, the mean absolute percentage error, and the share of
examples whose error is at most 8 % (%)."""


def _loss(targets: Targets, tasks: tuple[str, ...]) -> training.Metric:
  """What is learned, of whole parts: a plateau schedule looks at it."""

  def count(said: Predicted, batch: Any) -> dict[str, Any]:
    valid = batch["valid"]
    number = valid.sum()
    found = targets.losses(said.outputs, batch, valid) * number
    return {task: {"total": found[i], "count": number} for i, task in enumerate(tasks)}

  return training.Metric(
    count, lambda sums: ratio(sums["total"], sums["count"]), lower_is_better=True
  )


def errors_of(part: data.PropertyImages, classes: Any, values: Any) -> dict[str, dict[str, float]]:
  """`ERRORS` of given predictions, `[N]` each: `{metric: {task: number}}`."""
  said = Predicted(jnp.asarray(classes), jnp.asarray(values, jnp.float32), {})
  batch = {TRUE_CLASS: part.classes, TRUE_VALUE: part.values, "valid": np.ones(len(part), bool)}
  return {
    name: {task: float(metric.value(jax.device_get(sums)))}
    for name, metric in ERRORS.items()
    for task, sums in metric.count(said, batch).items()
  }


def baselines(parts: data.PropertySplits) -> dict[str, dict[str, dict[str, float]]]:
  """Errors on the test set of what needs no network, by name."""
  train, test = parts.train, parts.test
  overall = np.full(len(test), train.values.mean(dtype=float))
  means = [
    train.values[train.classes == c].mean(dtype=float) for c in range(len(parts.class_names))
  ]
  return {
    "training mean": errors_of(test, np.full(len(test), -1), overall),
    "training mean of the true class": errors_of(test, test.classes, np.array(means)[test.classes]),
  }
