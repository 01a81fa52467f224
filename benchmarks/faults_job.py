"""A short training for `benchmarks.faults` to hurt: two tasks of digits by one layer.

Command: `python -m benchmarks.faults_job --workdir FOLDER`; it has a command line, a runner and
files as every experiment has.
"""

import dataclasses

import flax.linen as nn
import numpy as np
import optax

from experiments.problems.images import ImageTasks, Task, image_problem
from experiments.runner.command_line import command_line
from experiments.runner.config import RunOptions
from experiments.runner.feeds import DeviceFeed
from experiments.runner.job import Job, Recipe
from experiments.runner.methods import Method, update_of
from jaxmtl import data

TASKS = {"digit": 10, "parity": 2}
NAME = "digits"


class Layer(nn.Module):
  """A backbone that compiles soon."""

  @nn.compact
  def __call__(self, images, train=False):
    return nn.relu(nn.Dense(16)(images.reshape(len(images), -1)))


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the training."""

  preset: str = "quick"
  """The only one."""
  epochs: int = 40
  """Passes over the images."""
  run: RunOptions = RunOptions(seeds=2, checkpoint_every="1", workdir="runs/faults")


def job(config: Config) -> Job:
  splits = data.load("digits")
  named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
  parts = {
    name: {"image": part.images, "digit": part.labels, "parity": part.labels % 2}
    for name, part in named.items()
  }
  statistics = data.channel_statistics(splits.train.images)
  images = ImageTasks(parts, {t: Task(count) for t, count in TASKS.items()}, statistics)
  problem = image_problem(images, tuple(TASKS), Layer())
  feed = DeviceFeed(parts["train"], 25)
  recipe = Recipe(lambda steps: optax.adam(1e-3), config.epochs)
  return Job(
    name=NAME,
    problem=problem,
    update=update_of(Method.parse("dwa+pcgrad"), problem, recipe, feed.steps),
    feed=feed,
    recipe=recipe,
    identity={"method": "dwa+pcgrad"},
    parts=images.measured,
    seeds=config.run.all_seeds,
  )


def run(config: Config) -> None:
  runner = config.run.runner(config.run.workdir)
  (outcome,) = runner.run_all([job(config)], required=True).values()
  for task, accuracy in outcome.values["accuracy"].items():
    print(task, np.round(accuracy, 2).tolist())


def main(args: list[str] | None = None) -> None:
  command_line(run, {"quick": Config()}, "python -m benchmarks.faults_job", args)


if __name__ == "__main__":
  main()
