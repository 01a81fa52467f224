"""The values that experiments are made of: a problem, a recipe, a job, and what it gave."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import optax

from experiments.runner.feeds import Feed
from experiments.runner.fingerprint import fingerprint
from jaxmtl import models, training

PyTree = Any
Examples = Any
"""Arrays by name with the same leading axis, or a source of examples, see `training.batches_of`."""


class Problem(NamedTuple):
  """What is learned, by one run: no seeds and no devices in here.

  Attributes:
    tasks: their names, in the order of the losses.
    init: `(key, setting) -> variables`: `params`, and what else goes into the model's state.
    losses_fn: as `train_step`'s.
    prepare: `(key, batch) -> batch`, on the device, before a step: augmentation, normalization.
    predict: `(variables, batch) -> outputs`, of a batch that was not prepared.
    metrics: what is measured of these outputs, by name.
    shared: as `train_step`'s.
    own_batches: as `train_step`'s.
    describe: what rebuilds the network from its weights alone, for JSON; empty where nothing can.
    measured_at_once: examples of a batch that is measured; fewer where each is much.
  """

  tasks: tuple[str, ...]
  init: Callable[[Any, Any], PyTree]
  losses_fn: Callable[..., Any]
  prepare: Callable[[Any, Any], Any]
  predict: Callable[[PyTree, Any], Any]
  metrics: Mapping[str, training.Metric]
  shared: Callable[[PyTree], PyTree] = models.shared_mask
  own_batches: bool = False
  describe: Mapping[str, Any] = {}
  measured_at_once: int = 250


class Recipe(NamedTuple):
  """How it is trained.

  Attributes:
    optimizer: of the number of steps in all.
    epochs: the last one.
    open_ended: whether the first epochs are the same however many follow, so that a finished run
      can be trained on: a schedule that does not look at the end.
  """

  optimizer: Callable[[int], optax.GradientTransformation]
  epochs: int
  open_ended: bool = False


class Selection(NamedTuple):
  """Which weights count: those after the epoch that is best on the validation part, run by run.

  Attributes:
    score: `row -> [runs]`, of what was measured by part, the higher the better.
    patience: epochs without a better one of any run after which training ends.
  """

  score: Callable[[Mapping[str, Any]], Any]
  patience: int


class Update(Protocol):
  """A train step, of whatever state: `training.TrainStep`, or a `Phase`."""

  @property
  def update(self) -> Callable[[Any, Any], tuple[Any, dict[str, Any]]]:
    """`(state, batch) -> (state, metrics)`."""

  @property
  def pairs(self) -> bool:
    """Whether a batch is a pair of batches."""


class Phase(NamedTuple):
  """A part of each epoch in which a part of the state learns: one pass over the feed.

  Attributes:
    update: `(state, batch) -> (state, metrics)`, of the whole state.
    clock: the part of a state whose `key` and `step` say where this phase is.
    pairs: whether a batch is a pair of batches.
  """

  update: Callable[[Any, Any], tuple[Any, dict[str, Any]]]
  clock: Callable[[Any], Any]
  pairs: bool = False


def fresh_state(update: Any, key: Any, variables: Mapping[str, Any]) -> Any:
  """A `training.TrainStep`'s state at the start; what is no parameter is the model's state."""
  model_state = {name: tree for name, tree in variables.items() if name != "params"}
  return update.init(variables["params"], key, {"batch_stats": {}, **model_state})


def nothing(state: Any, measured: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
  """After an epoch nothing changes."""
  del measured
  return state, {}


@dataclasses.dataclass(frozen=True)
class Job:
  """One training: some runs of one problem, one method and one recipe, all compiled together.

  Attributes:
    name: of its folder.
    problem: what is learned.
    update: what a step does; `methods.update_of` makes it of a method. Several are phases: an epoch
      is a pass over the feed by each, one after the other, and a step counts once for each.
    feed: where batches come from.
    recipe: how it is trained.
    identity: what its outcome depends on, for JSON, and nothing else: it is found again by it. The
      name, the data's fingerprint, seeds and, where the recipe is not open-ended, epochs need not
      be named.
    parts: data by name: "validation" is measured after epochs, "test" once at the end.
    seeds: one a run.
    settings: a pytree with leading axis of runs that `problem.init` gets a row of: sweeps, folds.
    start: `(update, key, variables) -> state`.
    weights: `variables -> variables`, on the host, both with a leading axis of runs: what the first
      ones become before training: of a file, or of another job.
    after_epoch: `(state, measured) -> (state, metrics)`; what was measured, by part.
    variables: what the network needs of a state, nested dicts: measured, and kept in a file.
    selection: which weights are kept and measured at the end; the last ones where None. Jobs depend
      on it, so that `identity` must tell it.
  """

  name: str
  problem: Problem
  update: Update | tuple[Phase, ...]
  feed: Feed
  recipe: Recipe
  identity: Mapping[str, Any]
  parts: Mapping[str, Examples] = dataclasses.field(default_factory=dict)
  seeds: Sequence[int] = (0,)
  settings: PyTree = None
  start: Callable[[Any, Any, Any], Any] = fresh_state
  weights: Callable[[PyTree], PyTree] | None = None
  after_epoch: Callable[[Any, Mapping[str, Any]], tuple[Any, dict[str, Any]]] = nothing
  variables: Callable[[Any], PyTree] = training.variables_of
  selection: Selection | None = None

  @property
  def phases(self) -> tuple[Update, ...]:
    """The updates, one after the other in each epoch."""
    # A `TrainStep` is a tuple itself.
    single = hasattr(self.update, "update")
    return (self.update,) if single else self.update  # type: ignore[return-value]

  @functools.cached_property
  def data_fingerprint(self) -> str:
    """What tells its data from others: under one name or path may lie what has changed."""
    return fingerprint({"train": self.feed.content, **self.parts})

  @property
  def steps_per_epoch(self) -> int:
    """Of all phases."""
    return len(self.phases) * self.feed.steps

  @property
  def steps(self) -> int:
    """Of the whole training."""
    return self.recipe.epochs * self.steps_per_epoch


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a job gave.

  Attributes:
    name: of the job.
    tasks: of the problem.
    values: on the test part after the last epoch, by metric and task, float `[runs]`.
    history: a row each time something was logged, with `step`, `epoch`, `seconds`, the means of the
      step's metrics, and by part what was measured.
    ms_per_step: median over rows of the time of a step of all runs together, compilation apart.
    compile_seconds: what compilation took, of the calls that trained it.
    minutes: steps and compilation; evaluation apart.
    failure: why training ended early, or None.
    folder: where its files are.
  """

  name: str
  tasks: tuple[str, ...]
  values: dict[str, dict[str, np.ndarray]]
  history: list[dict[str, Any]]
  ms_per_step: float
  compile_seconds: float
  minutes: float
  failure: str | None
  folder: pathlib.Path

  @property
  def epochs(self) -> np.ndarray:
    """The epochs of the rows."""
    return np.array([row["epoch"] for row in self.history])

  def curve(self, *path: str) -> np.ndarray:
    """A number of each row, `[runs, rows, ...]`: `curve("validation", "accuracy", "left")`.

    Empty, `[0]`, where no row has it; `epochs_of` says which rows have.
    """
    found = [np.asarray(value, float) for _, value in self._measured(path)]
    return np.stack(found, axis=1) if found else np.empty(0)

  def epochs_of(self, *path: str) -> np.ndarray:
    """The epochs of a curve, of those rows that have this number or anything below this name."""
    return np.array([epoch for epoch, _ in self._measured(path)], float)

  def _measured(self, path: tuple[str, ...]) -> list[tuple[float, Any]]:
    """Epoch and value of the rows that have it."""
    found = []
    for row in self.history:
      value: Any = row
      for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
      if value is not None:
        found.append((row["epoch"], value))
    return found

  def by_task(self, *path: str) -> dict[str, np.ndarray]:
    """A curve of each task, `[runs, rows]`, by name; of a metric, or of an array's last axis."""
    whole: Any = self.history[-1] if self.history else {}
    for name in path:
      whole = whole.get(name, {}) if isinstance(whole, Mapping) else {}
    if isinstance(whole, Mapping):
      return {task: self.curve(*path, task) for task in whole}
    values = self.curve(*path)
    return {task: values[..., i] for i, task in enumerate(self.tasks)}

  @property
  def variables(self) -> dict[str, Any]:
    """The network's after the last epoch, with a leading axis of runs."""
    return training.load_weights(self.folder / WEIGHTS)

  @property
  def first_variables(self) -> dict[str, Any]:
    """Those of the first run, on the host: on the device each shape would need its program."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], self.variables)


WEIGHTS = "weights.safetensors"
