"""The runner: takes a job's outcome from disk, goes on with it, or trains it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich.console

from experiments.runner import store
from experiments.runner.feeds import Call
from experiments.runner.job import WEIGHTS, Job, Outcome, Phase
from experiments.runner.mesh import RUNS, Layout, agreed, is_main, say
from jaxmtl import training
from jaxmtl.training.loop import Every
from jaxmtl.training.progress import duration

PyTree = Any
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
  ):
    """Says where, and how often.

    Args:
      folder: each job gets a folder in it.
      layout: the devices.
      checkpoint_every: epochs, or steps as in "500 steps"; the others likewise.
      log_every: for rows of metrics.
      evaluate_every: for the validation part.
    """
    self.folder = pathlib.Path(folder)
    self.layout = layout or Layout()
    self._every: dict[str, Any] = {
      "checkpoint_every": checkpoint_every,
      "log_every": log_every,
      "evaluate_every": evaluate_every,
    }
    self._made: dict[Any, Any] = {}
    self._programs = _Programs()
    self._plan = _Plan()

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
      after_each: gets the outcomes so far after each job that is not the last: tables and figures
        of what there is.
      required: whether one that diverges ends all.

    Returns:
      Outcomes by name.
    """
    jobs, found = list(jobs), dict[str, Outcome]()
    if len({job.name for job in jobs}) < len(jobs):
      raise ValueError(f"jobs must have different names, got {[job.name for job in jobs]}.")
    done = agreed(lambda: [self._on_disk(job) is not None for job in jobs])
    left = [job for job, there in zip(jobs, done, strict=True) if not there]
    self._plan.announce(left, len(jobs))
    for number, job in enumerate(jobs):
      found[job.name] = self.run(job, required=required)
      if after_each and number < len(jobs) - 1:
        after_each(found)
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
      training.Stopped: if asked to stop.
    """
    self.layout.check(len(job.seeds), job.feed.batch_size)
    home, why = agreed(lambda: [str(x) if x else x for x in store.find_home(self.folder, job)])
    home = pathlib.Path(home)
    if why:
      say(f"{job.name}: {why}; this configuration goes to {home}.")
    epochs = min(until or job.recipe.epochs, job.recipe.epochs)
    saved = agreed(lambda: self._on_disk(job, epochs))
    if saved is None:
      with contextlib.suppress(training.TrainingDiverged):
        self._train(job, home, epochs)
      saved = agreed(lambda: store.read_json(home / store.OUTCOME))
    outcome = store.outcome_from_json(job, saved, home)
    if outcome.failure and required:
      raise ValueError(f"{job.name} diverged: {outcome.failure}")
    return outcome

  def forget(self) -> None:
    """Lets go of what was compiled and of first parameters: for long lists of unlike problems."""
    self._made.clear()
    self._programs = _Programs()
    jax.clear_caches()

  def _on_disk(self, job: Job, until: int | None = None) -> Any:
    """The outcome that makes training up to an epoch needless, or None."""
    home, _ = store.find_home(self.folder, job)
    saved = store.read_json(home / store.OUTCOME)
    epochs = job.recipe.epochs if until is None else until
    if saved is None or (saved["epochs"] < epochs and not saved["failure"]):
      return None
    return saved

  def _train(self, job: Job, home: pathlib.Path, epochs: int) -> None:
    """Trains up to an epoch, and writes the outcome."""
    identity = store.identity_of(job)
    if is_main():
      home.mkdir(parents=True, exist_ok=True)
      store.write_json(home / store.JOB, {"name": job.name, "identity": identity})
      if job.problem.describe:
        store.write_json(home / store.NETWORK, job.problem.describe)
    state = self._start(job)
    steps, compile_seconds, failure = epochs * job.steps_per_epoch, 0.0, None
    history: list[Any] = []
    with training.Checkpointer(home / "checkpoints", identity) as checkpointer:
      with _waiting(f"{job.name}: looking for a checkpoint"):
        restored = checkpointer.restore(state)
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
          advance = _Advance(job, self.layout, self._every, first, self._plan)
          advance.compile(state, self._programs)
          try:
            state, _ = training.fit(
              state,
              advance,
              epochs,
              steps_per_epoch=job.steps_per_epoch,
              first_step=first,
              evaluate=self._measure(job, "validation"),
              after_epoch=job.after_epoch,
              writer=writer,
              checkpointer=checkpointer,
              task_names=job.problem.tasks,
              description=job.name,
              progress=is_main(),
              **self._every,
            )
          except training.TrainingDiverged as error:
            say(f"{job.name} diverged: {error}")
            failure = str(error)
          compile_seconds = advance.compile_seconds
      values: dict[str, Any] = {}
      if failure is None:
        checkpointer.keep_newest()
        variables = self.layout.fetch(job.variables(state))
        if is_main():
          training.save_weights(home / WEIGHTS, variables, job=job.name)
        test = self._measure(job, "test")
        # The test part is looked at here, once.
        values = test(state)["test"] if test and epochs == job.recipe.epochs else {}
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

      with _waiting(f"{job.name}: initialising"):
        made = layout.jit(init, RUNS, compiler_options=_ONCE)(numbers, settings)
      self._made[place] = made, job.settings  # kept, so that its id stays its own
    variables = self._made[place][0]
    if job.weights is not None:
      variables = layout.put(job.weights(layout.fetch(variables)), RUNS)

    def start(seeds: jax.Array, variables: PyTree) -> Any:
      keys = jax.vmap(jax.random.key)(seeds)
      return layout.vmap(functools.partial(job.start, job.update), (0, 0))(keys, variables)

    # The calls donate their state, so it must not hold the variables themselves.
    variables = jax.tree.map(jnp.copy, variables)
    return layout.jit(start, RUNS, compiler_options=_ONCE)(numbers, variables)

  def _measure(self, job: Job, part: str) -> Callable[[Any], dict[str, Any]] | None:
    """`state -> {part: {metric: {task: [runs]}}}`, or None where there is nothing to measure."""
    examples = job.parts.get(part)
    if examples is None or not job.problem.metrics:
      return None
    place = ("evaluator", job.problem.predict)
    if place not in self._made:
      devices = self.layout.shape[1]
      self._made[place] = training.evaluator(
        job.problem.predict,
        job.problem.metrics,
        batch_size=-(-250 // devices) * devices,
        multiple=devices,
        runs=True,
        place=lambda batch: self.layout.put(batch, "data"),
        compile=self.layout.jit,
      )
    evaluate = self._made[place]
    return lambda state: {part: evaluate(job.variables(state), examples)}


class _Advance:
  """The compiled calls of a job: as many steps each as go into an epoch evenly."""

  def __init__(self, job: Job, layout: Layout, every: dict[str, Every], first: int, plan: _Plan):
    self._job, self._layout, self._step, self._plan = job, layout, first, plan
    cadences = [training.in_steps(each, job.steps_per_epoch) for each in every.values()]
    self._length = call_length(job.feed.steps, min(job.feed.most, *cadences))
    self._compiled: dict[tuple[int, int], Any] = {}
    self.compile_seconds = 0.0

  def compile(self, state: Any, programs: _Programs) -> None:
    """Compiles the calls of an epoch, before any is timed."""
    steps = self._job.feed.steps
    started = time.perf_counter()
    with _waiting(f"{self._job.name}: compiling"):
      for phase in range(len(self._job.phases)):
        for length in {self._length, steps % self._length or self._length}:
          chunk = self._chunk((phase + 1) * steps - length, length)
          lowered = self._lower(phase, length, state, chunk)
          self._compiled[phase, length] = programs.compile(lowered)
    self.compile_seconds = time.perf_counter() - started

  def __call__(self, state: Any) -> tuple[Any, dict[str, Any]]:
    """The next steps."""
    phase, offset = self._where(self._step)
    length = min(self._length, self._job.feed.steps - offset)
    started = time.perf_counter()
    run = self._compiled[phase, length]
    state, metrics = run(state, self._chunk(self._step, length))
    metrics = jax.block_until_ready(metrics)
    self._plan.took(self._job, length, time.perf_counter() - started, self.compile_seconds)
    self._step += length
    return state, metrics

  def _where(self, step: int) -> tuple[int, int]:
    """The phase of a step, and how many steps of the phase's pass are behind it."""
    return divmod(step % self._job.steps_per_epoch, self._job.feed.steps)

  def _chunk(self, step: int, length: int) -> PyTree:
    feed, (phase, _) = self._job.feed, self._where(step)
    return feed.chunk(Call(step, length, feed.steps, self._job.phases[phase].pairs, self._layout))

  def _lower(self, phase: int, length: int, state: Any, chunk: PyTree) -> Any:
    job, layout, feed = self._job, self._layout, self._job.feed
    update = job.phases[phase]

    def prepare(key: jax.Array, batch: Any) -> Any:
      # The batch is spread over devices, not the data set.
      return layout.constrain(job.problem.prepare(key, layout.constrain(batch)))

    run = training.scan_steps(
      update.update,
      lambda key, chunk: feed.order(key, chunk, feed.steps),
      feed.take,
      prepare,
      steps=feed.steps,
      length=length,
      pairs=update.pairs,
      second=feed.second,
      **({"clock": update.clock} if isinstance(update, Phase) else {}),
    )
    mapped = layout.vmap(run, (0, feed.axes))
    if layout.mesh is None:
      # Arrays of a checkpoint name their device, which would make it another program.
      shapes = (
        jax.ShapeDtypeStruct(jnp.shape(x), x.dtype) for x in jax.tree.leaves((state, chunk))
      )
      state, chunk = jax.tree.unflatten(jax.tree.structure((state, chunk)), shapes)
    return layout.jit(mapped, [RUNS, ()], donate_argnums=0).lower(state, chunk)


