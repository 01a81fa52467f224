"""Training with a regularisation of the shared encoder: DGR, SAM or PTA, under any method."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark_training import Network, Outcome, Trainer
from experiments.common import accuracy_fn, init_seeds
from experiments.methods import Method
from jaxmtl import data, losses, models, regularization, training

if TYPE_CHECKING:
  from experiments.dgr import Config

NONE, DGR, SAM, PTA = "none", "dgr", "sam", "pta"
# Where DGR's constants lie in the model state, and PTA's decoders in the parameters.
_CONSTANTS, _DECODERS = "dgr", "decoders"
# Folded into a run's key for what no task's own head is made of.
_FURTHER = 7
_BATCH = 250


class Setting(NamedTuple):
  """Of DGR's penalty.

  Attributes:
    weight: lambda.
    num_used: how many dummies count.
  """

  weight: float
  num_used: int


class RegularizedTrainer(Trainer):
  """A `Trainer` with heads of one or two layers, and regularisation of the encoder."""

  config: Config

  def heads(self, tasks: Sequence[str]) -> dict[str, nn.Module]:
    """One head a task."""
    return {t: _head(self.config.hidden, self.parts.num_classes[t]) for t in tasks}

  @property
  def num_drawn(self) -> int:
    """Dummies a task: as many as the sweep tries, so that it shares them with the methods."""
    return max(self.config.num_dummies, *self.config.dummy_counts)

  def model(self, tasks: Sequence[str]) -> models.MultiHead:
    """The network."""
    return models.MultiHead(self.config.build_backbone(), self.heads(tasks))

  def network(self, tasks: tuple[str, ...]) -> Network:
    """Without regularisation, as `Trainer.train` wants it."""
    return self._network(tasks, NONE, [Setting(0.0, 1)])

  def train_regularized(
    self, name: str, method: Method, kind: str, settings: Sequence[Setting]
  ) -> Outcome:
    """Trains with `kind` of regularisation on top of a method.

    Args:
      name: of the method.
      method: how tasks are combined.
      kind: DGR, SAM or PTA.
      settings: of DGR; several are trained together, each with the first seed only.

    Returns:
      As `Trainer.train`; for several settings, `[settings]` in place of seeds.
    """
    tasks = tuple(self.config.tasks)
    run = f"{name}+{kind}"
    if kind == DGR:
      run += "".join(f"_{s.weight:g}x{s.num_used}" for s in settings) + f"_of{self.num_drawn}"
    network = self._network(tasks, kind, settings)
    step = self.step(network.losses_fn, len(tasks), method)
    epoch = self.epoch(step, method.swap)
    return self.fit(run, network, _start, step, epoch, tasks, repeat=len(settings))

  def prepare(self, key: jax.Array, batch: Any) -> Any:
    """With random flips where asked for."""
    image = data.random_flip(key, batch["image"]) if self.config.flip else batch["image"]
    return super().prepare(key, batch | {"image": image})

  @functools.cached_property
  def encode(self) -> Callable[[Any, np.ndarray], np.ndarray]:
    """`(variables [seeds, ...], images) -> features [seeds, N, D]`."""
    model = self.model(self.config.tasks)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def of_batch(variables: Any, images: jax.Array) -> Any:
      return model.apply(variables, data.normalize(images, *self.statistics), method="encode")

    def encode(variables: Any, images: np.ndarray) -> np.ndarray:
      cut = data.eval_batches(images, np.zeros(len(images)), min(_BATCH, len(images)))
      network = network_variables(variables)
      found = [np.asarray(of_batch(network, batch), np.float32) for batch in cut.images]
      return np.concatenate(found, axis=1)[:, : len(images)]

    return encode

  @functools.cache  # noqa: B019 (a trainer lives as long as its run)
  def _accuracy(self, tasks: tuple[str, ...]) -> Callable[[training.TrainState, str], jax.Array]:
    """As `Network.accuracy`, compiled once for all kinds of regularisation."""
    model: Any = self.model(tasks)
    count = accuracy_fn(lambda v, x: model.apply(v, data.normalize(x, *self.statistics)))

    def accuracy(state: training.TrainState, part: str) -> jax.Array:
      images, labels = getattr(self.parts, part)
      now = network_variables({"params": state.params, **state.model_state})
      by_task = count(now, images, {t: labels[t] for t in tasks})
      return jnp.stack([by_task[t] for t in tasks], axis=-1)

    return accuracy

  def _network(self, tasks: tuple[str, ...], kind: str, settings: Sequence[Setting]) -> Network:
    config, model, heads = self.config, self.model(tasks), self.heads(tasks)
    images = data.normalize(self.parts.train.images[:2], *self.statistics)

    def init(key: jax.Array, setting: Setting) -> dict[str, Any]:
      variables = dict(model.init(key, images))
      features = model.apply(variables, images, method="encode")
      count = self.num_drawn if kind == DGR else config.num_dummies
      key = jax.random.fold_in(key, _FURTHER)
      further = regularization.dummy_heads(key, heads, features, count)
      if kind == DGR:
        variables[_CONSTANTS] = {"dummies": further, **setting._asdict()}
      if kind == PTA:
        variables["params"] = {**variables["params"], _DECODERS: further}
      return variables

    repeated = [s for s in settings for _ in range(config.seeds)]
    stacked: Any = Setting(*(jnp.array(values) for values in zip(*repeated, strict=True)))  # type: ignore[arg-type]
    variables = init_seeds(init, config.seed, config.seeds, stacked, repeat=len(settings))
    losses_fn = _losses_fn(model, heads, kind, config.estimator)
    if kind == SAM:
      losses_fn = regularization.sam(losses_fn, config.radius)
    return Network(variables, losses_fn, self._accuracy(tasks))


def network_variables(variables: Any) -> dict[str, Any]:
  """What the network needs, without DGR's constants and PTA's decoders."""
  params = {name: tree for name, tree in variables["params"].items() if name != _DECODERS}
  return {"params": params, "batch_stats": variables["batch_stats"]}


def parse(name: str, num_tasks: int) -> Method:
  """A method that takes so many tasks; raises ValueError for others."""
  method = Method.parse(name)
  method.build(num_tasks, 1)
  return method


def _head(hidden: int, classes: int) -> nn.Module:
  if not hidden:
    return nn.Dense(classes)
  return nn.Sequential([nn.Dense(hidden), nn.relu, nn.Dense(classes)])


def _start(step: training.TrainStep, key: jax.Array, variables: Any) -> training.TrainState:
  """The state at the start; what is no parameter is the model's state, DGR's constants too."""
  model_state = {name: tree for name, tree in variables.items() if name != "params"}
  return step.init(variables["params"], key, {"batch_stats": {}} | model_state)


def _losses_fn(
  model: models.MultiHead, heads: Mapping[str, nn.Module], kind: str, estimator: str
) -> Callable[..., Any]:
  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    del key  # no dropout in these networks
    variables = {"params": params, "batch_stats": model_state["batch_stats"]}
    features: Any
    features, updated = model.apply(
      variables, batch["image"], train=True, mutable=["batch_stats"], method="encode"
    )
    outputs: Any = model.apply(variables, features, method="decode")
    found = {t: losses.cross_entropy(outputs[t], batch[t]) for t in heads}
    metrics = {
      "train_accuracy": jnp.stack([jnp.mean(outputs[t].argmax(-1) == batch[t]) for t in heads])
    }
    if kind == DGR:
      constants = model_state[_CONSTANTS]
      norms = regularization.dgr(
        heads,
        constants["dummies"],
        features,
        batch,
        weight=1.0,
        estimator=estimator,  # type: ignore[arg-type]
        num_used=constants["num_used"],
      )
      found = {t: found[t] + constants["weight"] * norms[t] for t in heads}
      metrics["dummy_gradient_norm"] = jnp.stack([norms[t] for t in heads])
    if kind == PTA:
      further = regularization.pta(heads, params[_DECODERS], features, batch)
      found = {t: (found[t] + further[t].sum()) / (1 + len(further[t])) for t in heads}
    # In the order of the tasks: a dict would be sorted.
    aux = training.Aux(model_state={**model_state, **updated}, metrics=metrics)
    return jnp.stack([found[t] for t in heads]), aux

  return losses_fn
