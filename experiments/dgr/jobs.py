"""The trainings of the DGR experiment: single tasks, methods, what is put on them, the sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from experiments.dgr import regularize
from experiments.dgr.config import Config
from experiments.problems.images import ImageTasks, encoder, heads_of, image_problem
from experiments.problems.own_data import train_feed
from experiments.problems.pretrained import first_weights
from experiments.runner.config import identity_of
from experiments.runner.job import Job, Outcome, Problem, Recipe
from experiments.runner.methods import Method, update_of
from jaxmtl import data

SWEEP = "sweep"


class Plan:
  """The jobs of a configuration: those that the sweep chooses for, and those before."""

  def __init__(self, config: Config, images: ImageTasks, methods: dict[str, Method]):
    """Makes what they share."""
    self._config, self._images, self._methods = config, images, methods
    rate = config.training.learning_rate
    self._recipe = Recipe(
      lambda steps: optax.adam(optax.cosine_decay_schedule(rate, steps)), config.training.epochs
    )
    seed, kind = config.run.seed, config.own_data.feed
    self._feed = train_feed(images, config.training.batch_size, kind, seed)
    self._weights = first_weights(config.network, images.shape)
    self._given = {
      **config.data.identity(seed),
      **images.identity,
      "feed": kind,
      **config.network.identity,
      **identity_of(config.training, without=("epochs",)),
      "hidden": config.hidden,
      "flip": config.flip,
    }
    self._plain = self._problem(config.tasks)
    penalty = config.penalty
    encode = encoder(images, config.network.build())
    some = {"image": jnp.zeros((2, *images.shape), jnp.uint8)}
    heads = regularize.Heads(
      heads_of(images, config.tasks, config.hidden, config.network.dense),
      lambda variables: encode(variables, some),
      images.labels_missing(),
    )
    self._dgr = regularize.dgr(self._plain, heads, penalty.num_drawn, penalty.estimator)
    self._compared: dict[str, tuple[Problem, dict[str, Any]]] = {
      "sam": (regularize.sam(self._plain, penalty.radius), {"radius": penalty.radius}),
      "pta": (
        regularize.pta(self._plain, heads, penalty.num_dummies),
        {"num_decoders": penalty.num_dummies},
      ),
    }

  def before(self) -> list[Job]:
    """What does not depend on the penalty's weight, and the sweep, where there is one."""
    config = self._config
    jobs = [
      self._job(f"single_{t}", self._problem((t,)), Method(), tasks=(t,)) for t in config.tasks
    ]
    for name, method in self._methods.items():
      jobs.append(self._job(name, self._plain, method))
      for kind in config.regularized[name][1:]:
        problem, options = self._compared[kind]
        identity = {"regularization": kind, **options}
        jobs.append(self._job(f"{name}+{kind}", problem, method, **identity))
    return jobs + [job for name in self._methods for job in self._sweep(name)]

  def with_dgr(self, weights: Mapping[str, float]) -> list[Job]:
    """Each method with DGR of its weight."""
    config = self._config
    count, runs = config.penalty.num_dummies, config.run.seeds
    jobs = []
    for name, method in self._methods.items():
      settings = regularize.Penalty(np.full(runs, weights[name]), np.full(runs, count))
      options = {"weight": weights[name], "num_dummies": count, **self._dgr_identity}
      jobs.append(self._job(f"{name}+dgr", self._dgr, method, settings=settings, **options))
    return jobs

  def _sweep(self, name: str) -> list[Job]:
    """A method with DGR, a run a setting, all of the first seed; nothing where it has no sweep."""
    tried = self._config.penalty.settings_of(name)
    if not tried:
      return []
    settings = regularize.Penalty(*(np.array(values) for values in zip(*tried, strict=True)))
    seeds = [self._config.run.seed] * len(tried)
    options = {"tried": tried, **self._dgr_identity}
    return [
      self._job(
        sweep_of(name), self._dgr, self._methods[name], seeds=seeds, settings=settings, **options
      )
    ]

  @property
  def _dgr_identity(self) -> dict[str, Any]:
    # How many are drawn decides which ones the first are.
    penalty = self._config.penalty
    return {
      "regularization": "dgr",
      "num_drawn": penalty.num_drawn,
      "estimator": penalty.estimator,
    }

  def _problem(self, tasks: tuple[str, ...]) -> Problem:
    config, network = self._config, self._config.network
    return image_problem(
      self._images,
      tasks,
      network.build(),
      hidden=config.hidden,
      dense=network.dense,
      augment=data.random_flip if config.flip else None,
      describe={"backbone": network.backbone, "width": network.width},
    )

  def _job(
    self,
    name: str,
    problem: Problem,
    method: Method,
    *,
    seeds: list[int] | None = None,
    settings: regularize.Penalty | None = None,
    **identity: Any,
  ) -> Job:
    return Job(
      name=name,
      problem=problem,
      update=update_of(method, problem, self._recipe, self._feed.steps),
      feed=self._feed.only("image", *problem.tasks),
      recipe=self._recipe,
      identity={**self._given, "tasks": problem.tasks, **method.identity, **identity},
      parts=self._images.measured_of(problem.tasks),
      seeds=self._config.run.all_seeds if seeds is None else seeds,
      settings=settings,
      weights=self._weights,
      variables=regularize.network_of,
    )


def sweep_of(method: str) -> str:
  """The name of a method's sweep."""
  return SWEEP if method == "equal" else f"{SWEEP}_{method}"


def swept(config: Config, outcomes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
  """What each of the sweeps' settings gave: validation accuracy in per cent by task."""
  return [
    {
      "method": method,
      "weight": weight,
      "num_dummies": count,
      "validation_accuracy": {t: last[t][run] for t in config.tasks},
    }
    for method in config.methods
    if sweep_of(method) in outcomes
    for last in [outcomes[sweep_of(method)].history[-1]["validation"]["accuracy"]]
    for run, (weight, count) in enumerate(config.penalty.settings_of(method))
  ]


def mean_accuracy(row: Mapping[str, Any]) -> float:
  """Of one of the sweep's settings, over the tasks that have a label in the validation part."""
  return float(np.nanmean(np.array(list(row["validation_accuracy"].values()), float)))


def best_weights(config: Config, sweep: list[dict[str, Any]]) -> dict[str, float]:
  """By method, the weight of the highest mean validation accuracy, with as many dummies as it has.

  Of its own sweep, where it has one, else of that of equal weights.
  """
  best: dict[str, float] = {}
  for method in config.methods:
    mine = [
      row
      for row in sweep
      if row["method"] == method and row["num_dummies"] == config.penalty.num_dummies
    ]
    best[method] = max(mine, key=mean_accuracy)["weight"] if mine else best["equal"]
  return best
