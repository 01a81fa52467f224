"""The runner: takes a job's outcome from disk, goes on with it, or trains it."""

from __future__ import annotations

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from experiments.runner import store
from experiments.runner.announce import Plan, waiting
from experiments.runner.calls import Calls
from experiments.runner.job import WEIGHTS, Job, Outcome
from experiments.runner.mesh import RUNS, Layout, agreed, alone, is_main, say
from experiments.runner.programs import Programs
from experiments.runner.restart import Restart, how_to_go_on
from experiments.runner.selection import best_weights, chosen
from jaxmtl import training
from jaxmtl.training.loop import Every

PyTree = Any
REPORT_SHARE = 0.1
"""Of the time between trainings and of them: what tables and figures on the way may take."""
# Initialisation runs once: compiling it without optimisation takes a fifth of the time. It also
# keeps random numbers the same to the bit whatever is compiled around them.
_ONCE = {"xla_backend_optimization_level": 0}


class Runner:
  """Runs jobs under one folder.

  Where a job's outcome is on disk, it is read and nothing is compiled; where a checkpoint is,
  training goes on from it, to the bit.
  """

  def __init__(
    self,
    folder: str | pathlib.Path,
    *,
    layout: Layout | None = None,
    checkpoint_every: Every = 1,
    log_every: Every = 1,
    evaluate_every: Every = 1,
    restart_from: str | pathlib.Path | None = None,
  ):
    """Says where, and how often.

    Args:
      folder: each job gets a folder in it, which other processes are kept out of while one is
        trained.
      layout: the devices.
      checkpoint_every: epochs, or steps as in "500 steps"; the others likewise.
      log_every: for rows of metrics.
      evaluate_every: for the validation part.
      restart_from: folder of a training, such as one that diverged: the job of its name goes on
        from its last checkpoint, whatever else is different.
    """
    self.folder = pathlib.Path(folder)
    self.layout = layout or Layout()
    self._every: dict[str, Any] = {
      "checkpoint_every": checkpoint_every,
      "log_every": log_every,
      "evaluate_every": evaluate_every,
    }
    self._made: dict[Any, Any] = {}
    self._programs = Programs(self.layout)
    self._plan = Plan()
    self._restart = None if restart_from is None else Restart(restart_from)

  def run_all(
    self,
    jobs: Iterable[Job],
    *,
    after_each: Callable[[dict[str, Outcome]], None] | None = None,
    required: bool = False,
  ) -> dict[str, Outcome]:
    """Runs jobs one after the other, and says beforehand how many and how long.

    Args:
      jobs: of different names.
      after_each: gets the outcomes so far before each training but the first job's: tables and
        figures of what there is. Jobs on disk take no time, so nothing is written between them;
        between short trainings not each time, so that it takes a tenth of the time at most.
      required: whether one that diverges ends all.

    Returns:
      Outcomes by name.
    """
    jobs, found = list(jobs), dict[str, Outcome]()
    if self._restart is not None:
      self._restart.note([job.name for job in jobs])
    if len({job.name for job in jobs}) < len(jobs):
      raise ValueError(f"jobs must have different names, got {[job.name for job in jobs]}.")
    done = agreed(lambda: [self._on_disk(job) is not None for job in jobs])
    left = [job for job, there in zip(jobs, done, strict=True) if not there]
    self._plan.announce(left, len(jobs))
    written, took = None, 0.0
    with alone(self.folder) if left else contextlib.nullcontext():
      for number, job in enumerate(jobs):
        found[job.name] = self.run(job, required=required)
        started = time.monotonic()
        due = written is None or (started - written) * REPORT_SHARE >= took
        if after_each and due and number < len(jobs) - 1 and not done[number + 1]:
          after_each(found)
          written = time.monotonic()
          took = written - started
    return found

  def run(self, job: Job, *, until: int | None = None, required: bool = False) -> Outcome:
    """The outcome of a job.

    Args:
      job: what is trained.
      until: an epoch at which to stop for now, with what there is by then; the same job goes on
        from it.
      required: whether to raise where it diverges.

    Returns:
      The outcome. Where a loss or gradient stopped being finite, its `failure` says so: one method
      that diverges should not take the others' table away.

    Raises:
      ValueError: if it diverged and is required, or devices do not fit.
      BlockingIOError: if it is to be trained, and another process trains in the folder.
      training.Stopped: if asked to stop.
    """
    self.layout.check(len(job.seeds), job.feed.batch_size)
    job = self._named(job)
    home, why = agreed(lambda: [str(x) if x else x for x in store.find_home(self.folder, job)])
    home = pathlib.Path(home)
    if why:
      say(f"{job.name}: {why}; this configuration goes to {home}.")
    epochs = min(until or job.recipe.epochs, job.recipe.epochs)
    saved = agreed(lambda: self._on_disk(job, epochs))
    if saved is None:
      with contextlib.suppress(training.TrainingDiverged), alone(self.folder):
        self._train(job, home, epochs)
      saved = agreed(lambda: store.read_outcome(home))
    outcome = store.outcome_from_json(job, saved, home)
    if outcome.failure and required:
      raise ValueError(f"{job.name} diverged: {outcome.failure}")
    return outcome

  def forget(self) -> None:
    """Lets go of what was compiled and of first parameters: for long lists of unlike problems."""
    self._made.clear()
    self._programs = Programs(self.layout)
    jax.clear_caches()

  def _named(self, job: Job) -> Job:
    """A job that goes on from another training depends on it."""
    return job if self._restart is None else self._restart.named(job)

  def _on_disk(self, job: Job, until: int | None = None) -> Any:
    """The outcome that makes training up to an epoch needless, or None."""
    home, _ = store.find_home(self.folder, self._named(job))
    saved = store.read_outcome(home)
    epochs = job.recipe.epochs if until is None else until
    if saved is None or (saved["epochs"] < epochs and not saved["failure"]):
      return None
    return saved

  def _train(self, job: Job, home: pathlib.Path, epochs: int) -> None:
    """Trains up to an epoch, and writes the outcome."""
    _stop_where_asked(job)  # while figures were drawn: not after another compilation
    identity = store.identity_of(job)
    if is_main():
      home.mkdir(parents=True, exist_ok=True)
      store.write_json(home / store.JOB, {"name": job.name, "identity": identity})
      if job.problem.describe:
        store.write_json(home / store.NETWORK, job.problem.describe)
    state = self._start(job)
    steps, compile_seconds, failure = epochs * job.steps_per_epoch, 0.0, None
    history: list[Any] = []
    best = best_weights(job, home, self._every["evaluate_every"])
    defaults = store.before_of(identity)
    with training.Checkpointer(
      home / store.CHECKPOINTS, identity, defaults=defaults
    ) as checkpointer:
      with waiting(f"{job.name}: looking for a checkpoint"):
        restored = checkpointer.restore(state)
        if restored is None and self._restart is not None and self._restart.is_for(job):
          restored = self._restart.begin(state, home)
      first, state = restored or (0, state)
      if first:
        epoch = first / job.steps_per_epoch
        say(f"{job.name}: goes on after epoch {epoch:.4g} of {job.recipe.epochs} ({home})")
      with contextlib.ExitStack() as stack:
        writer = None
        if is_main():
          writer = stack.enter_context(training.MetricsWriter(home, resume_from=first))
          history = writer.rows
        if first < steps:
          advance = Calls(job, self.layout, self._every, first, self._plan)
          advance.compile(state, self._programs)
          _stop_where_asked(job)
          measure = self._measure(job, "validation")
          try:
            state, _ = training.fit(
              state,
              advance,
              epochs,
              steps_per_epoch=job.steps_per_epoch,
              first_step=first,
              evaluate=None if measure is None else lambda s: measure(job.variables(s)),
              after_epoch=functools.partial(self._after_epoch, job),
              writer=writer,
              checkpointer=checkpointer,
              best=best,
              patience=None if job.selection is None else job.selection.patience,
              task_names=job.problem.tasks,
              description=job.name,
              progress=is_main(),
              **self._every,
            )
          except training.TrainingDiverged as error:
            say(f"{job.name} diverged: {error}")
            checkpointer.wait()
            say(how_to_go_on(home))
            failure = str(error)
          compile_seconds = advance.compile_seconds
      values: dict[str, Any] = {}
      if failure is None:
        checkpointer.keep_newest()
        variables = job.variables(state)
        if best is not None:
          variables = self.layout.put(chosen(job, best, variables), RUNS)
        everywhere = self.layout.fetch(variables)  # by all processes: each has a part
        if is_main():
          training.save_weights(home / WEIGHTS, everywhere, job=job.name)
        test = self._measure(job, "test")
        # The test part is looked at here, once.
        values = test(variables)["test"] if test and epochs == job.recipe.epochs else {}
    if is_main():
      outcome = Outcome(
        job.name, job.problem.tasks, values, history, 0, compile_seconds, 0, failure, home
      )
      store.write_json(home / store.OUTCOME, store.outcome_to_json(job, outcome, epochs))
    if failure:
      raise training.TrainingDiverged(failure)

  def _start(self, job: Job) -> Any:
    """The states of all runs at the start."""
    layout, seeds = self.layout, tuple(job.seeds)
    numbers = layout.put(np.array(seeds), RUNS)
    # Methods that share a problem start at the same parameters, made and compiled once.
    place = ("variables", job.problem.init, seeds, id(job.settings))
    if place not in self._made:
      settings = layout.put(job.settings, RUNS)

      def init(seeds: jax.Array, settings: PyTree) -> PyTree:
        keys = jax.vmap(jax.random.key)(seeds)
        axes = (0, None if settings is None else 0)
        return layout.vmap(job.problem.init, axes)(keys, settings)

      with waiting(f"{job.name}: initialising"):
        args = numbers, settings
        made = self._programs.compile(init, args, RUNS, options=_ONCE)(*args)
      self._made[place] = made, job.settings  # kept, so that its id stays its own
    variables = self._made[place][0]
    if job.weights is not None:
      variables = layout.put(job.weights(layout.fetch(variables)), RUNS)

    def start(seeds: jax.Array, variables: PyTree) -> Any:
      keys = jax.vmap(jax.random.key)(seeds)
      return layout.vmap(functools.partial(job.start, job.update), (0, 0))(keys, variables)

    # The calls donate their state, so it must not hold the variables themselves.
    variables = jax.tree.map(_copy, variables)
    return self._programs.compile(start, (numbers, variables), RUNS, options=_ONCE)(
      numbers, variables
    )

  def _after_epoch(self, job: Job, state: Any, measured: Any) -> tuple[Any, dict[str, Any]]:
    """The job's own: a state where the next call expects it, numbers on every process."""
    changed, found = job.after_epoch(state, measured)
    if self.layout.mesh is not None:
      places = jax.tree.map(lambda leaf: leaf.sharding, state)
      changed = jax.tree.map(jax.device_put, changed, places)
    return changed, self.layout.fetch(found)

  def _measure(self, job: Job, part: str) -> Callable[[Any], dict[str, Any]] | None:
    """`variables -> {part: {metric: {task: [runs]}}}`; None where there is nothing to measure."""
    examples = job.parts.get(part)
    if examples is None or not job.problem.metrics:
      return None
    place = ("evaluator", job.problem.predict)
    if place not in self._made:
      devices = self.layout.shape[1]
      self._made[place] = training.evaluator(
        job.problem.predict,
        job.problem.metrics,
        batch_size=-(-job.problem.measured_at_once // devices) * devices,
        multiple=devices,
        runs=True,
        place=lambda batch: self.layout.put(batch, "data"),
        compile=self._programs.jit,
      )
    evaluate = self._made[place]
    return lambda variables: {part: evaluate(variables, examples)}


def _copy(leaf: jax.Array) -> jax.Array:
  """Of the same place; `jnp.copy` would compile a program for each shape."""
  return jax.device_put(leaf, leaf.sharding, may_alias=False)


def _stop_where_asked(job: Job) -> None:
  if training.stop_requested():
    raise training.Stopped(f"Stopped before {job.name} was trained.")
