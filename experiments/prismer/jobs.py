"""The trainings: one a network and method, of all seeds together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.prismer.config import Config
from experiments.prismer.material import Material
from experiments.prismer.problem import Learned, learned
from experiments.prismer.variants import Variant
from experiments.prismer.weights import first_weights
from experiments.runner.config import fingerprint_of_file, identity_of
from experiments.runner.feeds import DeviceFeed, Feed
from experiments.runner.host_feed import HostFeed
from experiments.runner.job import Job, Recipe
from experiments.runner.methods import Method, update_of
from jaxmtl.data import experts as labels
from jaxmtl.data.experts.layout import BACKGROUND, side_key

Key = tuple[str, str]
"""Of a row: method and variant."""
# Of noise in labels: the same for all networks.
_NOISE = 31
# Objects or words that noise is made of.
_STRANGERS = 16


class Planned(NamedTuple):
  """A training and what it learns.

  Attributes:
    job: for the runner.
    what: the problem and its network.
    variant: which one.
    images: of the test part as this network sees them.
  """

  job: Job
  what: Learned
  variant: Variant
  images: Any


def plan(config: Config, material: Material) -> dict[Key, Planned]:
  """The training of each method and variant.

  Args:
    config: the options.
    material: the data.
  """
  found: dict[Key, Planned] = {}
  for variant in config.check().values():
    if (variant.corrupt or variant.noise) and not material.in_memory:
      raise ValueError(
        f"variant {variant.name!r}: corrupt and noise are for images that fit into memory; take "
        "fewer (train_images, test_images) or smaller ones (image_size)."
      )
    train, parts, images = _seen(material, variant)
    feed = _feed(config, material, train)
    what = learned(config, material, variant)
    recipe = recipe_of(config, what, feed.steps)
    for name in config.methods:
      method = Method.parse(name)
      job = Job(
        name=variant.name if len(config.methods) == 1 else f"{name} {variant.name}",
        problem=what.problem,
        update=update_of(method, what.problem, recipe, feed.steps),
        feed=feed,
        recipe=recipe,
        identity=_identity(config, material, variant, method),
        parts=parts,
        seeds=config.run.all_seeds,
        weights=first_weights(config.network, what.model.config),
      )
      found[name, variant.name] = Planned(job, what, variant, images)
  return found


def recipe_of(config: Config, what: Learned, steps_per_epoch: int) -> Recipe:
  """AdamW on what is trained; the rest has no state."""
  options, peak = config.optimizer, config.training.learning_rate

  def optimizer(steps: int) -> optax.GradientTransformation:
    def rate(step: Any) -> Any:
      rising = 1e-6 + (peak - 1e-6) * step / max(1, options.warmup_steps)
      at = step if options.schedule == "step" else step // steps_per_epoch * steps_per_epoch
      cosine = 0.5 * (1 + jnp.cos(jnp.pi * at / steps))
      falling = options.lowest_rate + (peak - options.lowest_rate) * cosine
      return jnp.where(step < options.warmup_steps, jnp.minimum(rising, peak), falling)

    adam = optax.adamw(rate, weight_decay=options.weight_decay)
    return optax.partition({True: adam, False: optax.set_to_zero()}, what.trained)

  return Recipe(optimizer, config.training.epochs)


def _feed(config: Config, material: Material, train: Any) -> Feed:
  if material.in_memory:
    return DeviceFeed(train, config.training.batch_size)
  return HostFeed(train, config.training.batch_size, config.run.seed)


def _identity(
  config: Config, material: Material, variant: Variant, method: Method
) -> dict[str, Any]:
  files = {
    name: fingerprint_of_file(value)
    for name in ("checkpoint", "clip", "roberta")
    if (value := getattr(config.network, name)) is not None
  }
  return {
    **material.identity,
    **identity_of(config.network, config.training, config.optimizer, without=("epochs",)),
    **files,
    **{name: getattr(config.text, name) for name in ("prefix", "max_tokens", "label_smoothing")},
    **variant.identity,
    **method.identity,
  }


def _seen(material: Material, variant: Variant) -> tuple[Any, dict[str, Any], Any]:
  """Training examples, parts and test images with the labels that a network sees."""
  see: Callable[[Any, str], Any] = functools.partial(_labelled, variant=variant)
  parts = {name: see(part, name) for name, part in material.parts.items()}
  return see(material.train, "train"), parts, see(material.images, "test")


def _labelled(examples: Any, part: str, variant: Variant) -> Any:
  if not isinstance(examples, Mapping):
    return Reduced(examples, variant.experts)
  found = _only(examples, variant.experts)
  # Other noise in each part.
  key = jax.random.fold_in(jax.random.key(_NOISE), ("train", "validation", "test").index(part))
  if variant.corrupt:
    for number, name in enumerate(variant.experts):
      own = jax.random.fold_in(key, number)
      if labels.KINDS[name].side:
        found |= _with_strangers(jax.random.fold_in(own, 1), name, found)
        values = _STRANGERS
      else:
        values = _values(name, examples)
      made = labels.corrupt(own, jnp.asarray(found[name]), float(variant.corrupt), values)
      found[name] = np.asarray(made)
  for number, name in enumerate(variant.noises):
    like = jnp.asarray(examples["rgb"][..., :1])
    found[name] = np.asarray(labels.noise_like(jax.random.fold_in(key, 100 + number), like))
  return found


def _with_strangers(key: jax.Array, name: str, examples: Mapping[str, Any]) -> dict[str, Any]:
  """A label and its side table with further objects or words, the first ones, which no pixel has.

  Noise is of these: of an image's own ones it would still say which there are, and how many.
  """
  side = side_key(name)
  label, table = examples[name], examples[side]
  # What is said of the strangers is said of some object or word of the other images.
  flat = table.reshape(-1, *table.shape[2:])
  known = flat[flat >= 0] if flat.ndim == 1 else flat[np.isfinite(flat).all(-1)]
  rows = jax.random.randint(key, (len(table), _STRANGERS), 0, max(1, len(known)))
  strangers = known[np.asarray(rows)] if len(known) else np.zeros_like(table[:, :1])
  moved = np.minimum(label.astype(int) + _STRANGERS, BACKGROUND).astype(label.dtype)
  return {name: moved, side: np.concatenate([strangers, table], axis=1)}


def _values(name: str, examples: Mapping[str, Any]) -> int:
  """How many different numbers an expert's noise has, where these say what they are."""
  if not labels.KINDS[name].numbers:
    return 256
  known = examples[name][examples[name] != 255]
  return int(known.max(initial=0)) + 1


def _only(example: Mapping[str, Any], experts: tuple[str, ...]) -> dict[str, Any]:
  """Without the labels of other experts."""
  left = {name for name in labels.KINDS if name not in experts}
  gone = left | {f"{name}_{labels.KINDS[name].side}" for name in left}
  return {name: values for name, values in example.items() if name not in gone}


class Reduced:
  """A source of examples without the labels of some experts."""

  def __init__(self, source: Any, experts: tuple[str, ...]):
    """Takes a source, and whose labels are kept."""
    self._source, self._experts = source, experts

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: Any) -> dict[str, Any]:
    return _only(self._source[index], self._experts)

  def __getitems__(self, indices: Any) -> list[dict[str, Any]]:
    """Several examples, read by threads."""
    return [_only(one, self._experts) for one in self._source.__getitems__(indices)]

  def fingerprint(self) -> str:
    """Of the source."""
    return self._source.fingerprint()
