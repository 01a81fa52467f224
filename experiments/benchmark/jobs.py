"""The trainings of the benchmark: one a single task, one a method."""

from __future__ import annotations

import optax

from experiments.benchmark.config import Config
from experiments.problems.images import ImageTasks
from experiments.problems.method_jobs import method_jobs
from experiments.problems.own_data import train_feed
from experiments.runner.config import identity_of
from experiments.runner.job import Job, Recipe
from experiments.runner.methods import Method


def plan(config: Config, images: ImageTasks) -> list[Job]:
  """Single tasks first, then methods; all of one network start at the same parameters."""
  rate = config.training.learning_rate
  recipe = Recipe(
    lambda steps: optax.adam(optax.cosine_decay_schedule(rate, steps)), config.training.epochs
  )
  seed, kind = config.run.seed, config.own_data.feed
  feed = train_feed(images, config.training.batch_size, kind, seed)
  given = {} if config.own else identity_of(config.digits)
  given |= identity_of(config.training, without=("epochs",))
  given |= {"data_seed": seed, "feed": kind, **images.identity}

  def jobs(tasks: tuple[str, ...], methods: dict[str, Method]) -> list[Job]:
    return method_jobs(
      images,
      tasks,
      methods,
      network=config.network,
      recipe=recipe,
      feed=feed,
      seeds=config.run.all_seeds,
      identity=given,
      architecture=config.architecture,
      patience=config.patience,
    )

  singles = [job for task in config.tasks for job in jobs((task,), {f"single_{task}": Method()})]
  return singles + jobs(config.tasks, {name: Method.parse(name) for name in config.methods})
