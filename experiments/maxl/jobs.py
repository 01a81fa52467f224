"""The trainings of the comparison: one a method, its runs all hierarchies and seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.maxl import generated
from experiments.maxl.auto_encoder import auto_encoder_job, latent_codes
from experiments.maxl.comparison import Comparison
from experiments.maxl.config import Config
from experiments.maxl.labels import fixed_labels
from experiments.maxl.network import AUXILIARY, Auxiliary, Networks
from experiments.maxl.probe import Probe
from experiments.problems.images import ImageTasks
from experiments.problems.pretrained import first_weights
from experiments.runner.config import flat, identity_of
from experiments.runner.feeds import DeviceFeed
from experiments.runner.job import Job, Outcome, Recipe, nothing
from experiments.runner.methods import Method, changes_of, combining, update_of

Labels = Mapping[str, np.ndarray]


class Bench:
  """What jobs with the same tasks share: networks, images on the device, the recipe."""

  def __init__(
    self,
    config: Config,
    images: ImageTasks,
    primary: Mapping[str, int],
    auxiliary: Mapping[str, Auxiliary],
  ):
    """Takes the options, the data, and the tasks, auxiliary ones with the width of their heads."""
    train = images.parts["train"]
    count = len(train["image"])
    self._config, self._images = config, images
    self._batch_size = count // -(-count // config.training.batch_size)
    # On the device once for all jobs.
    self._train = {name: jnp.asarray(train[name]) for name in ("image", *primary)}
    steps = count // self._batch_size
    self.networks = Networks(config, primary, auxiliary, images, steps)
    self._recipe = Recipe(
      lambda _: self.networks.optimizer(), config.training.epochs, open_ended=True
    )
    self._weights = first_weights(config.network, images.shape)
    self._probe = Probe(self.networks, self._train, self._batch_size)
    self._fixed, self._generated = (self.networks.problem(g) for g in (False, True))
    self._step = update_of(Method(), self._fixed, self._recipe, steps)
    self._combine = combining(config.combine, len(self._fixed.tasks))
    self._combined = update_of(self._combine, self._fixed, self._recipe, steps)

  def fixed(
    self,
    name: str,
    seeds: Sequence[int],
    settings: Mapping[str, Labels],
    labels: Callable[[], Labels],
    identity: Mapping[str, Any],
  ) -> Job:
    """A training with given auxiliary labels.

    Args:
      name: of the method.
      seeds: one a run.
      settings: `sizes`, by auxiliary task, how many of its classes each run has, int `[runs]`; the
        same object for all jobs that start alike.
      labels: gives them by auxiliary task, int `[runs, N]`; -1 for none, which adds nothing.
      identity: what they depend on.
    """
    labelled = bool(self.networks.auxiliary)
    own = (lambda: {AUXILIARY: dict(labels())}) if labelled else None
    return Job(
      name=name,
      problem=self._fixed,
      update=self._combined,
      feed=DeviceFeed(self._train, self._batch_size, own=own),
      identity={**self._identity, **identity, **changes_of(self._combine)},
      seeds=seeds,
      settings=settings,
      after_epoch=self._probe.of_given(labels) if labelled else nothing,
      weights=self._weights,
      recipe=self._recipe,
      parts=self._parts,
    )

  def generated(
    self,
    name: str,
    seeds: Sequence[int],
    settings: Mapping[str, Labels],
    entropy_weight: float,
    identity: Mapping[str, Any],
  ) -> Job:
    """A training with labels that a second network learns to generate (MAXL).

    Args:
      name: of the method.
      seeds: one a run.
      settings: `sizes`, and `psi`, by auxiliary task, its classes within each primary class, int
        `[runs, primary classes]`; the same object for all jobs that start alike.
      entropy_weight: weight of the labels' negative entropy.
      identity: what psi depends on.
    """
    phases, start = generated.phases(self.networks, self._step, entropy_weight)
    of_labels = flat(self._config.labels) | {"entropy_weight": entropy_weight}
    return Job(
      name=name,
      problem=self._generated,
      update=phases,
      feed=DeviceFeed(self._train, self._batch_size),
      identity={**self._identity, **identity, **of_labels},
      seeds=seeds,
      settings=settings,
      start=start,
      weights=generated.both(self._weights),
      after_epoch=self._probe.of_generated(),
      variables=generated.variables_of,
      recipe=self._recipe,
      parts=self._parts,
    )

  @property
  def _parts(self) -> dict[str, Any]:
    wanted = ("image", *self.networks.primary)
    return {name: {n: part[n] for n in wanted} for name, part in self._images.measured.items()}

  @property
  def _identity(self) -> dict[str, Any]:
    config = self._config
    return {
      **identity_of(config.data, config.training, config.multi_task, without=("epochs",)),
      **config.network.identity,
      "head_width": config.networks.head_width,
      "data_seed": config.run.seed,
      "primary": list(self.networks.primary.values()),
    }


def plan(
  config: Config, images: ImageTasks, comparison: Comparison, read: Callable[[Job], Outcome]
) -> list[Job]:
  """A job a method, and the auto-encoder before K-Means.

  Args:
    config: the options.
    images: the data.
    comparison: what is compared.
    read: gives the outcome of a job that has been run.
  """
  bench = bench_of(config, images, comparison)
  settings, seeds = comparison.settings, comparison.seeds
  runs = list(seeds) * len(settings)
  psi = {auxiliary_of(t): np.concatenate([s.psi[t] for s in settings]) for t in comparison.primary}
  of_given = {"sizes": {a: values.sum(axis=1) for a, values in psi.items()}}
  of_generated = {**of_given, "psi": psi}
  given = {"psi": comparison.psi}
  jobs = []
  for method in comparison.methods:
    if method == "single":  # once for all hierarchies, and without any
      alone = Bench(config, images, comparison.primary, {})
      jobs.append(alone.fixed(method, seeds, {"sizes": {}}, dict, {}))
    elif method.startswith("maxl"):
      weight = config.labels.entropy_weight if method == "maxl" else 0.0
      jobs.append(bench.generated(method, runs, of_generated, weight, given))
    else:
      identity = {**given, "labels": method}
      codes: Callable[[], Any] = lambda: None  # noqa: E731
      if method == "kmeans":
        jobs.append(auto_encoder_job(config, images))
        codes = functools.partial(_codes, config, images, read, jobs[-1])
        identity |= identity_of(config.codes)
      labels = functools.cache(
        functools.partial(_labels, method, comparison, images.parts["train"], codes)
      )
      jobs.append(bench.fixed(method, runs, of_given, labels, identity))
  return jobs


def bench_of(config: Config, images: ImageTasks, comparison: Comparison) -> Bench:
  """What jobs with auxiliary labels share; heads are as wide as the finest hierarchy."""
  auxiliary = {
    auxiliary_of(task): Auxiliary(task, max(s.totals[task] for s in comparison.settings))
    for task in comparison.primary
  }
  return Bench(config, images, comparison.primary, auxiliary)


def auxiliary_of(task: str) -> str:
  """The name of a primary task's auxiliary task."""
  return f"auxiliary_{task}"


def _labels(
  method: str, comparison: Comparison, levels: Mapping[str, np.ndarray], codes: Callable[[], Any]
) -> dict[str, np.ndarray]:
  found = fixed_labels(method, comparison.settings, comparison.seeds, levels, codes)
  return {auxiliary_of(task): values for task, values in found.items()}


def _codes(config: Config, images: ImageTasks, read: Callable[[Job], Outcome], job: Job) -> Any:
  return latent_codes(config, images, read(job).variables)
