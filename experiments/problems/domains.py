"""CIFAR-100 as 20 domains of five classes: one network for all, or a network each.

Each coarse class is a task with images of its own: a batch holds equally many images of every
domain. The convolutions are shared; batch normalization and heads are the domain's own. Networks of
one domain each are the runs of one job, whose settings are the domains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.feeds import DeviceFeed, DomainFeed
from experiments.runner.job import Outcome, Problem, fresh_state
from experiments.runner.measure import most_likely, ratio
from jaxmtl import data, losses, models, training

# The coarse classes in their order; prepared folders may lack the names.
NAMES = (
  *("aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables"),
  *("household_electrical_devices", "household_furniture", "insects", "large_carnivores"),
  *("large_man-made_outdoor_things", "large_natural_outdoor_scenes"),
  *("large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people"),
  *("reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2"),
)
# The task of a network that learns one domain, and where its state says which.
_OWN, _DOMAIN = "own domain", "domain"
# Images of all domains together that are measured at a time.
_MEASURED = 1000


class Domains(NamedTuple):
  """Images of several domains, equally many of each, in parts.

  Attributes:
    parts: by "train", "validation" (or without it) and "test": uint8 `image` `[N, K, H, W, C]` and
      integer `label` `[N, K]`.
    names: of the K domains.
    classes: of each.
    statistics: mean and deviation of the training images' channels.
  """

  parts: dict[str, dict[str, np.ndarray]]
  names: tuple[str, ...]
  classes: int
  statistics: tuple[Any, Any]

  @property
  def measured(self) -> dict[str, dict[str, np.ndarray]]:
    """The parts that a job measures."""
    return {name: part for name, part in self.parts.items() if name != "train"}


def of_images(parts: Mapping[str, data.DomainImages], names: tuple[str, ...]) -> Domains:
  """Parts that are sorted by domain, as `Domains`."""
  train = parts["train"]
  return Domains(
    {name: {"image": part.images, "label": part.labels} for name, part in parts.items()},
    names,
    int(train.labels.max()) + 1,
    data.channel_statistics(train.images),
  )


def load(data_dir: str | None, image_size: int | None, validation: float, seed: int) -> Domains:
  """CIFAR-100 by its 20 coarse classes, with a share of the training images held out by a seed."""
  splits = data.load_tasks(
    "cifar100",
    ("label", "coarse_label"),
    data_dir=data_dir,
    image_size=image_size,
    validation=validation,
    seed=seed,
  )
  named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
  found = {
    name: data.by_domain(part.images, part.labels["label"], part.labels["coarse_label"])
    for name, part in named.items()
    if part is not None
  }
  return of_images(found, NAMES)


def all_domains(
  domains: Domains, backbone: nn.Module, dense: Callable[[int], nn.Module] = nn.Dense
) -> Problem:
  """One network for all domains, each of them a task."""
  names = domains.names
  net = models.multi_domain(backbone, len(names), domains.classes, dense)

  def predict(variables: Any, batch: Any) -> dict[str, jax.Array]:
    images = data.normalize(jnp.moveaxis(batch["image"], 1, 0), *domains.statistics)
    logits, _ = net.apply(variables, images)
    return dict(zip(names, logits, strict=True))

  return _problem(
    domains,
    names,
    init=lambda key, setting: net.init(key, _image(domains)),
    losses_fn=_losses_fn(net),
    predict=predict,
    column=lambda task, outputs: names.index(task),
  )


def one_domain(
  domains: Domains, backbone: nn.Module, dense: Callable[[int], nn.Module] = nn.Dense
) -> Problem:
  """A network for one domain, whose number is the run's setting."""
  net = models.multi_domain(backbone, 1, domains.classes, dense)

  def init(key: jax.Array, setting: jax.Array) -> Any:
    own = jax.random.split(key, len(domains.names))[setting]
    return {**net.init(own, _image(domains)), _DOMAIN: setting}

  def predict(variables: Any, batch: Any) -> dict[str, jax.Array]:
    domain = variables[_DOMAIN]
    images = data.normalize(batch["image"][:, domain], *domains.statistics)
    logits, _ = net.apply(variables, images[None])
    return {_OWN: logits[0], _DOMAIN: domain}

  all_losses = _losses_fn(net)

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    return all_losses(params, model_state, jax.tree.map(lambda x: x[:, None], batch), key)

  return _problem(
    domains,
    (_OWN,),
    init=init,
    losses_fn=losses_fn,
    predict=predict,
    column=lambda task, outputs: outputs[_DOMAIN],
  )


