"""Times of several programs, taken in turn, so that changing load meets all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def interleaved(programs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
  """Seconds of each call; every round calls each program once, after one round of warm-up."""
  times: dict[str, list[float]] = {name: [] for name in programs}
  for repeat in range(repeats + 1):
    for name, call in programs.items():
      begin = time.perf_counter()
      call()
      if repeat:
        times[name].append(time.perf_counter() - begin)
  return times


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
  """The median of each program."""
  return {name: statistics.median(values) for name, values in times.items()}
