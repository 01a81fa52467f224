"""The trainings: one a method and setting, of all seeds together where the images are in memory."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from experiments.problems.maps import MapImages
from experiments.problems.pretrained import first_weights
from experiments.reco.config import Config
from experiments.reco.labels import Few, Relabelled, Setting, settings
from experiments.reco.methods import SEGMENTATION, Semi
from experiments.reco.problem import LABELLED, UNLABELLED, learned, network_only
from experiments.reco.teaching import teaching, variables_of_teacher
from experiments.runner.config import identity_of
from experiments.runner.feeds import DeviceFeed, Feed, Zip
from experiments.runner.host_feed import HostFeed
from experiments.runner.job import Job, Recipe, fresh_state
from experiments.runner.methods import changes_of, combining, update_of
from jaxmtl import training

Key = tuple[str, str]
"""Of a row: setting and method."""


def plan(config: Config, images: MapImages, root: pathlib.Path) -> dict[Key, list[Job]]:
  """The jobs of each setting and method: one, or one a seed where images are read from files.

  Args:
    config: the options.
    images: the data.
    root: the experiment's folder, where draws of labels are kept.

  Raises:
    ValueError: naming the option, where too few images fit the rules.
  """
  methods = config.check()
  kind = images.tasks[SEGMENTATION]
  train = images.parts["train"]
  few = Few(train, kind.outputs, config.labels.at_least, root)
  recipe = recipe_of(config)
  in_memory = isinstance(train, Mapping)
  seeds = config.run.all_seeds
  groups = [seeds] if in_memory else [[seed] for seed in seeds]
  weights = first_weights(config.network, images.shape)
  found: dict[Key, list[Job]] = {}
  for setting in settings(config.labels):
    for method in methods:
      if method.mixing is not None and not setting.has_unlabelled:
        continue  # all labels are known: there is nothing for a teacher to say
      what = learned(config, kind, images.shape, method)
      combine = combining(config.combine, len(what.problem.tasks))
      step = update_of(combine, what.problem, recipe, config.optimizer.steps_per_epoch)
      update: Any = step
      start: Callable[[Any, Any, Any], Any] = fresh_state
      variables: Callable[[Any], Any] = _of_network
      if method.mixing is not None:
        update, start = teaching(config, what, step, method, kind.outputs)
        variables = variables_of_teacher
      found[setting.name, method.name] = [
        Job(
          name=" ".join((setting.name, method.name, *([] if in_memory else [f"seed {group[0]}"]))),
          problem=what.problem,
          update=update,
          feed=_feed(config, train, few, setting, method, group),
          recipe=recipe,
          identity=_identity(config, images, setting, method) | changes_of(combine),
          parts={name: part for name, part in images.parts.items() if name != "train"},
          seeds=group,
          weights=weights,
          start=start,
          variables=variables,
        )
        for group in groups
      ]
  if not found:
    raise ValueError(
      f"labelled is {config.labels.labelled}, all images, which leaves none to "
      f"{', '.join(config.all_methods)}; give another number, or supervised to --methods."
    )
  return found


def recipe_of(config: Config) -> Recipe:
  """The paper's: SGD with Nesterov momentum; the rate falls once an epoch."""
  options, epochs = config.optimizer, config.training.epochs

  def rate(step: Any) -> Any:
    epoch = step // options.steps_per_epoch
    left = jnp.maximum(1 - epoch / epochs, 0) ** options.power
    return jnp.maximum(config.training.learning_rate * left, options.lowest_rate)

  def optimizer(steps: int) -> optax.GradientTransformation:
    del steps
    decay = optax.add_decayed_weights(options.weight_decay)
    return optax.chain(decay, optax.sgd(rate, options.momentum, nesterov=True))

  return Recipe(optimizer, epochs)


def _of_network(state: training.TrainState) -> dict[str, Any]:
  return network_only(training.variables_of(state))


def _identity(config: Config, images: MapImages, setting: Setting, method: Semi) -> dict[str, Any]:
  return {
    **images.identity,
    **identity_of(config.training, config.optimizer, config.segmentation, without=("epochs",)),
    **(identity_of(config.teacher) if method.mixing else {}),
    **config.network.identity,
    "labelled": setting.labelled,
    "share": setting.share,
    "at_least": config.labels.at_least if setting.labelled else None,
    # It weighs pseudo-labels, too; with ReCo's loss it is among its options.
    "sure_from": config.reco.strong_threshold if method.mixing and not method.reco else None,
    **method.identity,
  }


def _feed(
  config: Config, train: Any, few: Few, setting: Setting, method: Semi, seeds: Sequence[int]
) -> Zip:
  """Labelled images, and the others, where the method has a use for them."""
  size, count = config.training.batch_size, len(few)
  everything = np.arange(count)
  labelled = [few.rows(setting.labelled, s) if setting.labelled else everything for s in seeds]
  feeds: dict[str, Feed] = {LABELLED: _labelled(train, few, labelled, setting.share, size, seeds)}
  if method.mixing is not None:
    # Where all images have some labels, all are learned from without them, too.
    some = bool(setting.labelled)
    rest = [np.setdiff1d(everything, rows) if some else everything for rows in labelled]
    kept = max(2, round(method.unlabelled * len(rest[0])))
    order = [
      np.random.default_rng([seed, 22]).permutation(rows)
      for seed, rows in zip(seeds, rest, strict=True)
    ]
    if len(rest[0]) < 2:
      raise ValueError(
        f"labelled is {setting.labelled} of {count} images; at least 2 must be left for "
        f"{method.name}."
      )
    images = _without_maps(train)
    feeds[UNLABELLED] = _feed_of(images, [rows[:kept] for rows in order], size, seeds)
  return Zip(config.optimizer.steps_per_epoch, **feeds)


def _labelled(
  train: Any,
  few: Few,
  rows: list[np.ndarray],
  share: float | None,
  batch_size: int,
  seeds: Sequence[int],
) -> Feed:
  if share is None:
    return _feed_of(train, rows, batch_size, seeds)
  if isinstance(train, Mapping):
    own = functools.partial(_partial, few, share, tuple(seeds))
    return DeviceFeed(_without_maps(train), batch_size, own=own)
  seed = seeds[0]
  source = Relabelled(train, few.partial(share, seed), f"share {share:g} seed {seed}")
  return HostFeed(source, batch_size, seed)


def _feed_of(part: Any, rows: list[np.ndarray], batch_size: int, seeds: Sequence[int]) -> Feed:
  """Some examples of a part, other ones for each seed."""
  if isinstance(part, Mapping):
    return DeviceFeed(part, batch_size, subset=np.stack(rows))
  return HostFeed(part.subset(rows[0]), batch_size, seeds[0])


def _without_maps(part: Any) -> Any:
  """The images, with their sizes where they have sizes of their own."""
  if isinstance(part, Mapping):
    return {name: values for name, values in part.items() if name != SEGMENTATION}
  return part.only()


def _partial(few: Few, share: float, seeds: Sequence[int]) -> dict[str, np.ndarray]:
  return {SEGMENTATION: np.stack([few.partial(share, seed) for seed in seeds])}
