"""The trainings: one a single task, then one for each choice of primary tasks and method."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.auto_lambda.jobs import MULTI_TASK, Key, methods_of, recipe_of
from experiments.dense_prediction.config import Config
from experiments.dense_prediction.dummies import MapHeads
from experiments.dense_prediction.groupings import groups, key_of
from experiments.dgr import regularize
from experiments.problems.maps import MapImages, map_problem
from experiments.problems.pretrained import first_weights
from experiments.runner.config import identity_of
from experiments.runner.feeds import DeviceFeed
from experiments.runner.host_feed import HostFeed
from experiments.runner.job import Job, Problem
from experiments.runner.methods import Method, update_of
from experiments.runner.report import SINGLE
from jaxmtl import data, models
from jaxmtl.models.architecture import Architecture


def network(config: Config, images: MapImages, tasks: tuple[str, ...]) -> Architecture:
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
    describe=described(config, images, tasks),
  )


def described(config: Config, images: MapImages, tasks: tuple[str, ...]) -> dict[str, Any]:
  """What `training.load_trained_maps` rebuilds the network of."""
  options = config.dense
  strided = hasattr(config.network.build(), "output_stride")
  return {
    "backbone": config.network.backbone,
    "options": {
      **({} if config.network.width is None else {"width": config.network.width}),
      **({"output_stride": options.output_stride} if strided else {}),
    },
    "architecture": options.architecture if len(tasks) > 1 else "hps",
    "features": options.head_features,
    "rates": options.rates,
    "shape": images.shape,
  }


def plan(config: Config, images: MapImages) -> dict[Key, Job]:
  """The jobs, single tasks first; all networks of all tasks start at the same parameters."""
  recipe, seed = recipe_of(config.training, config.step), config.run.seed
  train, batch_size = images.parts["train"], config.training.batch_size
  in_memory = isinstance(train, Mapping)
  feed = DeviceFeed(train, batch_size) if in_memory else HostFeed(train, batch_size, seed)
  given = {
    **images.identity,
    **identity_of(
      config.training,
      config.step,
      config.dense,
      # What changes roundings alone, and what each job says by itself.
      without=("epochs", "architecture", "remat", "chunk_size"),
    ),
    **config.network.identity,
    "seed": seed,
  }
  weights = first_weights(config.network, images.shape)

  def jobs(
    tasks: tuple[str, ...], methods: dict[Key, tuple[str, Method]], with_dgr: bool = False
  ) -> dict[Key, Job]:
    learned, penalty = problem(config, images, tasks), {}
    kind = config.dense.architecture if len(tasks) > 1 else "hps"
    settings = None
    if with_dgr:
      runs, options = config.run.seeds, config.dgr
      kinds = {t: images.tasks[t] for t in tasks}
      heads = MapHeads(
        network(config, images, tasks), kinds, images.shape, config.dense.normal_loss
      )
      learned = regularize.dgr(learned, heads, options.num_dummies, options.estimator)
      settings = regularize.Penalty(
        np.full(runs, options.dgr_weight), np.full(runs, options.num_dummies)
      )
      penalty = options.identity
    return {
      key: Job(
        name=name,
        problem=learned,
        update=update_of(method, learned, recipe, feed.steps, config.dense.chunk_size),
        feed=feed.only("image", *tasks),
        recipe=recipe,
        identity={**given, "tasks": tasks, "architecture": kind, **method.identity, **penalty},
        parts=images.measured_of(tasks),
        seeds=config.run.all_seeds,
        weights=weights,
        settings=settings,
        variables=regularize.network_of,
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
  found |= jobs(config.tasks, {key: (" ".join(key), m) for key, m in methods.items()})
  if config.dgr.dgr_weight is not None:
    named = {(MULTI_TASK, f"{n}+dgr"): m for (s, n), m in methods.items() if s == MULTI_TASK}
    found |= jobs(config.tasks, {key: (" ".join(key), m) for key, m in named.items()}, True)
  return found
