"""The trainings of the FastCAR experiment, and its one-epoch test."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.fastcar.config import Config
from experiments.problems import property_options
from experiments.problems.pretrained import first_weights
from experiments.problems.properties import (
  Targets,
  examples_of,
  hybrid_targets,
  measured_of,
  pair_of,
  property_problem,
)
from experiments.runner.feeds import Call, DeviceFeed
from experiments.runner.job import Job, Problem
from experiments.runner.mesh import Layout, say
from experiments.runner.methods import changes_of, combining, update_of
from experiments.runner.run import Runner
from jaxmtl import data, labels, models

GRADIENT = "mean_gradient"
Make = Callable[[str, Targets, Mapping[str, Any]], Job]
Gradient = Callable[[Any, DeviceFeed], dict[str, Any]]


class Hybrid(NamedTuple):
  """Labels that passed the one-epoch test.

  Attributes:
    labels: the labels.
    trials: of the test, the passed one last.
    job: what learns the labels.
  """

  labels: labels.FastCAR
  trials: list[labels.Trial]
  job: Job


def maker(config: Config, parts: data.PropertySplits, layout: Layout) -> Make:
  """`(name, targets, identity) -> job`: all jobs have one network, recipe and order of images."""
  network, recipe_options = config.network, (config.training, config.step)
  given = property_options.common_identity(config.images, network, *recipe_options)
  observe = property_options.observer(config.step, layout)
  weights = first_weights(network, parts.train.images.shape[1:])
  image = jnp.asarray(parts.train.images)  # on the device once, whatever is learned of it
  # Targets with the same heads have the same losses: what does not decode them is compiled once.
  alike: dict[tuple[str, ...], tuple[Problem, Gradient]] = {}

  def make(name: str, targets: Targets, identity: Mapping[str, Any]) -> Job:
    heads: dict[str, nn.Module] = {h: network.dense(size) for h, size in targets.heads.items()}
    model = models.MultiHead(network.build(), heads)
    own = property_problem(parts, targets, model, augment=config.step.augment)
    feed = DeviceFeed(
      {**examples_of(parts.train, targets), "image": image}, config.training.batch_size
    )
    recipe = property_options.recipe_of(*recipe_options, feed.steps)
    if own.tasks not in alike:
      alike[own.tasks] = own, gradient_after_one_epoch(own, feed, layout)
    first, gradient = alike[own.tasks]
    problem = first._replace(predict=own.predict, metrics=own.metrics)

    def after_epoch(state: Any, measured: Any) -> tuple[Any, dict[str, Any]]:
      found = gradient(state, feed)
      state, _ = observe(state, measured)
      return state, found

    combine = combining(config.combine, len(problem.tasks))
    return Job(
      name=name,
      problem=problem,
      update=update_of(combine, problem, recipe, feed.steps),
      feed=feed,
      recipe=recipe,
      identity={**given, **identity, **changes_of(combine)},
      parts={
        "validation": measured_of(parts.validation, targets),
        "test": measured_of(parts.test, targets),
      },
      seeds=config.run.all_seeds,
      weights=weights,
      after_epoch=after_epoch if "gap" in identity else observe,
    )

  return make


def pair_jobs(config: Config, parts: data.PropertySplits, make: Make) -> dict[str, Job]:
  """Multi-task learning, by approach."""
  return {
    name: make(
      name, pair_of(parts, standardise=name == "standardised"), {"targets": f"{name} pair"}
    )
    for name in config.approaches
    if name in ("plain", "standardised")
  }


def hybrid_job(trial: labels.Trial, hybrid: labels.FastCAR, make: Make) -> Job:
  """FastCAR with such labels, whatever test they come from."""
  name = f"fastcar_gap{trial.gap:g}_scale{trial.scale:g}"
  identity = {"targets": "hybrid", "gap": trial.gap, "scale": trial.scale}
  return make(name, hybrid_targets(hybrid), identity)


def passing(
  config: Config, parts: data.PropertySplits, make: Make, runner: Runner, *, scaled: bool
) -> Hybrid:
  """Hybrid labels that pass the one-epoch test of the first seed.

  The test's epoch is the first one of training, which goes on from it; what it measured is in that
  epoch's row.

  Raises:
    ValueError: if no trial passed.
  """
  options, train, jobs = config.labels, parts.train, list[Job]()

  def measure(hybrid: labels.FastCAR, trial: labels.Trial) -> float:
    jobs.append(hybrid_job(trial, hybrid, make))
    name = jobs[-1].name
    say(f"{name}: one-epoch test, trial {len(jobs)} of at most {options.max_trials}")
    outcome = runner.run(jobs[-1], until=1)
    gradient = math.inf if outcome.failure else float(outcome.curve(GRADIENT)[0, 0])
    verdict = "passed" if gradient < options.limit else "too large"
    say(f"{name}: mean gradient {gradient:.3g} after one epoch, limit {options.limit:g}: {verdict}")
    return gradient

  fitted, trials = labels.one_epoch_test(
    measure,
    train.values,
    train.classes,
    gap=options.gap,
    scale=options.scale if scaled else 1.0,
    limit=options.limit,
    adjust=options.adjust,
    max_trials=options.max_trials,
  )
  return Hybrid(fitted, trials, jobs[-1])


def mean_gradient(problem: Problem, feed: DeviceFeed) -> Callable[[Any, Any], Any]:
  """`(state, chunk) -> gradient` of the loss over the feed's batches of an epoch, of one run."""

  def gradient(state: Any, chunk: Any) -> Any:
    # Batches as in training, mixed: batch normalization takes their own statistics.
    def add(total: Any, rows: jax.Array) -> tuple[Any, None]:
      batch = problem.prepare(state.key, feed.take(chunk, rows))

      def loss_fn(params: Any) -> jax.Array:
        return problem.losses_fn(params, state.model_state, batch, state.key)[0].sum()

      return jax.tree.map(jnp.add, total, jax.grad(loss_fn)(state.params)), None

    plan = feed.order(state.key, chunk, feed.steps)
    total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, state.params), plan)
    return jax.tree.map(lambda leaf: leaf / feed.steps, total)

  return gradient


def gradient_after_one_epoch(problem: Problem, feed: DeviceFeed, layout: Layout) -> Gradient:
  """`(state, feed) -> metrics`: the gradient's mean magnitude `[runs]`, after one epoch alone.

  The feed given later may be another one with as many examples.
  """
  one = mean_gradient(problem, feed)
  measure = layout.jit(
    layout.vmap(lambda state, chunk: labels.mean_magnitude(one(state, chunk)), (0, feed.axes))
  )
  latest = layout.jit(jnp.max)

  def metrics(state: Any, feed: DeviceFeed) -> dict[str, Any]:
    if int(latest(state.step)) != feed.steps:
      return {}
    return {GRADIENT: measure(state, feed.chunk(Call(0, feed.steps, feed.steps, False, layout)))}

  return metrics
