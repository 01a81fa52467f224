"""Progress of training: a bar with the time left on a terminal, a line a minute in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from jaxmtl._extras import Optional

if TYPE_CHECKING:
  import rich.console as console
  import rich.progress as bars
else:
  console = Optional("rich.console", "training", __name__)
  bars = Optional("rich.progress", "training", __name__)


# Seconds between lines where nobody sees a bar.
_SILENCE = 60.0


class Progress:
  """Shows how far a training is, within epochs too.

  Example:
    >>> from jaxmtl.training.progress import Progress
    >>> with Progress("equal", steps=20, steps_per_epoch=10, shown=False) as progress:
    ...   progress.update(5, "loss 0.7")
  """

  def __init__(
    self,
    description: str,
    steps: int,
    steps_per_epoch: int,
    first_step: int = 0,
    shown: bool = True,
  ):
    """Says what is trained.

    Args:
      description: the name of the run.
      steps: the last step.
      steps_per_epoch: so many are an epoch.
      first_step: steps that are done already.
      shown: whether anything is shown.
    """
    terminal = console.Console()
    self._name, self._steps, self._per_epoch = description, steps, steps_per_epoch
    self._first, self._shown = first_step, shown
    self._started = self._last_line = time.monotonic()
    self._bar = None
    if shown and terminal.is_terminal:
      self._bar = bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TextColumn("epoch {task.fields[epoch]}, left"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[status]}"),
        console=terminal,
      )
      self._task = self._bar.add_task(
        description, total=steps, completed=first_step, status="", epoch=self._epoch(first_step)
      )

  def update(self, step: int, status: str = "") -> None:
    """Says how many steps are done, and how it goes."""
    if self._bar is not None:
      self._bar.update(self._task, completed=step, status=status, epoch=self._epoch(step))
      return
    now = time.monotonic()
    if self._shown and now - self._last_line >= _SILENCE and step < self._steps:
      left = (now - self._started) * (self._steps - step) / max(step - self._first, 1)
      parts = [f"epoch {self._epoch(step)}", status, f"about {duration(left)} left"]
      print(f"{self._name}: {', '.join(filter(None, parts))}", flush=True)
      self._last_line = now

  def _epoch(self, step: int) -> str:
    return f"{step / self._per_epoch:.3g} of {self._steps / self._per_epoch:.3g}"

  def __enter__(self) -> Progress:
    if self._bar is not None:
      self._bar.start()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    if self._bar is not None:
      self._bar.stop()


def duration(seconds: float) -> str:
  """A time for people.

  Example:
    >>> from jaxmtl.training.progress import duration
    >>> duration(42), duration(600), duration(2e4)
    ('42 s', '10 min', '5.6 h')
  """
  if seconds < 100:
    return f"{seconds:.0f} s"
  return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