def start_one(domains: Domains) -> Callable[[Any, Any, Any], Any]:
  """A job's `start` for `one_domain`: each domain has a key of its own."""

  def start(update: Any, key: jax.Array, variables: Any) -> Any:
    own = jax.random.split(key, len(domains.names))[variables[_DOMAIN]]
    return fresh_state(update, own, variables)

  return start


def runs_of_one(domains: Domains, seeds: Sequence[int]) -> tuple[list[int], np.ndarray]:
  """A job's seeds and settings for `one_domain`: all domains of a seed side by side."""
  count = len(domains.names)
  return np.repeat(seeds, count).tolist(), np.tile(np.arange(count), len(seeds))


def feed_all(domains: Domains, batch_size: int) -> DomainFeed:
  """So many images of each domain a step."""
  return DomainFeed(domains.parts["train"], batch_size)


def feed_one(domains: Domains, batch_size: int, settings: np.ndarray) -> DeviceFeed:
  """Each run's own domain's images, out of one copy of all of them."""
  train = domains.parts["train"]
  count, width = train["label"].shape
  flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in train.items()}
  subset = np.arange(count) * width + np.asarray(settings)[:, None]
  return DeviceFeed(flat, batch_size, subset=subset)


def by_domain(outcome: Outcome, names: tuple[str, ...]) -> Outcome:
  """The outcome of `one_domain` as one with a task a domain and a run a seed."""

  def split(by_task: Mapping[str, Any]) -> dict[str, np.ndarray]:
    table = np.asarray(by_task[_OWN], float).reshape(-1, len(names))
    return {name: table[:, i] for i, name in enumerate(names)}

  def row(old: Mapping[str, Any]) -> dict[str, Any]:
    new = {name: old[name] for name in ("epoch", "step", "seconds")}
    for name, value in old.items():
      if isinstance(value, Mapping):
        new[name] = {metric: split(by_task) for metric, by_task in value.items()}
      elif name == "losses":
        new[name] = np.reshape(np.asarray(value, float), (-1, len(names)))
    return new

  return dataclasses.replace(
    outcome,
    tasks=names,
    values={metric: split(by_task) for metric, by_task in outcome.values.items()},
    history=[row(old) for old in outcome.history],
  )


def _problem(
  domains: Domains, tasks: tuple[str, ...], column: Callable[[str, Any], Any], **parts: Any
) -> Problem:
  """What both problems share: crops and flips, and accuracy; `column` says where labels are."""

  def prepare(key: jax.Array, batch: Any) -> Any:
    crop_key, flip_key = jax.random.split(key)
    shape = batch["image"].shape
    images = batch["image"].reshape(-1, *shape[-3:])
    images = data.random_flip(flip_key, data.random_crop(crop_key, images))
    return batch | {"image": data.normalize(images, *domains.statistics).reshape(shape)}

  def count(outputs: Mapping[str, jax.Array], batch: Any) -> dict[str, Any]:
    valid, found = batch["valid"], {}
    for task in tasks:
      right = most_likely(outputs[task]) == batch["label"][:, column(task, outputs)]
      found[task] = {"right": (right & valid).sum(), "count": valid.sum()}
    return found

  accuracy = training.Metric(count, lambda sums: 100 * ratio(sums["right"], sums["count"]))
  return Problem(
    tasks=tasks,
    prepare=prepare,
    metrics={"accuracy": accuracy},
    own_batches=True,
    measured_at_once=max(1, _MEASURED // len(domains.names)),
    **parts,
  )


def _image(domains: Domains) -> jax.Array:
  """One image, for the shapes of a network."""
  return data.normalize(domains.parts["train"]["image"][0, 0], *domains.statistics)


def _losses_fn(net: models.MultiDomain) -> Callable[..., Any]:
  """Cross-entropies of images `[B, K, ...]`, of all domains or those that take part."""

  def losses_fn(
    params: Any, model_state: Any, batch: Any, key: jax.Array, tasks: jax.Array | None = None
  ) -> Any:
    del key  # no dropout in these networks
    images, labels = (jnp.moveaxis(batch[name], 1, 0) for name in ("image", "label"))
    if tasks is not None:  # only what takes part is computed
      images, labels = images[tasks], labels[tasks]
    logits, updated = net.apply({"params": params, **model_state}, images, True, tasks)
    task_losses = jax.vmap(losses.cross_entropy)(logits, labels)
    right = jnp.mean(most_likely(logits) == labels, axis=1)
    aux = training.Aux({**model_state, "batch_stats": updated}, {"train_accuracy": right})
    return task_losses, aux

  return losses_fn
