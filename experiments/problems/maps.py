"""Images with a label at every pixel: classes, depth, normals, saliency, edges and others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.problems.binary_maps import BINARY, EDGE, SALIENCY, binary_loss, binary_metrics
from experiments.runner.job import Problem
from experiments.runner.measure import ratio
from jaxmtl import data, losses, metrics, models, training

# The median is read off a histogram of so many bins a degree.
_BINS = 20
VOID = {
  **{"classes": -1, "depth": 0, "disparity": -1, "normal": 0, "noise": None},
  **{SALIENCY: -1, EDGE: -1},
}
"""What pixels hold that have no label, by kind; noise has a label everywhere."""


_METRICS = {"classes": "miou", "normal": "angle", SALIENCY: "saliency_iou", EDGE: "ods_f"}


class MapTask(NamedTuple):
  """What is asked about every pixel.

  Attributes:
    kind: classes, depth, disparity, normal, saliency, edge or noise.
    outputs: channels of the network's output.
    names: of the classes.
    factor: of its loss, before any method sees it.
  """

  kind: str
  outputs: int
  names: tuple[str, ...] = ()
  factor: float = 1.0

  @property
  def metric(self) -> str:
    """What it is judged by."""
    return _METRICS.get(self.kind, "absolute_error")

  @property
  def augmented_as(self) -> str:
    """Its kind for `data.joint_augment`."""
    return "label" if self.kind in ("classes", *BINARY) else self.kind


class MapImages(NamedTuple):
  """Images with maps, in parts.

  Attributes:
    parts: by "train", perhaps "validation", and "test": `image` `[N, H, W, 3]`, uint8 or float in
      [0, 1], and maps by task: integer classes `[N, H, W]`, or numbers `[N, H, W, K]`; or sources
      of such examples.
    tasks: by name.
    identity: what tells these images from others, for a job's.
  """

  parts: dict[str, Any]
  tasks: dict[str, MapTask]
  identity: Mapping[str, Any]

  @property
  def shape(self) -> tuple[int, ...]:
    """Of an image."""
    train = self.parts["train"]
    return tuple((train["image"] if isinstance(train, Mapping) else [train[0]["image"]])[0].shape)

  def measured_of(self, tasks: Sequence[str]) -> dict[str, Any]:
    """The parts that are measured, with the maps of some tasks alone, where they are in memory."""

    def some(part: Any) -> Any:
      return {n: part[n] for n in ("image", *tasks)} if isinstance(part, Mapping) else part

    return {name: some(part) for name, part in self.parts.items() if name != "train"}


def map_problem(
  images: MapImages,
  tasks: tuple[str, ...],
  model: nn.Module,
  *,
  augment: Callable[[Any, Any], Any] | None = None,
  normal_loss: str = "l1",
  batch_size: int = 4,
  describe: Mapping[str, Any] | None = None,
) -> Problem:
  """Dense tasks by one network.

  Args:
    images: the data.
    tasks: which ones are learned.
    model: the network, `images [B, H, W, 3] -> maps by task`, with a head for each; for
      `on_features` an architecture of `jaxmtl.models`.
    augment: `(key, batch) -> batch`, of raw images and maps, with images in [-1, 1]; None leaves
      them where they are.
    normal_loss: l1, of unit normals, the released program's; or cosine.
    batch_size: images whose errors are averaged together, before the average over batches: what the
      papers' figures are means of.
    describe: what rebuilds the network.

  Returns:
    The problem; its `losses_fn` also takes `on_features`, for terms of a loss that look at what
    heads read: `(variables, features by task, batch, losses [T]) -> (losses [T], metrics)`.
  """
  kinds = {t: images.tasks[t] for t in tasks}
  shape = images.shape

  def init(key: jax.Array, setting: Any) -> Any:
    del setting
    return model.init(key, jnp.zeros((2, *shape)))

  def prepare(key: jax.Array, batch: Any) -> Any:
    if augment is not None:
      return augment(key, batch)
    return batch | {"image": data.signed_image(batch["image"])}

  def predict(variables: Any, batch: Any) -> Any:
    outputs: Any = model.apply(variables, data.signed_image(batch["image"]))
    return answers(outputs, kinds)

  return Problem(
    tasks=tasks,
    init=init,
    losses_fn=_losses_fn(model, kinds, normal_loss),
    prepare=prepare,
    predict=predict,
    metrics=map_metrics(kinds),
    describe={} if describe is None else {**describe, "kinds": _described(kinds)},
    measured_at_once=batch_size,
  )


def _described(kinds: Mapping[str, MapTask]) -> dict[str, tuple[Any, ...]]:
  """What answers to a trained network's outputs: kind, channels and the classes' names."""
  return {task: (kind.kind, kind.outputs, kind.names) for task, kind in kinds.items()}


def answers(outputs: Mapping[str, jax.Array], kinds: Mapping[str, MapTask]) -> dict[str, jax.Array]:
  """Outputs in the units of the labels: unit normals."""
  return {t: _unit(x) if kinds[t].kind == "normal" else x for t, x in outputs.items()}


def _unit(vectors: jax.Array) -> jax.Array:
  square = (vectors**2).sum(-1, keepdims=True)
  return vectors * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def map_loss(task: MapTask, output: jax.Array, target: jax.Array, normal_loss: str) -> jax.Array:
  """What a task learns by: the mean over pixels with a label.

  Args:
    task: what is asked.
    output: of the network, `[B, H, W, K]`; normals need not have length 1.
    target: the map.
    normal_loss: as in `map_problem`.
  """
  void: Any = VOID[task.kind]
  if task.kind == "classes":
    return losses.cross_entropy(output, target.astype(jnp.int32), ignore=void)
  if task.kind in BINARY:
    return binary_loss(task.kind, output, target.astype(jnp.int32))
  target = target.astype(jnp.float32)
  if task.kind != "normal":
    return losses.pixel_l1(output, target, ignore=void)
  if normal_loss == "cosine":
    return losses.cosine_distance(output, target, ignore=void)
  return losses.pixel_l1(_unit(output), target, ignore=void)


def _losses_fn(
  model: nn.Module, kinds: Mapping[str, MapTask], normal_loss: str
) -> Callable[..., Any]:
  factors = np.array([kind.factor for kind in kinds.values()], np.float32)

  def losses_fn(
    params: Any,
    model_state: Any,
    batch: Any,
    key: jax.Array,
    on_features: Callable[..., Any] | None = None,
  ) -> Any:
    variables = {"params": params, **model_state}
    found, updated = model.apply(
      variables,
      batch["image"],
      train=True,
      mutable=["batch_stats", models.PENALTIES],
      rngs={"dropout": key},
      method=None if on_features is None else "with_features",
    )
    outputs, features = (found, None) if on_features is None else found
    values = jnp.stack([map_loss(k, outputs[t], batch[t], normal_loss) for t, k in kinds.items()])
    values *= factors
    values += models.task_penalties(updated, tuple(kinds))
    measured: dict[str, jax.Array] = {}
    if on_features is not None:
      values, measured = on_features(variables, features, batch, values)
    kept = {k: v for k, v in updated.items() if k in model_state}
    return values, training.Aux({**model_state, **kept}, measured)

  return losses_fn


def map_metrics(kinds: Mapping[str, MapTask]) -> dict[str, training.Metric]:
  """Confusion for classes, errors over batches and over pixels, angles with shares, and others."""
  classes = {t: kind for t, kind in kinds.items() if kind.kind == "classes"}
  normals = {t: kind for t, kind in kinds.items() if kind.kind == "normal"}
  saliency, edges = ([t for t, k in kinds.items() if k.kind == kind] for kind in BINARY)
  rest = {*classes, *normals, *saliency, *edges}
  errors = {t: kind for t, kind in kinds.items() if t not in rest}
  found = binary_metrics(saliency, edges)
  if classes:
    found["miou"] = training.Metric(
      lambda outputs, batch: {t: _confusion(outputs[t], batch, t, k) for t, k in classes.items()},
      lambda sums: 100 * np.asarray(_over_runs(metrics.mean_iou, sums)),
    )
    found["iou"] = training.Metric(
      lambda outputs, batch: _by_class(found["miou"].count(outputs, batch), classes),
      lambda sums: 100 * ratio(sums["both"], sums["either"]),
    )
  if errors:
    found["absolute_error"] = training.Metric(
      lambda outputs, batch: {t: _errors(outputs[t], batch, t, k) for t, k in errors.items()},
      lambda sums: ratio(sums["of_batches"], sums["images"]),
      lower_is_better=True,
    )
    found["absolute_error_by_pixel"] = training.Metric(
      found["absolute_error"].count,
      lambda sums: ratio(sums["sum"], sums["pixels"]),
      lower_is_better=True,
    )
  if normals:

    def count(outputs: Any, batch: Any) -> dict[str, Any]:
      return {t: _angles(outputs[t], batch, t) for t in normals}

    found["angle"] = training.Metric(
      count, lambda sums: ratio(sums["of_batches"], sums["images"]), lower_is_better=True
    )
    found["median_angle"] = training.Metric(
      count, lambda sums: _median(sums["histogram"]), lower_is_better=True
    )
    for limit in (11.25, 22.5, 30.0):
      edge = round(limit * _BINS)
      found[f"within_{limit:g}"] = training.Metric(
        count,
        lambda sums, edge=edge: (  # type: ignore[misc]
          100 * ratio(sums["histogram"][..., :edge].sum(-1), sums["histogram"].sum(-1))
        ),
      )
  return found


def _confusion(logits: jax.Array, batch: Any, task: str, kind: MapTask) -> jax.Array:
  labels = jnp.where(_counted(batch, logits.ndim - 1), batch[task].astype(jnp.int32), -1)
  # Of what is no number the highest is no answer, and not by chance the right one.
  wrong = (labels + 1) % kind.outputs
  predicted = jnp.where(jnp.isnan(logits).any(-1), wrong, logits.argmax(-1))
  return metrics.confusion_matrix(predicted, labels, kind.outputs)


def _by_class(
  confusion: Mapping[str, jax.Array], classes: Mapping[str, MapTask]
) -> dict[str, dict[str, jax.Array]]:
  """Pixels that label and prediction agree on, and those of either, by the class's name."""
  found = {}
  for task, counts in confusion.items():
    both = jnp.diagonal(counts)
    either = counts.sum(0) + counts.sum(1) - both
    for i, name in enumerate(classes[task].names):
      key = name if len(confusion) == 1 else f"{task}: {name}"
      found[key] = {"both": both[i], "either": either[i]}
  return found


