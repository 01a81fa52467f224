"""The trainings of the benchmark: one a single task, one a method."""

from __future__ import annotations

import optax

from experiments.benchmark.config import Config
from experiments.problems.images import ImageTasks, image_problem
from experiments.problems.own_data import train_feed
from experiments.problems.pretrained import first_weights
from experiments.runner.config import identity_of
from experiments.runner.job import Job, Recipe
from experiments.runner.methods import Method, update_of


def plan(config: Config, images: ImageTasks) -> list[Job]:
  """Single tasks first, then methods; all of one network start at the same parameters."""
  rate = config.training.learning_rate
  recipe = Recipe(
    lambda steps: optax.adam(optax.cosine_decay_schedule(rate, steps)), config.training.epochs
  )
  seed, kind = config.run.seed, config.own_data.feed
  feed = train_feed(images, config.training.batch_size, kind, seed)
  weights = first_weights(config.network, images.shape)
  given = {} if config.own else identity_of(config.digits)
  given |= identity_of(config.training, without=("epochs",)) | config.network.identity
  given |= {"data_seed": seed, "feed": kind, **images.identity}

  def jobs(tasks: tuple[str, ...], named: dict[str, Method]) -> list[Job]:
    architecture = config.architecture if len(tasks) > 1 else "hps"
    problem = image_problem(
      images,
      tasks,
      config.network.build(),
      architecture=architecture,
      anneal_steps=recipe.epochs * feed.steps,
      describe={"backbone": config.network.backbone, "width": config.network.width},
    )
    return [
      Job(
        name=name,
        problem=problem,
        update=update_of(method, problem, recipe, feed.steps),
        feed=feed.only("image", *tasks),
        recipe=recipe,
        identity={**given, "tasks": tasks, "architecture": architecture, **method.identity},
        parts=images.measured,
        seeds=config.run.all_seeds,
        weights=weights,
      )
      for name, method in named.items()
    ]

  singles = [job for task in config.tasks for job in jobs((task,), {f"single_{task}": Method()})]
  return singles + jobs(config.tasks, {name: Method.parse(name) for name in config.methods})
