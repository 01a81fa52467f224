"""The two networks of MAXL: one that learns primary and auxiliary tasks, one that labels.

Several runs with different numbers of auxiliary classes share one width: classes beyond a run's own
number are padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxmtl
from experiments.maxl_config import Config
from jaxmtl import data, labels, losses, models, training

AUXILIARY = "auxiliary"
# Logits of padding: no probability is left, and no gradient.
_NEVER = -1e9


class Auxiliary(NamedTuple):
  """A set of auxiliary classes: within whose classes they lie, and how many a network has."""

  primary: str
  width: int


class Networks:
  """Both networks and the pure functions of their training, of one run."""

  def __init__(
    self,
    config: Config,
    primary: Mapping[str, int],
    auxiliary: Mapping[str, Auxiliary],
    statistics: Any,
    steps_per_epoch: int,
  ):
    """Builds them.

    Args:
      config: the experiment's options.
      primary: number of classes by primary task.
      auxiliary: the auxiliary tasks by name.
      statistics: mean and standard deviation of the training images' channels.
      steps_per_epoch: for the learning rates.
    """
    self.primary, self.auxiliary = dict(primary), dict(auxiliary)
    self._config, self._statistics, self._steps = config, statistics, steps_per_epoch
    widths = {a: spec.width for a, spec in auxiliary.items()}
    backbone = config.build_backbone()
    self.model = models.MultiHead(backbone, self._heads({**primary, **widths}))
    self.labeller = models.MultiHead(backbone, self._heads(widths))

  def optimizer(self) -> optax.GradientTransformation:
    """Of the multi-task network."""
    config = self._config
    decay = optax.add_decayed_weights(config.weight_decay)
    sgd = optax.sgd(self._schedule(config.learning_rate), config.momentum or None)
    return optax.chain(decay, sgd) if config.weight_decay else sgd

  def label_optimizer(self) -> optax.GradientTransformation:
    """Of the label network."""
    decay = optax.add_decayed_weights(self._config.label_weight_decay)
    return optax.chain(decay, optax.sgd(self._schedule(self._config.label_learning_rate)))

  def images(self, images: jax.Array) -> jax.Array:
    """Images as the networks take them."""
    return data.normalize(images, *self._statistics)

  def prepare(self, key: jax.Array, batch: Any) -> Any:
    """Augments a batch's images; fixed labels, where there are any, become probabilities."""
    crop_key, flip_key = jax.random.split(key)
    images = batch["image"]
    if self._config.crop_padding:
      images = data.random_crop(crop_key, images, self._config.crop_padding)
    if self._config.flip:
      images = data.random_flip(flip_key, images)
    return self.as_labels({**batch, "image": self.images(images)})

  def as_labels(self, batch: Any) -> Any:
    """The batch with fixed labels as probabilities, all zero where an example has none."""
    if AUXILIARY not in batch:
      return batch
    soft = {a: jax.nn.one_hot(i, self.auxiliary[a].width) for a, i in batch[AUXILIARY].items()}
    return {**batch, AUXILIARY: soft}

  def losses_fn(self, params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    """Focal losses of primary and auxiliary tasks; an example without label adds nothing."""
    del key  # no dropout in these networks
    outputs: Any
    outputs, updated = self.model.apply(
      {"params": params, "batch_stats": model_state["batch_stats"]},
      batch["image"],
      train=True,
      mutable=["batch_stats"],
    )
    gamma = self._config.gamma
    hard = {t: jax.nn.one_hot(batch[t], size) for t, size in self.primary.items()}
    found = [losses.focal(outputs[t], target, gamma).mean() for t, target in hard.items()]
    used = []
    for a, soft in batch[AUXILIARY].items():
      own = jnp.arange(soft.shape[-1]) < model_state["sizes"][a]
      found.append(losses.focal(jnp.where(own, outputs[a], _NEVER), soft, gamma).mean())
      most_likely = jax.nn.one_hot(soft.argmax(-1), soft.shape[-1], dtype=bool)
      used.append((most_likely & (soft > 0)).any(axis=0))
    right = jnp.stack([jnp.mean(outputs[t].argmax(-1) == batch[t]) for t in self.primary])
    return jnp.stack(found), training.Aux(
      model_state={**model_state, **updated},
      metrics={"train_accuracy": right, "used": jnp.concatenate(used)},
    )

  def generate_fn(self, params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    """Generated labels, as `jaxmtl.meta.maxl` takes them."""
    del key
    logits: Any
    logits, updated = self.labeller.apply(
      {"params": params, "batch_stats": model_state["batch_stats"]},
      batch["image"],
      train=True,
      mutable=["batch_stats"],
    )
    return self._masked(logits, model_state, batch), {**model_state, **updated}

  def generate(self, state: Any, images: jax.Array, tasks: Any) -> dict[str, jax.Array]:
    """Labels of normalised images and their primary classes, by a trained label network."""
    variables = {"params": state.params, "batch_stats": state.model_state["batch_stats"]}
    return self._masked(self.labeller.apply(variables, images), state.model_state, tasks)

  def cosine(self, state: training.TrainState, batch: Any) -> jax.Array:
    """Of the gradients of all primary and of all auxiliary losses, for the backbone."""
    count = len(self.primary)

    def two(backbone: Any) -> jax.Array:
      params = {**state.params, "backbone": backbone}
      found, _ = self.losses_fn(params, state.model_state, batch, state.key)
      return jnp.stack([found[:count].sum(), found[count:].sum()])

    _, grads = jaxmtl.task_value_and_grad(two)(state.params["backbone"])
    return jaxmtl.cosine_matrix(jaxmtl.gramian(grads))[0, 1]

  def predict(self, variables: Any, images: jax.Array) -> Any:
    """Logits by task of uint8 images."""
    return self.model.apply(variables, self.images(images))

  def encode(self, variables: Any, images: jax.Array) -> Any:
    """The backbone's features `[B, D]` of uint8 images."""
    return self.model.apply(variables, self.images(images), method="encode")

  def epoch(self, one_pass: Callable[..., Any]) -> Callable[..., Any]:
    """A pass over the data that also says which share of the auxiliary classes was in use."""

    def run(state: training.TrainState, examples: Any) -> Any:
      state, metrics = one_pass(state, examples)
      used = metrics.pop("used")
      own = sum(state.model_state["sizes"].values())
      share = used.any(axis=0).sum() / jnp.maximum(own, 1)
      return state, metrics | {"labels_in_use": jnp.full(len(used), share)}

    return run

  def _heads(self, widths: Mapping[str, int]) -> dict[str, nn.Module]:
    hidden = self._config.head_width
    return {
      task: nn.Sequential([nn.Dense(hidden), nn.relu, nn.Dense(width)])
      for task, width in widths.items()
    }

  def _schedule(self, rate: float) -> optax.Schedule:
    return optax.exponential_decay(
      rate, self._config.halve_every * self._steps, 0.5, staircase=True
    )

  def _masked(self, logits: Any, model_state: Any, tasks: Any) -> dict[str, jax.Array]:
    return {
      a: labels.mask_softmax(logits[a], tasks[spec.primary], model_state["psi"][a])
      for a, spec in self.auxiliary.items()
    }
