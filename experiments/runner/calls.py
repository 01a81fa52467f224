"""The compiled calls of a job: many steps each, of one or several phases, on one device or many."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from experiments.runner.announce import Plan, say, waiting
from experiments.runner.feeds import Call
from experiments.runner.job import Job, Phase
from experiments.runner.memory import bytes_at_hand
from experiments.runner.mesh import RUNS, Layout
from experiments.runner.programs import Programs
from jaxmtl import training
from jaxmtl.training.loop import Every

PyTree = Any
# Of the device's memory; what takes more is told.
_MUCH = 0.1


class Calls:
  """`state -> (state, metrics)`, the next steps of a job: as many as go into an epoch evenly."""

  def __init__(self, job: Job, layout: Layout, every: Mapping[str, Every], first: int, plan: Plan):
    """Says what is run.

    Args:
      job: the job.
      layout: the devices.
      every: cadences, none of which should pass unseen within a call.
      first: the number of the first step.
      plan: is told how long calls take.
    """
    self._job, self._layout, self._step, self._plan = job, layout, first, plan
    cadences = [training.in_steps(each, job.steps_per_epoch) for each in every.values()]
    self._length = call_length(job.feed.steps, min(job.feed.most, *cadences))
    self._compiled: dict[tuple[int, int], Callable[[Any, PyTree], Any]] = {}
    self.compile_seconds = 0.0

  def compile(self, state: Any, programs: Programs) -> None:
    """Compiles all calls that are to come, before any is timed."""
    started, needed = time.perf_counter(), 0.0
    with waiting(f"{self._job.name}: compiling"):
      # Of two epochs: training that goes on, perhaps in calls of another length than before, may
      # start anywhere in the first one.
      step, last = self._step, self._step + 2 * self._job.steps_per_epoch
      while step < min(last, self._job.steps):
        phase, length = self._next(step)
        if (phase, length) not in self._compiled:
          run = self._layout.vmap(self._run(phase, length), (0, self._job.feed.axes))
          args = state, self._chunk(step, length)
          self._compiled[phase, length] = programs.compile(run, args, [RUNS, ()], donate=True)
          needed = max(needed, programs.needed)
        step += length
    self.compile_seconds = time.perf_counter() - started
    if needed > _MUCH * (there := bytes_at_hand()):
      say(f"{self._job.name}: takes {needed / 2**30:.1f} of the device's {there / 2**30:.1f} GiB")

  def __call__(self, state: Any) -> tuple[Any, dict[str, Any]]:
    """The next steps."""
    phase, length = self._next(self._step)
    started = time.perf_counter()
    chunk = self._chunk(self._step, length)
    self._step += length
    if self._step < self._job.steps:
      self._job.feed.ahead(self._call(self._step, self._next(self._step)[1]))
    state, metrics = self._compiled[phase, length](state, chunk)
    metrics = jax.block_until_ready(metrics)
    seconds = time.perf_counter() - started
    self._plan.took(self._job, phase, length, seconds, self.compile_seconds)
    return state, metrics

  def _next(self, step: int) -> tuple[int, int]:
    """The phase of a step, and how many steps the call that starts with it takes."""
    phase, offset = self._where(step)
    return phase, min(self._length, self._job.feed.steps - offset)

  def _where(self, step: int) -> tuple[int, int]:
    """The phase of a step, and how many steps of the phase's pass are behind it."""
    return divmod(step % self._job.steps_per_epoch, self._job.feed.steps)

  def _chunk(self, step: int, length: int) -> PyTree:
    return self._job.feed.chunk(self._call(step, length))

  def _call(self, step: int, length: int) -> Call:
    phase, _ = self._where(step)
    pairs = self._job.phases[phase].pairs
    return Call(step, length, self._job.feed.steps, pairs, self._layout)

  def _run(self, phase: int, length: int) -> Callable[[Any, PyTree], Any]:
    """The steps of one run."""
    job, layout, feed = self._job, self._layout, self._job.feed
    update = job.phases[phase]

    def prepare(key: jax.Array, batch: Any) -> Any:
      # The batch is spread over devices, not the data set.
      return layout.constrain(job.problem.prepare(key, layout.constrain(batch)))

    return training.scan_steps(
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


def call_length(steps: int, most: int) -> int:
  """Steps a call: the largest number up to `most` that divides an epoch, if it is not tiny.

  Otherwise an epoch's last call is shorter, and is compiled by itself.

  Example:
    >>> from experiments.runner.calls import call_length
    >>> call_length(160, 100), call_length(389, 100), call_length(7, 100)
    (80, 100, 7)
  """
  most = min(steps, most)
  divisor = next(n for n in range(most, 0, -1) if steps % n == 0)
  return divisor if 4 * divisor >= most else most
