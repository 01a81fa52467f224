"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import datetime
import errno
import logging
import os
import pathlib
import socket
import sys
from collections.abc import Iterator
from typing import IO

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None  # type: ignore[assignment]

_NAME = ".lock"
_HELD = (errno.EAGAIN, errno.EACCES)
_logger = logging.getLogger(__name__)
# By folder, what this process holds: the open file, and how many times it was taken.
_taken: dict[pathlib.Path, tuple[IO[str], int]] = {}


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
  """Keeps other processes out of a folder that is written to.

  Two runs that write to one folder would spoil both. The lock is the process' own, which may take
  it several times, and ends with it, however it ends. Where a file system has no locks, a warning
  in the log says so, and nothing is kept out.

  Args:
    folder: made where it is missing; a small file `.lock` in it stays.

  Raises:
    BlockingIOError: if another process has it; it says which one.

  Example:
    >>> import tempfile
    >>> from jaxmtl.training import locked
    >>> with tempfile.TemporaryDirectory() as folder, locked(folder):
    ...   pass  # write
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  place = folder.resolve()
  file, times = _taken.get(place) or (_opened(folder), 0)
  _taken[place] = file, times + 1
  try:
    yield
  finally:
    file, times = _taken.pop(place)
    if times > 1:
      _taken[place] = file, times - 1
    else:
      file.close()  # and so the lock ends


def _opened(folder: pathlib.Path) -> IO[str]:
  """The file that this process has locked."""
  file = (folder / _NAME).open("a+")
  try:
    if fcntl is None:
      raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno in _HELD:
      file.seek(0)
      who = file.read().strip() or "another process"
      file.close()
      raise BlockingIOError(
        f"{folder} is in use by {who}; wait until it ends, stop it, or name another --workdir."
      ) from None
    _logger.warning(
      "%s is on a file system without locks (%s): see to it that no other run writes there",
      folder,
      error.strerror,
    )
    return file
  file.truncate(0)
  command = " ".join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
  now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
  file.write(f"process {os.getpid()} on {socket.gethostname()} since {now} ({command})\n")
  file.flush()
  return file
