"""Training of one method, or of a single task, on images with several tasks."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.common import accuracy_fn, fit_or_go_on, init_seeds, ms_per_step
from experiments.multi_digits import TrainingConfig
from jaxmtl import data, losses, models, training
from jaxmtl.aggregation import METHODS as AGGREGATORS
from jaxmtl.aggregation import Aggregator
from jaxmtl.meta import METHODS as BILEVEL
from jaxmtl.weighting import METHODS as LOSS_BASED
from jaxmtl.weighting import Weighting

WEIGHTINGS = {**LOSS_BASED, **BILEVEL}
# Options that a run may change when it goes on from its checkpoints.
_FREE = ("workdir", "data_dir", "checkpoint_every", "methods", "not_counted", "preset")


@dataclasses.dataclass(frozen=True)
class Method:
  """What stands between losses and update: a weighting, an aggregator, or one after the other."""

  weighting: str | None = None
  aggregator: str | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  """Of the weighting, or of the aggregator where there is no weighting."""

  @classmethod
  def parse(cls, name: str) -> Method:
    """Reads `dwa`, `pcgrad` or `dwa+pcgrad`.

    Raises:
      ValueError: for an unknown name; it lists the known ones.
    """
    first, plus, second = name.partition("+")
    if plus and first in WEIGHTINGS and second in AGGREGATORS:
      return cls(first, second)
    if not plus and first in WEIGHTINGS:
      return cls(weighting=first)
    if not plus and first in AGGREGATORS:
      return cls(aggregator=first)
    raise ValueError(
      f"method {name!r} is not known. Known weightings: {', '.join(sorted(WEIGHTINGS))}; known "
      f"aggregators: {', '.join(sorted(AGGREGATORS))}; weighting+aggregator combines two."
    )

  def build(
    self, num_tasks: int, steps_per_epoch: int
  ) -> tuple[Weighting | None, Aggregator | None]:
    """Both transforms; epochs are told to those that count them."""
    weighting = aggregator = None
    if self.weighting:
      make = WEIGHTINGS[self.weighting]
      counts = "steps_per_epoch" in inspect.signature(make).parameters
      epochs = {"steps_per_epoch": steps_per_epoch} if counts else {}
      weighting = make(num_tasks, **epochs, **self.options)
    if self.aggregator:
      options = {} if self.weighting else self.options
      aggregator = AGGREGATORS[self.aggregator](num_tasks, **options)
    return weighting, aggregator


@dataclasses.dataclass
class Outcome:
  """What one training gave.

  Attributes:
    accuracy: test accuracy in per cent by task, `[seeds]`; NaN where training diverged.
    curves: validation accuracy in per cent by task, `[seeds, epochs]`.
    ms_per_step: of all seeds together.
    failure: why training ended early, or None.
    weights: task weights by task, mean over each epoch's steps, `[seeds, epochs]`.
  """

  accuracy: dict[str, np.ndarray]
  curves: dict[str, np.ndarray]
  ms_per_step: float
  failure: str | None = None
  weights: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


class _Network(NamedTuple):
  """A network for some tasks, its variables at the start, `[seeds, ...]`, and how it is tested."""

  tasks: tuple[str, ...]
  model: models.MultiHead
  variables: Any
  accuracy: Callable[..., dict[str, jax.Array]]


class Trainer:
  """Trains methods on the same data, from the same parameters, in the same order."""

  def __init__(
    self,
    config: TrainingConfig,
    parts: data.TaskSplits,
    folder: pathlib.Path,
    optimizer: Callable[[optax.Schedule], optax.GradientTransformation] = optax.adam,
  ):
    """Puts the training images on the device.

    Args:
      config: the experiment's options.
      parts: the data.
      folder: where checkpoints and metrics go, one folder a run.
      optimizer: of a learning-rate schedule.
    """
    self._config, self._parts, self._folder = config, parts, folder
    self._optimizer = optimizer
    self._statistics = data.channel_statistics(parts.train.images)
    images = data.normalize(jnp.asarray(parts.train.images), *self._statistics)
    self._train = {"image": images} | {t: jnp.asarray(y) for t, y in parts.train.labels.items()}
    self._batch_size = min(config.batch_size, len(images))
    self._steps = len(images) // self._batch_size
    self._networks: dict[tuple[str, ...], _Network] = {}

  def train(self, name: str, method: Method, tasks: Sequence[str]) -> Outcome:
    """Trains one network a seed, all seeds together, and tests what the last epoch left.

    Args:
      name: of the run, and of its folder.
      method: how tasks are combined.
      tasks: which ones the network learns.

    Returns:
      The outcome. Where a loss or gradient stopped being finite, its `failure` says so: one method
      that diverges should not take the others' table away.

    Raises:
      ValueError: if the folder holds checkpoints of another configuration.
    """
    config, tasks = self._config, tuple(tasks)
    network = self._network(tasks)
    weighting, aggregator = method.build(len(tasks), self._steps)
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.epochs * self._steps)
    step = training.train_step(
      _losses_fn(network.model, tasks),
      self._optimizer(schedule),
      len(tasks),
      weighting=weighting,
      aggregator=aggregator,
      shared=models.shared_mask,
    )

    def init(key: jax.Array, variables: Any) -> training.TrainState:
      return step.init(variables["params"], key, {"batch_stats": variables.get("batch_stats", {})})

    # The epoch donates its state, so it must not get the variables themselves.
    fresh = jax.tree.map(jnp.copy, network.variables)
    epoch = jax.jit(
      jax.vmap(
        training.scan_epoch(step.update, self._batch_size, pairs=step.pairs), in_axes=(0, None)
      ),
      donate_argnums=0,
    )
    identity = dataclasses.asdict(config) | {"run": name}
    history: list[dict[str, Any]]
    try:
      state, history = fit_or_go_on(
        self._folder / name,
        {k: v for k, v in identity.items() if k not in _FREE},
        init_seeds(init, config.seed, config.seeds, fresh),
        lambda s: epoch(s, self._train),
        config.epochs,
        name=name,
        evaluate=lambda s: {"validation_accuracy": self._accuracy(network, s, "validation")},
        checkpoint_every=config.checkpoint_every,
        task_names=tasks,
      )
    except training.TrainingDiverged as error:
      print(f"{name} diverged: {error}")
      unknown = np.full(config.seeds, np.nan)
      return Outcome(dict.fromkeys(tasks, unknown), {}, float("nan"), str(error))
    test = 100 * np.asarray(self._accuracy(network, state, "test"), float)
    curves = 100 * np.stack([row["validation_accuracy"] for row in history], axis=1)
    weights = np.stack([row["weights"] for row in history], axis=1)
    return Outcome(
      {t: test[:, i] for i, t in enumerate(tasks)},
      {t: curves[..., i] for i, t in enumerate(tasks)},
      ms_per_step(history, self._steps),
      weights={t: weights[..., i] for i, t in enumerate(tasks)},
    )

  def train_singles(self, tasks: Sequence[str]) -> Outcome:
    """Trains one network a task, the baselines.

    Raises:
      ValueError: if one of them diverges: nothing could be compared with it.
    """
    singles = {t: self.train(f"single_{t}", Method(), [t]) for t in tasks}
    for task, outcome in singles.items():
      if outcome.failure:
        raise ValueError(f"the baseline of task {task!r} diverged: {outcome.failure}")
    return Outcome(
      {t: outcome.accuracy[t] for t, outcome in singles.items()},
      {t: outcome.curves[t] for t, outcome in singles.items()},
      sum(outcome.ms_per_step for outcome in singles.values()),
    )

  def _network(self, tasks: tuple[str, ...]) -> _Network:
    """Made, and compiled, once for all methods."""
    if tasks not in self._networks:
      config = self._config
      heads: dict[str, nn.Module] = {t: nn.Dense(self._parts.num_classes[t]) for t in tasks}
      model = models.MultiHead(models.create(config.backbone, width=config.width), heads)

      def init(key: jax.Array) -> Any:
        return model.init(key, self._train["image"][:2])

      def predict(variables: Any, images: jax.Array) -> Any:
        return model.apply(variables, data.normalize(images, *self._statistics))

      variables = init_seeds(init, config.seed, config.seeds)
      self._networks[tasks] = _Network(tasks, model, variables, accuracy_fn(predict))
    return self._networks[tasks]

  def _accuracy(self, network: _Network, state: training.TrainState, part: str) -> jax.Array:
    """In 0..1, `[seeds, T]`."""
    examples: data.TaskImages = getattr(self._parts, part)
    by_task = network.accuracy(
      {"params": state.params, **state.model_state},
      examples.images,
      {t: examples.labels[t] for t in network.tasks},
    )
    return jnp.stack([by_task[t] for t in network.tasks], axis=-1)


def _losses_fn(model: models.MultiHead, tasks: tuple[str, ...]) -> Callable[..., Any]:
  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    del key  # no dropout in these networks
    outputs: Any
    outputs, updated = model.apply(
      {"params": params, **model_state}, batch["image"], train=True, mutable=["batch_stats"]
    )
    task_losses = jnp.stack([losses.cross_entropy(outputs[t], batch[t]) for t in tasks])
    right = jnp.stack([jnp.mean(outputs[t].argmax(-1) == batch[t]) for t in tasks])
    return task_losses, training.Aux(
      model_state={**model_state, **updated}, metrics={"train_accuracy": right}
    )

  return losses_fn