def _errors(output: jax.Array, batch: Any, task: str, kind: MapTask) -> dict[str, jax.Array]:
  target = batch[task].astype(jnp.float32)
  void: Any = VOID[kind.kind]
  known = jnp.ones(target.shape[:-1], bool) if void is None else (target != void).any(-1)
  return _averages(jnp.abs(output - target).sum(-1), known & _counted(batch, 3), batch)


def _angles(output: jax.Array, batch: Any, task: str) -> dict[str, jax.Array]:
  target = batch[task].astype(jnp.float32)
  known = (target != 0).any(-1) & _counted(batch, 3)
  degrees = metrics.angles(output, target)
  # What is no number is as far off as can be: as an integer it would be 0, the best.
  known_degrees = jnp.where(jnp.isnan(degrees), 180, degrees)
  bins = jnp.clip((known_degrees * _BINS).astype(jnp.int32), 0, 180 * _BINS - 1)
  histogram = jnp.zeros(180 * _BINS, jnp.int32).at[bins.ravel()].add(known.ravel().astype(int))
  return {**_averages(degrees, known, batch), "histogram": histogram}


def _averages(values: jax.Array, known: jax.Array, batch: Any) -> dict[str, jax.Array]:
  """Sums over pixels, and the batch's mean as many times as it has images with any."""
  total, pixels = jnp.where(known, values, 0).sum(), known.sum()
  images = jnp.where(pixels > 0, batch["valid"].sum(), 0)
  mean = total / jnp.maximum(pixels, 1)
  return {"sum": total, "pixels": pixels, "of_batches": mean * images, "images": images}


def _counted(batch: Any, ndim: int) -> jax.Array:
  """Where images are no padding."""
  return batch["valid"].reshape(-1, *[1] * (ndim - 1))


def _over_runs(function: Callable[[Any], Any], counts: Any) -> Any:
  counts = np.asarray(counts)
  if counts.ndim == 2:
    return np.asarray(function(counts))
  return np.stack([_over_runs(function, one) for one in counts])


def _median(histogram: Any) -> np.ndarray:
  """In degrees, to half a bin."""
  counts = np.asarray(histogram, np.int64)
  below = counts.cumsum(-1)
  middle = (below * 2 >= below[..., -1:]).argmax(-1)
  return np.where(below[..., -1] > 0, (middle + 0.5) / _BINS, np.nan)