class _Programs:
  """The last few compiled programs: jobs that differ in their data alone share one."""

  most = 4

  def __init__(self) -> None:
    self._found: dict[Any, Any] = {}
    self._tells_all = _text_tells_constants()

  def compile(self, lowered: Any) -> Any:
    """The program, compiled unless the same text was lately."""
    if not self._tells_all:
      return lowered.compile()
    text = hashlib.sha256(lowered.as_text().encode()).hexdigest()
    key = text, lowered.in_tree, lowered.out_tree
    compiled = self._found.pop(key, None) or lowered.compile()
    self._found[key] = compiled
    while len(self._found) > self.most:
      del self._found[next(iter(self._found))]
    return compiled


def _text_tells_constants() -> bool:
  """Whether arrays that a function closes over are in its text; JAX may pass them beside it."""
  shape = jax.ShapeDtypeStruct((4096,), jnp.float32)

  def text(constant: jax.Array) -> str:
    return jax.jit(lambda x: x + constant).lower(shape).as_text()

  return text(jnp.arange(4096.0)) != text(jnp.arange(4096.0) ** 2)


class _Plan:
  """How many trainings are to be done, and about how long that takes."""

  def __init__(self) -> None:
    self._steps_left = self._trainings = 0
    self._said = 0.0
    self._names: list[str] = []

  def announce(self, jobs: list[Job], total: int) -> None:
    """Says what is to come."""
    self._steps_left = sum(job.steps for job in jobs)
    self._trainings = len(jobs)
    self._said = 0.0
    if not total:
      return
    before = f", {total - len(jobs)} of them on disk already" if len(jobs) < total else ""
    say(f"{total} training(s){before}: {self._steps_left} steps in all.")

  def took(self, job: Job, steps: int, seconds: float, compile_seconds: float) -> None:
    """Hears what steps took, and says what that makes for all, after a training's first call."""
    self._steps_left -= steps
    if job.name not in self._names and self._steps_left > 0 and self._trainings:
      rest = self._steps_left * seconds / steps + compile_seconds * (self._trainings - 1)
      if not self._names:
        say(f"About {duration(rest)} to go, if all are like {job.name}.")
      self._trainings -= 1
      self._names.append(job.name)


def call_length(steps: int, most: int) -> int:
  """Steps a call: the largest number up to `most` that divides an epoch, if it is not tiny.

  Otherwise an epoch's last call is shorter, and is compiled by itself.

  Example:
    >>> from experiments.runner.run import call_length
    >>> call_length(160, 100), call_length(389, 100), call_length(7, 100)
    (80, 100, 7)
  """
  most = min(steps, most)
  divisor = next(n for n in range(most, 0, -1) if steps % n == 0)
  return divisor if 4 * divisor >= most else most


@contextlib.contextmanager
def _waiting(text: str) -> Iterator[None]:
  """Shows what is being waited for: on a terminal while it lasts, in a log where it took long."""
  console = rich.console.Console()
  if not is_main():
    yield
  elif console.is_terminal:
    with console.status(text):
      yield
  else:
    started = time.monotonic()
    yield
    if (seconds := time.monotonic() - started) > 5:
      say(f"{text} took {duration(seconds)}")
