"""Training of all runs of a method together: one a setting and seed."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import accuracy_fn, fit_or_go_on, init_seeds, ms_per_step
from experiments.maxl_config import Config
from experiments.maxl_network import AUXILIARY, Auxiliary, Networks
from jaxmtl import data, meta, training

# Options that a run may change when it goes on from its checkpoints.
FREE = ("workdir", "data_dir", "checkpoint_every", "methods", "preset")


class Outcome(NamedTuple):
  """What one method gave.

  Attributes:
    accuracy: test accuracy in per cent by primary task, `[runs]`.
    curves: by name, `[runs, epochs]`: `train_accuracy` and `validation_accuracy` of the first
      primary task and `labels_in_use` in per cent, `cosine` of auxiliary and primary gradient, and
      `entropy` of generated labels, negative.
    ms_per_step: of all runs together.
    state: the last one; of generated labels a `Both`.
  """

  accuracy: dict[str, np.ndarray]
  curves: dict[str, np.ndarray]
  ms_per_step: float
  state: Any


@flax.struct.dataclass
class Both:
  """The states of the multi-task network and of the label network."""

  network: training.TrainState
  label: meta.LabelState

  @property
  def step(self) -> jax.Array:
    """Steps of the multi-task network."""
    return self.network.step


class Trainer:
  """Trains methods on the same data, from the same parameters, in the same order."""

  def __init__(
    self,
    config: Config,
    parts: data.TaskSplits,
    primary: Mapping[str, int],
    auxiliary: Mapping[str, Auxiliary],
    folder: pathlib.Path,
  ):
    """Puts the training images on the device.

    Args:
      config: the experiment's options.
      parts: the data.
      primary: number of classes by primary task.
      auxiliary: the auxiliary tasks by name.
      folder: where checkpoints and metrics go, one folder a method.
    """
    self._config, self._parts, self._folder = config, parts, folder
    count = len(parts.train.images)
    self._batch_size = count // -(-count // config.batch_size)
    self._steps = count // self._batch_size
    statistics = data.channel_statistics(parts.train.images)
    self.networks = Networks(config, primary, auxiliary, statistics, self._steps)
    self._train = {"image": jnp.asarray(parts.train.images)} | {
      t: jnp.asarray(parts.train.labels[t]) for t in primary
    }
    num_tasks = len(primary) + len(auxiliary)
    networks = self.networks
    self._step = training.train_step(networks.losses_fn, networks.optimizer(), num_tasks)
    self._accuracy = accuracy_fn(networks.predict)
    one_pass = training.scan_epoch(self._step.update, self._batch_size, networks.prepare)
    self._starts: dict[int, training.TrainState] = {}
    self._axes = dict.fromkeys(self._train)
    self._fixed_epoch = self._compiled(networks.epoch(one_pass), {**self._axes, AUXILIARY: 0})
    self._cosine = jax.jit(
      jax.vmap(networks.cosine, in_axes=(0, {**self._axes, AUXILIARY: 0})),
    )
    self._encode = jax.jit(networks.encode)
    self._generate = jax.jit(jax.vmap(networks.generate, in_axes=(0, None, None)))

  def train_fixed(
    self, name: str, ids: Mapping[str, np.ndarray], sizes: Mapping[str, np.ndarray]
  ) -> Outcome:
    """Trains with given auxiliary labels.

    Args:
      name: of the method, and of its folder.
      ids: by auxiliary task int `[runs, num_examples]`; -1 for none, which adds nothing.
      sizes: by auxiliary task, how many of its classes each run has, int `[runs]`.

    Returns:
      The outcome.
    """
    given = {a: jnp.asarray(values) for a, values in ids.items()}
    few = {a: values[:, : self._batch_size] for a, values in given.items()}
    probe = self.networks.as_labels({**self._probe(), AUXILIARY: few})
    labelled = any((values >= 0).any() for values in ids.values())
    return self._fit(
      name,
      self._fresh(sizes),
      lambda s: self._fixed_epoch(s, {**self._train, AUXILIARY: given}),
      lambda s: s,
      lambda s: {"cosine": self._cosine(s, probe)} if labelled else {},
    )

  def train_generated(
    self,
    name: str,
    psi: Mapping[str, np.ndarray],
    entropy_weight: float,
  ) -> Outcome:
    """Trains with labels that a second network learns to generate (MAXL).

    Args:
      name: of the method, and of its folder.
      psi: by auxiliary task int `[runs, primary classes]`, its classes within each primary class.
      entropy_weight: weight of the labels' negative entropy.

    Returns:
      The outcome.
    """
    networks = self.networks
    label_network = meta.maxl(
      networks.losses_fn,
      networks.generate_fn,
      networks.optimizer(),
      networks.label_optimizer(),
      primary=range(len(networks.primary)),
      entropy_weight=entropy_weight,
      name=AUXILIARY,
    )

    def init(key: jax.Array, psi: Any) -> meta.LabelState:
      key = jax.random.fold_in(key, 1)  # another stream than the multi-task network's
      variables = networks.labeller.init(key, networks.images(self._train["image"][:2]))
      state = {"batch_stats": variables.get("batch_stats", {}), "psi": psi}
      return label_network.init(variables["params"], key, state)

    def epoch(state: Both, examples: Any) -> tuple[Both, dict[str, Any]]:
      def learn(network: training.TrainState, batch: Any) -> Any:
        return self._step.update(network, label_network.add_labels(state.label, batch))

      one_pass = training.scan_epoch(learn, self._batch_size, networks.prepare)
      network, metrics = networks.epoch(one_pass)(state.network, examples)

      def teach(label: Any, batch: Any) -> Any:
        return label_network.update(label, network, batch)

      # Another pass in another order: the label state has a key of its own.
      label: Any
      label, found = training.scan_epoch(teach, self._batch_size, networks.prepare)(
        state.label, examples
      )
      found = {"meta_loss": found["loss"], "entropy": found["entropy"]}
      return Both(network, label), metrics | found

    def measure(state: Both) -> dict[str, Any]:
      batch = self._probe()
      soft = self._generate(state.label, batch["image"], batch)
      return {"cosine": self._cosine(state.network, {**batch, AUXILIARY: soft})}

    label = self._init_runs(init, psi)
    compiled = self._compiled(epoch, self._axes)
    return self._fit(
      name,
      Both(self._fresh({a: values.sum(-1) for a, values in psi.items()}), label),
      lambda s: compiled(s, self._train),
      lambda s: s.network,
      measure,
    )

  def labels_of(self, state: Both, examples: data.TaskImages) -> dict[str, np.ndarray]:
    """Generated labels of a data set, by auxiliary task `[runs, N, classes]`."""
    found = []
    for first in range(0, len(examples.images), 250):
      rows = slice(first, first + 250)
      tasks = {t: jnp.asarray(examples.labels[t][rows]) for t in self.networks.primary}
      images = self.networks.images(jnp.asarray(examples.images[rows]))
      found.append(self._generate(state.label, images, tasks))
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *found)

  def features(self, state: training.TrainState, run: int, images: np.ndarray) -> np.ndarray:
    """The backbone's features `[N, D]` of uint8 images, of one run."""
    variables = {"params": state.params, "batch_stats": state.model_state["batch_stats"]}
    return np.asarray(self._encode(jax.tree.map(lambda leaf: leaf[run], variables), images))

  def _fresh(self, sizes: Mapping[str, np.ndarray]) -> training.TrainState:
    """The states at the start, compiled once for all methods with so many runs."""
    networks, runs = self.networks, len(next(iter(sizes.values())))

    def init(key: jax.Array, sizes: Any) -> training.TrainState:
      variables = networks.model.init(key, networks.images(self._train["image"][:2]))
      state = {"batch_stats": variables.get("batch_stats", {}), "sizes": sizes}
      return self._step.init(variables["params"], key, state)

    if runs not in self._starts:
      self._starts[runs] = self._init_runs(init, sizes)
    # Copies, since the epoch donates its state.
    state = jax.tree.map(jnp.copy, self._starts[runs])
    own = {a: jnp.asarray(values) for a, values in sizes.items()}
    return dataclasses.replace(state, model_state={**state.model_state, "sizes": own})

  def _init_runs(self, init: Callable[..., Any], given: Mapping[str, np.ndarray]) -> Any:
    """Runs `init(key, given)` for all runs, seeds one after the other within a setting."""
    config, on_device = self._config, {a: jnp.asarray(values) for a, values in given.items()}
    repeat = len(next(iter(on_device.values()))) // config.seeds
    return init_seeds(init, config.seed, config.seeds, on_device, repeat=repeat)

  def _compiled(self, epoch: Callable[..., Any], axes: Any) -> Callable[..., Any]:
    return jax.jit(jax.vmap(epoch, in_axes=(0, axes)), donate_argnums=0)

  def _probe(self) -> dict[str, jax.Array]:
    """The first training images, on which gradients are compared."""
    rows = {name: values[: self._batch_size] for name, values in self._train.items()}
    return {**rows, "image": self.networks.images(rows["image"])}

  def _test(self, state: training.TrainState, examples: data.TaskImages) -> dict[str, jax.Array]:
    variables = {"params": state.params, "batch_stats": state.model_state["batch_stats"]}
    wanted = {t: examples.labels[t] for t in self.networks.primary}
    return self._accuracy(variables, examples.images, wanted)

  def _fit(
    self,
    name: str,
    state: Any,
    run_epoch: Callable[[Any], Any],
    network_of: Callable[[Any], training.TrainState],
    measure: Callable[[Any], dict[str, Any]],
  ) -> Outcome:
    config, primary = self._config, list(self.networks.primary)
    identity = dataclasses.asdict(config) | {"run": name}

    def after_epoch(state: Any) -> dict[str, Any]:
      values = measure(state)
      if self._parts.validation is not None:
        found = self._test(network_of(state), self._parts.validation)
        values["validation_accuracy"] = found[primary[0]]
      return values

    state, history = fit_or_go_on(
      self._folder / name,
      {k: v for k, v in identity.items() if k not in FREE},
      state,
      run_epoch,
      config.epochs,
      name=name,
      evaluate=after_epoch,
      checkpoint_every=config.checkpoint_every,
      task_names=[*primary, *self.networks.auxiliary],
    )
    # The test set is looked at here, once.
    accuracy = self._test(network_of(state), self._parts.test)
    return Outcome(
      {t: 100 * np.asarray(values, float) for t, values in accuracy.items()},
      _curves(history),
      ms_per_step(history, self._steps),
      state,
    )


def _curves(history: list[dict[str, Any]]) -> dict[str, np.ndarray]:
  scale = {"cosine": 1, "entropy": 1, "validation_accuracy": 100, "labels_in_use": 100}
  curves = {
    name: factor * np.stack([row[name] for row in history], axis=1)
    for name, factor in scale.items()
    if name in history[-1]
  }
  accuracy = np.stack([row["train_accuracy"] for row in history], axis=1)
  return curves | {"train_accuracy": 100 * accuracy[..., 0]}
