"""Options of experiments on images with a class and a property: data, optimiser, plateaus."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
import optax

from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_positive,
  identity_of,
)
from experiments.runner.job import Recipe
from experiments.runner.mesh import RUNS, Layout
from jaxmtl import data, training


@dataclasses.dataclass(frozen=True)
class PropertyData:
  """The images."""

  dataset: Literal["digits_ink", "steel"] = "digits_ink"
  """digits_ink: digits of ten inks and their mass, embedded; steel: micrographs and hardness."""
  data_dir: str | None = None
  """Folder of the steel data set, with trainset, trainset.xlsx, and so on."""
  split: Literal["published", "grouped"] = "published"
  """Of steel: as published, or no micrograph in two parts."""
  image_size: int | None = None
  """Of steel, side in pixels; None keeps the size."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    if self.image_size is not None:
      check_positive(self, "image_size")
    for name in ("data_dir", "image_size"):
      if self.dataset != "steel" and getattr(self, name) is not None:
        raise ValueError(f"{name} is for --dataset steel, got {getattr(self, name)!r}.")

  def load(self) -> data.PropertySplits:
    """The data."""
    if self.dataset == "digits_ink":
      return data.digits_ink()
    return data.load_steel(self.data_dir, image_size=self.image_size, split=self.split)

  @property
  def published(self) -> bool:
    """Whether the paper's figures are of these data."""
    return self.dataset == "steel" and self.split == "published"


@dataclasses.dataclass(frozen=True)
class StepOptions:
  """What else there is to a step."""

  weight_decay: float = 1e-4
  """Added to the gradient, before Adam."""
  schedule: Literal["plateau", "cosine"] = "plateau"
  """plateau: a tenth of the learning rate whenever the validation loss stands still; cosine: to
  zero, after a first epoch of warm-up."""
  patience: int = 5
  """Epochs without a better validation loss that a plateau may last."""
  augment: bool = False
  """Quarter turns and mirror images."""

  def check(self, run: RunOptions) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "patience")
    if self.weight_decay < 0:
      raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}.")
    epoch = 10**9  # steps, more than any cadence in steps
    if self.schedule == "plateau" and training.in_steps(run.evaluate_every, epoch) != epoch:
      raise ValueError(
        "evaluate_every must be 1 with --schedule plateau, which looks at the validation loss "
        f"after each epoch, got {run.evaluate_every!r}."
      )

  @property
  def identity(self) -> dict[str, Any]:
    """What a job with these options depends on."""
    return identity_of(self, without=() if self.schedule == "plateau" else ("patience",))


def common_identity(
  images: PropertyData, network: NetworkOptions, train: TrainingOptions, step: StepOptions
) -> dict[str, Any]:
  """What every job depends on, whatever it learns."""
  given = identity_of(images, train, without=("epochs",))
  return given | network.identity | step.identity


def recipe_of(train: TrainingOptions, step: StepOptions, steps_per_epoch: int) -> Recipe:
  """Adam with weight decay as PyTorch's, and a learning rate that falls."""
  decay, rate = optax.add_decayed_weights(step.weight_decay), train.learning_rate

  def optimizer(steps: int) -> optax.GradientTransformation:
    if step.schedule == "plateau":
      return optax.chain(decay, optax.adam(rate), _held(_plateau(step)))
    total = max(steps, 2)
    falling = optax.warmup_cosine_decay_schedule(0.0, rate, min(steps_per_epoch, total - 1), total)
    return optax.chain(decay, optax.adam(falling))

  # A plateau does not know how many epochs follow.
  return Recipe(optimizer, train.epochs, open_ended=step.schedule == "plateau")


def _plateau(step: StepOptions) -> optax.GradientTransformationExtraArgs:
  # PyTorch's patience is the number of epochs that are borne, optax's the one that is too many.
  return optax.contrib.reduce_on_plateau(0.1, step.patience + 1)


def _held(plateau: optax.GradientTransformationExtraArgs) -> optax.GradientTransformation:
  """Scales updates as a plateau's state says, which only `observe` changes, once an epoch."""

  def update(updates: Any, state: Any, params: Any = None) -> Any:
    del params
    return jax.tree.map(lambda leaf: state.scale * leaf, updates), state

  return optax.GradientTransformation(plateau.init, update)


def observer(
  step: StepOptions, layout: Layout
) -> Callable[[Any, Mapping[str, Any]], tuple[Any, dict[str, Any]]]:
  """A job's `after_epoch`: a plateau's state after an epoch with this validation loss, by run."""
  if step.schedule != "plateau":
    return lambda state, measured: (state, {})

  def one(state: Any, loss: jax.Array) -> Any:
    return _plateau(step).update({}, state, value=loss)[1]

  observe = layout.jit(layout.vmap(one, (0, 0)), RUNS)

  def after_epoch(state: Any, measured: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    by_task = measured["validation"]["loss"].values()
    loss = layout.put(np.sum(list(by_task), axis=0).astype(np.float32), RUNS)
    *before, plateau = state.optimizer
    return dataclasses.replace(state, optimizer=(*before, observe(plateau, loss))), {}

  return after_epoch
