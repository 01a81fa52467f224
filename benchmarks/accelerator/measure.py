"""Compiled programs of a group, their times and what the compiler says of them."""

import concurrent.futures
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

# What one measurement lasts at least, in seconds, so that waiting for the device is no part of it.
LEAST = 0.05


@dataclasses.dataclass(frozen=True)
class Program:
  """A function of a state and further arguments.

  Args:
    fn: `(state, *args) -> (state, ...)` where `chained`, and otherwise any function of both.
    state: what the first call takes.
    args: further arguments.
    chained: whether the next call takes the state that the last one gave, in whose memory it is.
  """

  fn: Callable[..., Any]
  state: Any
  args: tuple[Any, ...] = ()
  chained: bool = True


class Ready:
  """A compiled program, to be run so many times before it is waited for."""

  def __init__(self, program: Program) -> None:
    """Traces; `compile` compiles, and may run in a thread of its own."""
    self.program, self.state = program, program.state
    jitted = jax.jit(program.fn, donate_argnums=(0,) if program.chained else ())
    self.lowered = jitted.lower(program.state, *program.args)
    self.compiled: Any = None
    self.compile_seconds = float("nan")

  def compile(self) -> None:
    """Compiles."""
    begin = time.perf_counter()
    self.compiled = self.lowered.compile()
    self.compile_seconds = time.perf_counter() - begin

  def run(self, times: int) -> float:
    """Seconds a call."""
    begin = time.perf_counter()
    found = None
    for _ in range(times):
      found = self.compiled(self.state, *self.program.args)
      if self.program.chained:
        self.state = found[0]
    jax.block_until_ready(found)
    return (time.perf_counter() - begin) / times

  def analysis(self) -> dict[str, float]:
    """Work and memory by the compiler's count."""
    memory, cost = self.compiled.memory_analysis(), self.compiled.cost_analysis()
    cost = (cost[0] if isinstance(cost, list) else cost) or {}
    return {
      "temporary_bytes": getattr(memory, "temp_size_in_bytes", float("nan")),
      "argument_bytes": getattr(memory, "argument_size_in_bytes", float("nan")),
      "flops": cost.get("flops", float("nan")),
      "bytes_accessed": cost.get("bytes accessed", float("nan")),
      "compile_seconds": self.compile_seconds,
    }


def prepared(
  makers: Mapping[str, Callable[[], Program]], threads: int
) -> tuple[dict[str, Ready], dict[str, str]]:
  """Programs that compile, side by side, and the reasons of those that do not."""
  ready: dict[str, Ready] = {}
  failures: dict[str, str] = {}
  for name, make in makers.items():
    begin = time.perf_counter()
    try:
      ready[name] = Ready(make())
      _tell(f"{name}: traced in {time.perf_counter() - begin:.0f} s")
    except Exception as error:  # one program's failure is a row of the table
      failures[name] = _short(error)
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    pending = {name: pool.submit(one.compile) for name, one in ready.items()}
  for name, future in pending.items():
    if error := future.exception():
      failures[name] = _short(error)
      del ready[name]
    else:
      _tell(f"{name}: compiled in {ready[name].compile_seconds:.0f} s")
  return ready, failures


class Other:
  """A step of another library, which waits for itself."""

  def __init__(self, call: Callable[[], Any]) -> None:
    """Of a function without arguments."""
    self._call = call

  def run(self, times: int) -> float:
    """Seconds a call."""
    begin = time.perf_counter()
    for _ in range(times):
      self._call()
    return (time.perf_counter() - begin) / times

  def analysis(self) -> dict[str, float]:
    """Nothing is known."""
    return {}


def timed(
  makers: Mapping[str, Callable[[], Program]],
  rounds: int,
  threads: int,
  plain: str = "plain",
  others: Mapping[str, Callable[[], Any]] | None = None,
) -> list[dict[str, Any]]:
  """One row a program: seconds, ratio to the one named `plain`, and the compiler's analysis.

  Each round times all programs, and the `others`, one after another.
  """
  compiled, failures = prepared(makers, threads)
  others = {} if others is None else others
  ready: dict[str, Ready | Other] = {**compiled, **{n: Other(call) for n, call in others.items()}}
  calls: dict[str, int] = {}
  for name in list(ready):
    try:
      ready[name].run(1)
      once = ready[name].run(2)
      calls[name] = max(1, min(1000, round(LEAST / once)))
    except Exception as error:  # most of all: out of memory
      failures[name] = _short(error)
      del ready[name]
  seconds: dict[str, list[float]] = {name: [] for name in ready}
  for _ in range(rounds):
    for name, one in ready.items():
      seconds[name].append(one.run(calls[name]))
  middle = {name: statistics.median(found) for name, found in seconds.items()}
  rows: list[dict[str, Any]] = []
  for name in (*makers, *others):
    if name in failures:
      rows.append({"program": name, "failure": failures[name]})
      continue
    row = {
      "program": name,
      "seconds": middle[name],
      "fastest": min(seconds[name]),
      "slowest": max(seconds[name]),
      **ready[name].analysis(),
    }
    if plain in middle:
      row["ratio"] = middle[name] / middle[plain]
    rows.append(row)
  return rows


def _tell(line: str) -> None:
  """To the standard error, so that a run that is cut off says where its time went."""
  print(line, file=sys.stderr, flush=True)


def _short(error: BaseException) -> str:
  text = str(error).strip().splitlines()
  return f"{type(error).__name__}: {text[0] if text else ''}"[:200]
