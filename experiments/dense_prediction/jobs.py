"""The trainings: one a single task, then one for each choice of primary tasks and method."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from experiments.auto_lambda.jobs import Key, methods_of, recipe_of
from experiments.dense_prediction.config import Config
from experiments.dense_prediction.groupings import groups, key_of
from experiments.problems.maps import MapImages, map_problem
from experiments.problems.pretrained import first_weights
from experiments.runner.config import identity_of
from experiments.runner.feeds import DeviceFeed
from experiments.runner.host_feed import HostFeed
from experiments.runner.job import Job, Problem
from experiments.runner.methods import Method, update_of
from experiments.runner.report import SINGLE
from jaxmtl import data, models


def network(config: Config, images: MapImages, tasks: tuple[str, ...]) -> nn.Module:
  """The network of some tasks; of one alone, a backbone and a head."""
  options = config.dense
  dtype = None if options.precision == "float32" else jnp.dtype(options.precision)
  given: dict[str, Any] = {"dtype": dtype}
  if hasattr(config.network.build(), "output_stride"):
    given |= {"output_stride": options.output_stride, "remat": options.remat}
  backbone = config.network.build(**given)
  return models.deeplab(
    backbone,
    {t: images.tasks[t].outputs for t in tasks},
    options.architecture if len(tasks) > 1 else "hps",
    features=options.head_features,
    rates=options.rates,
  )


def problem(config: Config, images: MapImages, tasks: tuple[str, ...]) -> Problem:
  """What a network of some tasks learns."""
  options = config.dense
  augment = functools.partial(
    data.joint_augment,
    scales=options.scales,
    crop=options.crop,
    flip=options.flip,
    # Of files all maps are read.
    kinds={t: kind.augmented_as for t, kind in images.tasks.items()},
  )
  return map_problem(
    images,
    tasks,
    network(config, images, tasks),
    augment=augment,
    normal_loss=options.normal_loss,
    batch_size=config.training.batch_size,
  )


def plan(config: Config, images: MapImages) -> dict[Key, Job]:
  """The jobs, single tasks first; all networks of all tasks start at the same parameters."""
  recipe, seed = recipe_of(config.training, config.sgd), config.run.seed
  train, batch_size = images.parts["train"], config.training.batch_size
  in_memory = isinstance(train, Mapping)
  feed = DeviceFeed(train, batch_size) if in_memory else HostFeed(train, batch_size, seed)
  given = {
    **images.identity,
    **identity_of(
      config.training,
      config.sgd,
      config.dense,
      # What changes roundings alone, and what each job says by itself.
      without=("epochs", "architecture", "remat", "chunk_size"),
    ),
    **config.network.identity,
    "seed": seed,
  }
  weights = first_weights(config.network, images.shape)

  def jobs(tasks: tuple[str, ...], methods: dict[Key, tuple[str, Method]]) -> dict[Key, Job]:
    learned = problem(config, images, tasks)
    kind = config.dense.architecture if len(tasks) > 1 else "hps"
    return {
      key: Job(
        name=name,
        problem=learned,
        update=update_of(method, learned, recipe, feed.steps, config.dense.chunk_size),
        feed=feed.only("image", *tasks),
        recipe=recipe,
        identity={**given, "tasks": tasks, "architecture": kind, **method.identity},
        parts=images.measured_of(tasks),
        seeds=config.run.all_seeds,
        weights=weights,
      )
      for key, (name, method) in methods.items()
    }

  found: dict[Key, Job] = {}
  for task in config.tasks:
    found |= jobs((task,), {(SINGLE, task): (f"single_{task}", Method())})
  methods = methods_of(config, recipe.epochs * feed.steps)
  if config.groupings:
    for group in groups(config.judged):
      setting, name = key_of(group)
      found |= jobs(group, {(setting, name): (f"{setting} {name}", Method())})
  return found | jobs(config.tasks, {key: (" ".join(key), m) for key, m in methods.items()})
