"""A job a method: the same network on the same images, from the same parameters, in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.problems.images import ImageTasks, image_problem
from experiments.problems.pretrained import first_weights
from experiments.problems.task_metrics import validation_score
from experiments.runner.config import NetworkOptions
from experiments.runner.feeds import DeviceFeed
from experiments.runner.host_feed import HostFeed
from experiments.runner.job import Job, Recipe, Selection
from experiments.runner.methods import Method, update_of


def method_jobs(
  images: ImageTasks,
  tasks: tuple[str, ...],
  methods: Mapping[str, Method],
  *,
  network: NetworkOptions,
  recipe: Recipe,
  feed: DeviceFeed | HostFeed,
  seeds: Sequence[int],
  identity: Mapping[str, Any],
  architecture: str = "hps",
  patience: int | None = None,
) -> list[Job]:
  """The trainings of some methods.

  Args:
    images: the data.
    tasks: which ones the network learns; a single one has a backbone and a head.
    methods: by name of the job.
    network: the backbone, and where its first weights come from.
    recipe: how it is trained.
    feed: where batches come from.
    seeds: one a run.
    identity: what the outcomes depend on beside network, tasks and method.
    architecture: a name of `models.multi_task`.
    patience: epochs without a better validation score after which training ends, and the best
      epoch's weights count; None for all epochs and the last one's.
  """
  architecture = architecture if len(tasks) > 1 else "hps"
  problem = image_problem(
    images,
    tasks,
    network.build(),
    architecture=architecture,
    anneal_steps=recipe.epochs * feed.steps,
    dense=network.dense,
    describe={"backbone": network.backbone, "width": network.width},
  )
  weights = first_weights(network, images.shape)
  given = {**identity, **network.identity, "tasks": tasks, "architecture": architecture}
  selection = None
  if patience is not None:
    if "validation" not in images.measured_of(tasks):
      raise ValueError("patience needs a validation part, which these data do not have.")
    given["patience"] = patience
    selection = Selection(validation_score(images, tasks), patience)
  return [
    Job(
      name=name,
      problem=problem,
      update=update_of(method, problem, recipe, feed.steps),
      feed=feed.only("image", *tasks),
      recipe=recipe,
      identity={**given, **method.identity},
      parts=images.measured_of(tasks),
      seeds=seeds,
      weights=weights,
      selection=selection,
    )
    for name, method in methods.items()
  ]
