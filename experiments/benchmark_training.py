"""Training of one method, or of a single task, on images with several tasks."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.common import accuracy_fn, fit_or_go_on, init_seeds, ms_per_step
from experiments.methods import Method
from experiments.multi_digits import TrainingConfig
from jaxmtl import data, losses, models, training

# Options that a run may change when it goes on from its checkpoints.
_FREE = (
  *("workdir", "data_dir", "checkpoint_every", "preset", "not_counted"),
  *("methods", "auxiliary_methods", "primaries", "compare", "ablations"),
  *("compared", "compared_on", "weight", "weights", "dummy_counts", "probe_images"),
)


@dataclasses.dataclass
class Outcome:
  """What one training gave.

  Attributes:
    accuracy: test accuracy in per cent by task, `[seeds]`; NaN where training diverged.
    curves: validation accuracy in per cent by task, `[seeds, epochs]`.
    ms_per_step: of all seeds together.
    failure: why training ended early, or None.
    weights: task weights by task, mean over each epoch's steps, `[seeds, epochs]`.
    variables: parameters and model state after the last epoch, `[seeds, ...]`, or None.
  """

  accuracy: dict[str, np.ndarray]
  curves: dict[str, np.ndarray]
  ms_per_step: float
  failure: str | None = None
  weights: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  variables: Any = None


class Network(NamedTuple):
  """A network for some tasks.

  Attributes:
    variables: at the start, `[seeds, ...]`.
    losses_fn: as `train_step`'s.
    accuracy: `(state, part) -> [seeds, T]` in 0..1; `part` is "validation" or "test".
  """

  variables: Any
  losses_fn: Callable[..., Any]
  accuracy: Callable[[training.TrainState, str], jax.Array]


class Trainer:
  """Trains methods on the same data, from the same parameters, in the same order.

  Attributes:
    own_batches: whether each task has images of its own, as in `train_step`.
  """

  own_batches = False

  def __init__(
    self,
    config: TrainingConfig,
    parts: Any,
    folder: pathlib.Path,
    optimizer: Callable[[optax.Schedule], optax.GradientTransformation] = optax.adam,
  ):
    """Measures the training images.

    Args:
      config: the experiment's options.
      parts: the data, a `data.TaskSplits` (other trainers have their own).
      folder: where checkpoints and metrics go, one folder a run.
      optimizer: of a learning-rate schedule.
    """
    self.config, self.parts, self._folder, self._optimizer = config, parts, folder, optimizer
    self.statistics = data.channel_statistics(parts.train.images)
    self.batch_size = min(config.batch_size, len(parts.train.images))
    self.steps = len(parts.train.images) // self.batch_size
    self._networks: dict[tuple[str, ...], Network] = {}

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
    tasks = tuple(tasks)
    if tasks not in self._networks:  # made, and compiled, once for all methods
      self._networks[tasks] = self.network(tasks)
    network = self._networks[tasks]
    step = self.step(network.losses_fn, len(tasks), method)
    return self.fit(name, network, start, step, self.epoch(step, method.swap), tasks)

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
      {t: outcome.curves.get(t, np.empty(0)) for t, outcome in singles.items()},
      sum(outcome.ms_per_step for outcome in singles.values()),
    )

  def network(self, tasks: tuple[str, ...]) -> Network:
    """The architecture for all tasks, a linear head each; one backbone for a single task."""
    config = self.config
    heads: dict[str, nn.Module] = {t: nn.Dense(self.parts.num_classes[t]) for t in tasks}
    architecture = config.architecture if len(tasks) > 1 else "hps"
    options = {"anneal_steps": config.epochs * self.steps} if architecture == "ltb" else {}
    model = models.multi_task(architecture, config.build_backbone(), heads, **options)

    def init(key: jax.Array) -> Any:
      return model.init(key, data.normalize(self.parts.train.images[:2], *self.statistics))

    def predict(variables: Any, images: jax.Array) -> Any:
      return model.apply(variables, data.normalize(images, *self.statistics))

    count = accuracy_fn(predict)

    def accuracy(state: training.TrainState, part: str) -> jax.Array:
      images, labels = getattr(self.parts, part)
      variables = {"params": state.params, **state.model_state}
      by_task = count(variables, images, {t: labels[t] for t in tasks})
      return jnp.stack([by_task[t] for t in tasks], axis=-1)

    variables = init_seeds(init, config.seed, config.seeds)
    return Network(variables, _losses_fn(model, tasks), accuracy)

  def epoch(self, step: training.TrainStep, swap: bool) -> Callable[[Any], Any]:
    """`states [seeds, ...] -> (states, metrics)`."""
    images, labels = self.parts.train
    train = {"image": jnp.asarray(images)} | {t: jnp.asarray(y) for t, y in labels.items()}

    one_pass = scan(step, self.batch_size, self.prepare, swap)
    epoch = jax.jit(jax.vmap(one_pass, in_axes=(0, None)), donate_argnums=0)
    return lambda states: epoch(states, train)

  def prepare(self, key: jax.Array, batch: Any) -> Any:
    """What a step gets of uint8 images; one that changes them at random may override it."""
    del key
    return batch | {"image": data.normalize(batch["image"], *self.statistics)}

  def step(self, losses_fn: Callable[..., Any], num_tasks: int, method: Method) -> Any:
    """The train step of a method."""
    weighting, aggregator = method.build(num_tasks, self.steps)
    total = self.config.epochs * self.steps
    return training.train_step(
      losses_fn,
      self._optimizer(optax.cosine_decay_schedule(self.config.learning_rate, total)),
      num_tasks,
      weighting=weighting,
      aggregator=aggregator,
      shared=models.shared_mask,
      own_batches=self.own_batches,
    )

  def fit(
    self,
    name: str,
    network: Network,
    start: Callable[..., training.TrainState],
    step: training.TrainStep,
    run_epoch: Callable[[Any], Any],
    tasks: tuple[str, ...],
    repeat: int = 1,
  ) -> Outcome:
    """Trains, or goes on, and tests; as `train`, with `start(step, key, variables) -> state`.

    With `repeat` there are so many settings, each with all seeds, one after the other.
    """
    config = self.config
    # The epoch donates its state, so it must not get the variables themselves.
    fresh = jax.tree.map(jnp.copy, network.variables)
    init = functools.partial(start, step)
    identity = dataclasses.asdict(config) | {"run": name}

    def evaluate(state: training.TrainState) -> dict[str, jax.Array]:
      return {"validation_accuracy": network.accuracy(state, "validation")}

    history: list[dict[str, Any]]
    try:
      state, history = fit_or_go_on(
        self._folder / name,
        {k: v for k, v in identity.items() if k not in _FREE},
        init_seeds(init, config.seed, config.seeds, fresh, repeat=repeat),
        run_epoch,
        config.epochs,
        name=name,
        evaluate=None if self.parts.validation is None else evaluate,
        checkpoint_every=config.checkpoint_every,
        task_names=tasks,
      )
    except training.TrainingDiverged as error:
      print(f"{name} diverged: {error}")
      unknown = np.full(config.seeds * repeat, np.nan)
      return Outcome(dict.fromkeys(tasks, unknown), {}, float("nan"), str(error))

    def by_task(key: str, factor: float) -> dict[str, np.ndarray]:
      if key not in history[0]:
        return {}
      values = factor * np.stack([row[key] for row in history], axis=1)
      return {t: values[..., i] for i, t in enumerate(tasks)}

    test = 100 * np.asarray(network.accuracy(state, "test"), float)
    return Outcome(
      {t: test[:, i] for i, t in enumerate(tasks)},
      by_task("validation_accuracy", 100),
      ms_per_step(history, self.steps),
      weights=by_task("weights", 1),
      variables={"params": state.params, **state.model_state},
    )


def start(step: training.TrainStep, key: jax.Array, variables: Any) -> training.TrainState:
  """The state of a network at the start."""
  return step.init(variables["params"], key, {"batch_stats": variables.get("batch_stats", {})})


def scan(step: training.TrainStep, batch_size: int, prepare: Any, swap: bool = True) -> Any:
  """An epoch of a step; without swapping, both batches of a pair are the same."""
  if swap or not step.pairs:
    return training.scan_epoch(step.update, batch_size, prepare, pairs=step.pairs)
  return training.scan_epoch(lambda s, batch: step.update(s, (batch, batch)), batch_size, prepare)


def _losses_fn(model: models.Architecture, names: tuple[str, ...]) -> Callable[..., Any]:
  def losses_fn(
    params: Any, model_state: Any, batch: Any, key: jax.Array, tasks: jax.Array | None = None
  ) -> Any:
    outputs: Any
    outputs, updated = model.apply(
      {"params": params, **model_state},
      batch["image"],
      train=True,
      mutable=["batch_stats", models.PENALTIES],
      rngs={"dropout": key},
    )
    task_losses = jnp.stack([losses.cross_entropy(outputs[t], batch[t]) for t in names])
    task_losses += models.task_penalties(updated, names)
    right = jnp.stack([jnp.mean(outputs[t].argmax(-1) == batch[t]) for t in names])
    drawn = task_losses if tasks is None else task_losses[tasks]
    return drawn, training.Aux(
      model_state={**model_state, **{k: v for k, v in updated.items() if k in model_state}},
      metrics={"train_accuracy": right},
    )

  return losses_fn
