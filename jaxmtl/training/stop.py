"""A stop that loses nothing: Ctrl-C and SIGTERM end training after the call that is under way."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_requested: list[int] = []


class Stopped(Exception):
  """Training ended early because it was asked to; what was reached is saved."""


@contextlib.contextmanager
def stop_on_signal() -> Iterator[None]:
  """Lets the first Ctrl-C or SIGTERM end `fit` with a checkpoint; a second Ctrl-C interrupts.

  Compilation is waited for, so the first Ctrl-C is answered with a line on stderr. Outside the main
  thread, where Python takes no signals, nothing changes.

  Example:
    >>> from jaxmtl.training import stop_on_signal
    >>> with stop_on_signal():
    ...   pass  # fit(...) raises Stopped once it was asked to stop
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return

  def ask(number: int, frame: object) -> None:
    del frame
    if _requested and number == signal.SIGINT:
      raise KeyboardInterrupt
    if number == signal.SIGINT:
      # `print` may be under way itself when a signal comes.
      os.write(2, b"Stopping after what is under way; Ctrl-C again ends at once.\n")
    _requested.append(number)

  numbers = (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(number, ask) for number in numbers]
  try:
    yield
  finally:
    for number, handler in zip(numbers, before, strict=True):
      signal.signal(number, handler)
    _requested.clear()


def stop_requested() -> int:
  """The signal that asked for a stop within `stop_on_signal`, or 0."""
  return _requested[0] if _requested else 0
