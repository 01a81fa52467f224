"""The trainings of the grid: one a model."""

from __future__ import annotations

from experiments.grid.config import Config
from experiments.grid.models import Cell, network
from experiments.problems import property_options
from experiments.problems.pretrained import first_weights
from experiments.problems.properties import examples_of, measured_of, pair_of, property_problem
from experiments.runner.feeds import DeviceFeed
from experiments.runner.job import Job, Problem
from experiments.runner.mesh import Layout
from experiments.runner.methods import update_of
from jaxmtl import data


def plan(config: Config, parts: data.PropertySplits, layout: Layout) -> dict[Cell, Job]:
  """Jobs by model; those that differ in the method alone share a problem."""
  targets = pair_of(parts, standardise=config.standardise)
  feed = DeviceFeed(examples_of(parts.train, targets), config.training.batch_size)
  recipe = property_options.recipe_of(config.training, config.step, feed.steps)
  given = property_options.common_identity(
    config.images, config.network, config.training, config.step
  ) | {"standardise": config.standardise}
  measured = {
    "validation": measured_of(parts.validation, targets),
    "test": measured_of(parts.test, targets),
  }
  observe = property_options.observer(config.step, layout)
  duration = recipe.epochs, feed.steps
  weights = first_weights(config.network, parts.train.images.shape[1:])

  def problem_of(cell: Cell) -> Problem:
    backbone = config.network.build()
    options = config.num_experts, *duration, config.network.initializer
    model = network(cell, backbone, targets.heads, *options)
    return property_problem(parts, targets, model, augment=config.step.augment)

  problems = {
    (a, d): problem_of(Cell(a, "EW", d)) for d in config.decoders for a in config.architectures
  }

  def job_of(cell: Cell) -> Job:
    problem = problems[cell.architecture, cell.decoder]
    if cell.drops_signs:  # the same network but for the way back
      problem = problem._replace(losses_fn=problem_of(cell).losses_fn)
    return Job(
      name=str(cell),
      problem=problem,
      update=update_of(cell.combine(), problem, recipe, feed.steps),
      feed=feed,
      recipe=recipe._replace(open_ended=recipe.open_ended and not cell.looks_at_the_end),
      identity={**given, **cell.identity(config.num_experts)},
      parts=measured,
      seeds=config.run.all_seeds,
      weights=weights,
      after_epoch=observe,
    )

  return {cell: job_of(cell) for cell in config.cells()}
