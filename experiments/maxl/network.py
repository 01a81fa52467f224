"""The two networks of MAXL: one that learns primary and auxiliary tasks, one that labels.

Several runs with different numbers of auxiliary classes share one width: classes beyond a run's own
number are padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxmtl
from experiments.maxl.config import Config
from experiments.problems.images import ImageTasks
from experiments.runner.job import Problem
from experiments.runner.measure import accuracy, most_likely
from jaxmtl import data, labels, losses, models, training
from jaxmtl.training.trained import task_head

AUXILIARY = "auxiliary"
# Folded into a run's key for the label network's.
LABEL_STREAM = 1
# Logits of padding: no probability is left, and no gradient.
_NEVER = -1e9


class Auxiliary(NamedTuple):
  """A set of auxiliary classes: within whose classes they lie, and how many a network has."""

  primary: str
  width: int


def network_of(variables: Any) -> dict[str, Any]:
  """What a network is applied with, of variables that hold more."""
  return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


class Networks:
  """Both networks and the pure functions of their training, of one run."""

  def __init__(
    self,
    config: Config,
    primary: Mapping[str, int],
    auxiliary: Mapping[str, Auxiliary],
    images: ImageTasks,
    steps_per_epoch: int,
  ):
    """Builds them.

    Args:
      config: the experiment's options.
      primary: number of classes by primary task.
      auxiliary: the auxiliary tasks by name; none for single-task training.
      images: their shape and statistics.
      steps_per_epoch: for the learning rates.
    """
    self.primary, self.auxiliary = dict(primary), dict(auxiliary)
    self._config, self._steps = config, steps_per_epoch
    self._shape, self._statistics = images.shape, images.statistics
    self._backbone = config.network.build()
    self.model = models.MultiHead(self._backbone, self._heads({**primary, **self._widths()}))

  @property
  def labeller(self) -> models.MultiHead:
    """The label network, where there are auxiliary tasks."""
    return models.MultiHead(self._backbone, self._heads(self._widths()))

  def problem(self, generated: bool = False) -> Problem:
    """What both networks learn, or the multi-task network alone, of given labels."""
    return Problem(
      tasks=(*self.primary, *self.auxiliary),
      init=self.init_both if generated else self.init,
      losses_fn=self.losses_fn,
      prepare=self.prepare,
      predict=self.predict,
      metrics={"accuracy": accuracy(tuple(self.primary))},
    )

  def init(self, key: jax.Array, setting: Any) -> dict[str, Any]:
    """Variables of the multi-task network; `sizes` are a run's own numbers of auxiliary classes."""
    # Which auxiliary classes were in use is gathered over an epoch.
    used = {a: jnp.zeros(spec.width, bool) for a, spec in self.auxiliary.items()}
    variables: Any = self.model.init(key, self._blank())
    return {**variables, "sizes": setting["sizes"], "used": used}

  def init_both(self, key: jax.Array, setting: Any) -> dict[str, Any]:
    """The same, with the label network's under `label`."""
    key_of_labels = jax.random.fold_in(key, LABEL_STREAM)
    label: Any = self.labeller.init(key_of_labels, self._blank())
    return {**self.init(key, setting), "label": {**label, "psi": setting["psi"]}}

  def optimizer(self) -> optax.GradientTransformation:
    """Of the multi-task network."""
    options, rate = self._config.multi_task, self._config.training.learning_rate
    decay = optax.add_decayed_weights(options.weight_decay)
    sgd = optax.sgd(self._schedule(rate), options.momentum or None)
    return optax.chain(decay, sgd) if options.weight_decay else sgd

  def label_optimizer(self) -> optax.GradientTransformation:
    """Of the label network."""
    options = self._config.labels
    decay = optax.add_decayed_weights(options.label_weight_decay)
    return optax.chain(decay, optax.sgd(self._schedule(options.label_learning_rate)))

  def images(self, images: jax.Array) -> jax.Array:
    """Images as the networks take them."""
    return data.normalize(images, *self._statistics)

  def prepare(self, key: jax.Array, batch: Any) -> Any:
    """Augments a batch's images; fixed labels, where there are any, become probabilities."""
    crop_key, flip_key = jax.random.split(key)
    images, options = batch["image"], self._config.multi_task
    if options.crop_padding:
      images = data.random_crop(crop_key, images, options.crop_padding)
    if options.flip:
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
    gamma = self._config.multi_task.gamma
    hard = {t: jax.nn.one_hot(batch[t], size) for t, size in self.primary.items()}
    found = [losses.focal(outputs[t], target, gamma).mean() for t, target in hard.items()]
    used = {}
    for a in self.auxiliary:
      soft = batch[AUXILIARY][a]
      own = jnp.arange(soft.shape[-1]) < model_state["sizes"][a]
      found.append(losses.focal(jnp.where(own, outputs[a], _NEVER), soft, gamma).mean())
      highest = jax.nn.one_hot(soft.argmax(-1), soft.shape[-1], dtype=bool)
      used[a] = model_state["used"][a] | (highest & (soft > 0)).any(axis=0)
    right = jnp.stack([jnp.mean(most_likely(outputs[t]) == batch[t]) for t in self.primary])
    return jnp.stack(found), training.Aux(
      model_state={**model_state, **updated, "used": used}, metrics={"train_accuracy": right}
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

  def generate(self, state: Any, batch: Any) -> dict[str, jax.Array]:
    """Labels of normalised images and their primary classes, by a label network's state."""
    variables = {"params": state.params, "batch_stats": state.model_state["batch_stats"]}
    return self._masked(self.labeller.apply(variables, batch["image"]), state.model_state, batch)

  def cosine(self, state: training.TrainState, batch: Any) -> dict[str, jax.Array]:
    """Of the gradients of all primary and of all auxiliary losses, for the backbone.

    `cosine` of the backbone as a whole, and `filter_cosine`, as in the paper, the mean over the
    filters of all convolutions of each one's own.
    """
    count = len(self.primary)

    def two(backbone: Any) -> jax.Array:
      params = {**state.params, "backbone": backbone}
      found, _ = self.losses_fn(params, state.model_state, batch, state.key)
      return jnp.stack([found[:count].sum(), found[count:].sum()])

    _, grads = jaxmtl.task_value_and_grad(two)(state.params["backbone"])
    whole = jaxmtl.cosine_matrix(jaxmtl.gramian(grads))[0, 1]
    return {"cosine": whole, "filter_cosine": filter_cosine(grads)}

  def predict(self, variables: Any, batch: Any) -> Any:
    """Logits by task of a batch's uint8 images."""
    return self.model.apply(network_of(variables), self.images(batch["image"]))

  def encode(self, variables: Any, batch: Any) -> Any:
    """The backbone's features `[B, D]` of a batch's uint8 images."""
    images = self.images(batch["image"])
    return self.model.apply(network_of(variables), images, method="encode")

  def label(self, variables: Any, batch: Any) -> dict[str, jax.Array]:
    """Generated labels of a batch's uint8 images, `[B, classes]` by auxiliary task."""
    label = variables["label"]
    logits = self.labeller.apply(network_of(label), self.images(batch["image"]))
    return self._masked(logits, label, batch)

  def _widths(self) -> dict[str, int]:
    return {a: spec.width for a, spec in self.auxiliary.items()}

  def _heads(self, widths: Mapping[str, int]) -> dict[str, nn.Module]:
    hidden, dense = self._config.networks.head_width, self._config.network.dense
    return {task: task_head(width, hidden, dense) for task, width in widths.items()}

  def _schedule(self, rate: float) -> optax.Schedule:
    transition = self._config.multi_task.halve_every * self._steps
    return optax.exponential_decay(rate, transition, 0.5, staircase=True)

  def _blank(self) -> jax.Array:
    return self.images(jnp.zeros((2, *self._shape), jnp.uint8))

  def _masked(self, logits: Any, model_state: Any, tasks: Any) -> dict[str, jax.Array]:
    return {
      a: labels.mask_softmax(logits[a], tasks[spec.primary], model_state["psi"][a])
      for a, spec in self.auxiliary.items()
    }


def filter_cosine(grads: Any) -> jax.Array:
  """The mean over filters of the cosine of both tasks' gradients `[2, ..., inputs, filters]`.

  Units of linear layers count as filters, vectors have none; a filter without a gradient of one
  task counts as 0.
  """
  found = []
  for leaf in jax.tree.leaves(grads):
    if leaf.ndim > 2:
      first, second = leaf.reshape(2, -1, leaf.shape[-1])
      norms = jnp.linalg.norm(first, axis=0) * jnp.linalg.norm(second, axis=0)
      inner = (first * second).sum(axis=0)
      found.append(jnp.where(norms > 0, inner / jnp.where(norms > 0, norms, 1), 0))
  return jnp.concatenate(found).mean()
