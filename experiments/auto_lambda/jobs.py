"""The trainings: one a single task, then one for each choice of primary tasks and method."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import optax

from experiments.auto_lambda.compared import Compared
from experiments.auto_lambda.config import Config, OptimizerOptions
from experiments.problems import domains
from experiments.problems.domains import Domains
from experiments.problems.images import ImageTasks
from experiments.problems.method_jobs import method_jobs
from experiments.problems.own_data import train_feed
from experiments.runner.config import TrainingOptions, identity_of
from experiments.runner.job import Job, Recipe
from experiments.runner.methods import Method, update_of
from experiments.runner.report import SINGLE
from jaxmtl.meta import METHODS as BILEVEL

MULTI_TASK = "multi-task"

Key = tuple[str, str]
"""Of a training: the setting, which is `MULTI_TASK`, the primary task, or `SINGLE`; and the name of
the method, or of the single task."""


def plan(config: Config, source: ImageTasks | Domains) -> dict[Key, Job]:
  """The jobs, single tasks first, of a configuration that names its tasks.

  All networks for all tasks start at the same parameters, and get images in the same order.
  """
  if isinstance(source, Domains):
    return _of_domains(config, source)
  return _of_images(config, source)


def methods_of(config: Compared, steps: int) -> dict[Key, Method]:
  """The methods by setting and name, each with what it is told, of a training of so many steps."""
  auto = {
    "learning_rate": config.weights.rate(steps),
    "init": config.weights.weight_init,
    "num_sampled": config.weights.num_sampled,
  }

  def method(name: str, primary: Sequence[str], **others: Any) -> Method:
    parsed, indices = Method.parse(name), [config.tasks.index(task) for task in primary]
    options: dict[str, Any] = {}
    if parsed.weighting == "auto_lambda":
      options = {"primary": indices, **auto, **others}
    elif parsed.weighting in BILEVEL:
      options = {"primary": indices, "learning_rate": auto["learning_rate"]}
    elif parsed.weighting is None and parsed.aggregator == "gcs":
      options = {"primary": tuple(indices)}
    return parsed.told(**options)

  found = {(MULTI_TASK, name): method(name, config.judged) for name in config.methods}
  if "auto_lambda" in config.methods:
    if config.compare != "none":
      near = method("auto_lambda", config.judged, estimator=config.compare)
      found[MULTI_TASK, approximate(config)] = near
    for label, options in _ablations(config, steps).items():
      ablated = method("auto_lambda", config.judged, **options)
      swap = "swapping" not in label
      found[MULTI_TASK, f"auto_lambda, {label}"] = dataclasses.replace(ablated, swap=swap)
  for task in config.primaries or config.judged:
    found |= {(task, name): method(name, [task]) for name in config.auxiliary_methods}
  for each in found.values():
    each.build(len(config.tasks), 1)  # raises where options do not fit
  return found


def approximate(config: Compared) -> str:
  """The name of Auto-lambda with an approximate gradient."""
  return f"auto_lambda, {config.compare.replace('_', ' ')}"


def _ablations(config: Compared, steps: int) -> dict[str, dict[str, Any]]:
  """Options of Auto-lambda by what a table calls them; ratios are those of the paper's table."""
  found: dict[str, dict[str, Any]] = {}
  if "init" in config.ablations:
    found |= {f"init {value:g}": {"init": value} for value in (0.01, 1.0)}
  if "learning_rate" in config.ablations:
    rates = [factor * config.weights.rate(steps) for factor in (0.3, 3, 10)]
    found |= {f"learning rate {value:.2g}": {"learning_rate": value} for value in rates}
  if "no_swapping" in config.ablations:
    found["no swapping"] = {}
  return found


def recipe_of(training: TrainingOptions, options: OptimizerOptions) -> Recipe:
  """The paper's by default: SGD with momentum and weight decay, along a cosine."""

  def optimizer(steps: int) -> optax.GradientTransformation:
    length = -(-steps // training.epochs)  # of an epoch, in steps
    cosine = optax.cosine_decay_schedule(training.learning_rate, steps)
    schedule: Any = cosine
    if options.decay is not None:
      rate, factor = training.learning_rate, options.decay
      schedule = optax.exponential_decay(rate, length, factor, staircase=True)
    elif options.cosine == "epoch":
      schedule = lambda step: cosine(step // length * length)  # noqa: E731
    sgd = optax.sgd(schedule, options.momentum)
    moved = sgd if options.optimizer == "sgd" else optax.adam(schedule, options.momentum)
    return optax.chain(optax.add_decayed_weights(options.weight_decay), moved)

  return Recipe(optimizer, training.epochs)


def _given(config: Config) -> dict[str, Any]:
  """What all jobs depend on."""
  options = identity_of(config.training, config.step, without=("epochs",))
  return config.data.identity(config.run.seed) | options


def _of_images(config: Config, images: ImageTasks) -> dict[Key, Job]:
  recipe = recipe_of(config.training, config.step)
  seed, kind = config.run.seed, config.own_data.feed
  feed = train_feed(images, config.training.batch_size, kind, seed)
  given = {**_given(config), **images.identity, "feed": kind}

  def jobs(tasks: tuple[str, ...], methods: dict[Key, tuple[str, Method]]) -> dict[Key, Job]:
    made = method_jobs(
      images,
      tasks,
      dict(methods.values()),
      network=config.network,
      recipe=recipe,
      feed=feed,
      seeds=config.run.all_seeds,
      identity=given,
      architecture=config.architecture,
      patience=config.patience,
    )
    return dict(zip(methods, made, strict=True))

  found: dict[Key, Job] = {}
  for task in config.tasks:
    found |= jobs((task,), {(SINGLE, task): (f"single_{task}", Method())})
  methods = methods_of(config, recipe.epochs * feed.steps)
  return found | jobs(config.tasks, {key: (" ".join(key), m) for key, m in methods.items()})


def _of_domains(config: Config, source: Domains) -> dict[Key, Job]:
  recipe, seeds = recipe_of(config.training, config.step), config.run.all_seeds
  # The paper's VGG has no fifth pool.
  options = {"final_pool": False} if config.network.backbone.startswith("vgg") else {}
  backbone = config.network.build(**options)
  given = {**_given(config), **config.network.identity, "tasks": config.tasks}

  dense, batch_size = config.network.dense, config.training.batch_size
  alone = domains.one_domain(source, backbone, dense)
  run_seeds, settings = domains.runs_of_one(source, seeds)
  feed_one = domains.feed_one(source, batch_size, settings)
  single = Job(
    name="single_domains",
    problem=alone,
    update=update_of(Method(), alone, recipe, feed_one.steps),
    feed=feed_one,
    recipe=recipe,
    identity={**given, "networks": "one a task"},
    parts=source.measured,
    seeds=run_seeds,
    settings=settings,
    start=domains.start_one(source),
  )
  together = domains.all_domains(source, backbone, dense)
  feed = domains.feed_all(source, batch_size)
  methods = methods_of(config, recipe.epochs * feed.steps)
  return {(SINGLE, ", ".join(config.tasks)): single} | {
    key: Job(
      name=" ".join(key),
      problem=together,
      update=update_of(method, together, recipe, feed.steps),
      feed=feed,
      recipe=recipe,
      identity={**given, **method.identity},
      parts=source.measured,
      seeds=seeds,
    )
    for key, method in methods.items()
  }
