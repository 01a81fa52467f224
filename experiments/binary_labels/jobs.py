"""The trainings of Binary Labels: the class alone, and the class with each auxiliary label."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

import jaxmtl
from experiments.binary_labels.config import Config, Variant
from experiments.binary_labels.problem import class_problem, some_of, with_codes, without_codes
from experiments.problems.images import ImageTasks
from experiments.problems.own_data import train_feed
from experiments.problems.pretrained import first_weights
from experiments.runner.config import identity_of
from experiments.runner.feeds import DeviceFeed, Feed
from experiments.runner.job import Job, Problem, Recipe, nothing
from experiments.runner.methods import Method
from jaxmtl import training


def plan(
  config: Config,
  variants: list[Variant],
  images: ImageTasks,
  subsets: np.ndarray,
  codes: Mapping[str, np.ndarray],
) -> list[Job]:
  """A job a variant; all start at the same backbone and see the same images in the same order.

  Args:
    config: the options.
    variants: as `config.check` gives them, the baseline first.
    images: the data.
    subsets: int `[seeds, n]`, the labelled training images of each seed.
    codes: by kind, float `[seeds, num_classes, dim]`.
  """
  alone = class_problem(config, images)
  # Variants that differ in their weights share a problem: it is initialised once.
  problems = {
    kind: alone if kind == "none" else with_codes(alone, config, images, kind)
    for kind in dict.fromkeys(variant.kind for variant in variants)
  }
  train, size = images.parts["train"], _batch_size(config, subsets.shape[1])
  kind, seed = config.own_data.feed, config.run.seed
  feed: Feed
  if kind == "host":  # all runs learn from all images
    feed = train_feed(images, size, kind, seed)
  else:
    feed = DeviceFeed(train, size, subset=subsets)
  recipe = _recipe(config)
  weights = first_weights(config.network, images.shape)
  given = identity_of(config.training, config.schedule, without=("epochs",))
  given |= config.images.identity | config.network.identity
  given |= {"data_seed": seed, "feed": kind, **images.identity}

  def job(variant: Variant) -> Job:
    problem = problems[variant.kind]
    of_codes: dict[str, Any] = {}
    own: dict[str, Any] = {}
    if variant.kind != "none":
      own = identity_of(config.labels, without=("label_kinds", "task_weights"))
      own |= {"label": variant.kind, "weights": variant.weights}
      of_codes = {
        "settings": codes[variant.kind],
        "variables": without_codes,
        "after_epoch": _after_epoch(config, problem, train, subsets[:, : feed.batch_size]),
      }
    return Job(
      name=variant.job,
      problem=problem,
      update=_update(config, variant, problem, recipe, feed.steps),
      feed=feed,
      recipe=recipe,
      identity=given | own,
      parts=images.measured,
      seeds=config.run.all_seeds,
      weights=weights,
      **of_codes,
    )

  return [job(variant) for variant in variants]


def _batch_size(config: Config, labelled: int) -> int:
  """As asked for, or the largest one below by which all batches are equal."""
  size = config.training.batch_size
  return labelled // -(-labelled // size) if config.schedule.equal_batches else size


def _recipe(config: Config) -> Recipe:
  options, epochs = config.schedule, config.training.epochs

  def optimizer(steps: int) -> optax.GradientTransformation:
    falls = {round(share * epochs) * (steps // epochs): 0.1 for share in options.milestones}
    rate = optax.piecewise_constant_schedule(config.training.learning_rate, falls)
    return optax.chain(
      optax.add_decayed_weights(options.weight_decay), optax.sgd(rate, options.momentum)
    )

  return Recipe(optimizer, epochs, open_ended=not options.milestones)


def _update(
  config: Config, variant: Variant, problem: Problem, recipe: Recipe, steps_per_epoch: int
) -> training.TrainStep:
  """Weights of the losses, and the aggregator of their gradients."""
  name = config.labels.aggregator
  two = variant.kind != "none"
  aggregator = None
  if two and name != "none":
    _, aggregator = Method.parse(name).build(2, steps_per_epoch)
  return training.train_step(
    problem.losses_fn,
    recipe.optimizer(recipe.epochs * steps_per_epoch),
    len(problem.tasks),
    weighting=jaxmtl.constant(2, variant.weights) if two else None,
    aggregator=aggregator,
    shared=problem.shared,
  )


def _after_epoch(
  config: Config, problem: Problem, train: Any, rows: np.ndarray
) -> Callable[[Any, Any], tuple[Any, dict[str, Any]]]:
  """The cosine of the tasks' gradients on some labelled images, where steps do not measure it."""
  if config.labels.aggregator != "none":
    return nothing
  probe = training.train_step(
    problem.losses_fn, optax.identity(), 2, aggregator=jaxmtl.sum_tasks(2), shared=problem.shared
  )
  batches = some_of(train, rows)

  @jax.jit
  @jax.vmap
  def cosine(state: Any, batch: Any) -> jax.Array:
    fresh = dataclasses.replace(
      state,
      weighting=optax.EmptyState(),
      aggregator=optax.EmptyState(),
      optimizer=optax.EmptyState(),
    )
    return probe.update(fresh, problem.prepare(state.key, batch))[1]["cosine"]

  def after_epoch(state: Any, measured: Any) -> tuple[Any, dict[str, Any]]:
    del measured
    return state, {"cosine": cosine(state, batches)}

  return after_epoch
