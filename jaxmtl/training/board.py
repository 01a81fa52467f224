"""Scalars for TensorBoard, written at once.

tensorboardX's own writer does so in a thread, for which training waits forever once a full disk has
ended it.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jaxmtl._extras import Optional
from jaxmtl._files import naming

if TYPE_CHECKING:
  import tensorboardX.event_file_writer as files
  import tensorboardX.proto.event_pb2 as events
  import tensorboardX.summary as summaries
else:
  files = Optional("tensorboardX.event_file_writer", "training", __name__)
  events = Optional("tensorboardX.proto.event_pb2", "training", __name__)
  summaries = Optional("tensorboardX.summary", "training", __name__)


class Board:
  """A file of events in a folder.

  Example:
    >>> import pathlib, tempfile
    >>> from jaxmtl.training.board import Board
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   board = Board(pathlib.Path(folder))
    ...   board.write(3, {"loss/left": 0.5})
    ...   board.close()
    ...   len(list(pathlib.Path(folder).iterdir()))
    1
  """

  def __init__(self, folder: pathlib.Path, resume_from: int = 0):
    """Opens a new file; what others show of steps after `resume_from` is hidden."""
    folder.mkdir(parents=True, exist_ok=True)
    self._folder = folder
    with naming(folder):
      # Files of one second have different names where they begin at different steps.
      self._writer = files.EventsWriter(str(folder / "events"), f".{resume_from}")
      if resume_from:
        start = events.SessionLog(status=events.SessionLog.START)
        self._writer.write_event(events.Event(step=resume_from + 1, session_log=start))

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes numbers by tag."""
    values = [summaries.scalar(tag, value).value[0] for tag, value in scalars.items()]
    event = events.Event(step=step, wall_time=time.time(), summary=summaries.Summary(value=values))
    with naming(self._folder):
      self._writer.write_event(event)
      self._writer.flush()

  def close(self) -> None:
    """Closes the file."""
    with naming(self._folder):
      self._writer.close()
