"""A step of semi-supervised learning: a teacher labels, a student learns, the teacher follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.reco import augment
from experiments.reco.config import Config
from experiments.reco.methods import Semi
from experiments.reco.problem import LABELLED, UNLABELLED, Learned
from experiments.runner.job import Phase, fresh_state
from jaxmtl import data, models, training

# Of the draws of mixing, apart from those of steps and epochs.
_MIXING_STREAM = 21


class Pair(NamedTuple):
  """What is trained.

  Attributes:
    student: by gradients.
    teacher: its running average.
  """

  student: training.TrainState
  teacher: training.Teacher


def teaching(
  config: Config, what: Learned, step: training.TrainStep, method: Semi, num_classes: int
) -> tuple[Phase, Callable[[Any, Any, Any], Pair]]:
  """The step as one function, and how training starts.

  Args:
    config: the options.
    what: the problem and its network.
    step: of the student, on labelled and pseudo-labelled images.
    method: how the latter are mixed.
    num_classes: of the labels.

  Returns:
    The update, and a job's `start`.
  """
  mixing = method.mixing
  assert mixing is not None

  def update(state: Pair, batch: Any) -> tuple[Pair, dict[str, Any]]:
    student, teacher = state
    images = batch[UNLABELLED]["image"]
    # In training mode: each batch is normalised by itself, as the student's are.
    outputs, moved = what.network.apply(
      teacher.variables, augment.normalised(images), train=True, mutable=["batch_stats"]
    )
    key = jax.random.fold_in(jax.random.fold_in(student.key, _MIXING_STREAM), student.step)
    pseudo = augment.student(
      key,
      pseudo_labels(images, outputs["classes"]),
      mixing,
      num_classes,
      config.segmentation,
    )
    student, metrics = step.update(student, {LABELLED: batch[LABELLED], UNLABELLED: pseudo})
    statistics = {"batch_stats": student.model_state["batch_stats"]}
    teacher = training.update_teacher(
      teacher._replace(model_state=dict(moved)),
      student.params,
      statistics if config.teacher.copy_statistics else None,
      decay=config.teacher.decay,
    )
    options = method.reco or config.reco
    sure = pseudo["confidence"] >= options.strong_threshold
    metrics["sure"] = sure.mean()
    return Pair(student, teacher), metrics

  def start(update: Any, key: jax.Array, variables: Any) -> Pair:
    del update
    student = fresh_state(step, key, variables)
    statistics = {"batch_stats": variables["batch_stats"]}
    return Pair(student, training.mean_teacher(student.params, statistics))

  return Phase(update, lambda state: state.student), start


def pseudo_labels(images: Any, logits: Any) -> data.PseudoLabelled:
  """The surest class of each pixel, at the images' resolution, and how sure it is."""
  height, width = images.shape[1:3]
  whole = models.resize_aligned(logits.astype(jnp.float32), (height, width))
  probabilities = jax.nn.softmax(whole)
  return data.PseudoLabelled(
    images,
    probabilities.argmax(-1).astype(jnp.int32),
    probabilities.max(-1),
  )


def variables_of_teacher(state: Pair) -> dict[str, Any]:
  """What is measured and kept."""
  return state.teacher.variables
