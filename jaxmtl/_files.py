"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """A draft to write to, which takes the file's place once it is complete.

  Whoever looks meanwhile, or after a kill or on a full disk, finds the file as it was.

  Args:
    path: of the file; its folder is made where it is missing.

  Raises:
    OSError: naming the file, if it cannot be written.

  Example:
    >>> import pathlib, tempfile
    >>> from jaxmtl._files import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   with replacing(f"{folder}/a/b.txt") as draft:
    ...     _ = draft.write_text("all of it")
    ...   pathlib.Path(f"{folder}/a/b.txt").read_text()
    'all of it'
  """
  path = pathlib.Path(path)
  draft = path.with_name(path.name + ".tmp")
  try:
    with naming(path):
      path.parent.mkdir(parents=True, exist_ok=True)
      yield draft
      os.replace(draft, path)
  except BaseException:
    with contextlib.suppress(OSError):
      draft.unlink()
    raise


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
  """Lets errors of a file system name the path, which those of a full disk do not."""
  try:
    yield
  except OSError as error:
    if error.filename is None and error.errno is not None:
      raise type(error)(error.errno, error.strerror, str(path)) from error
    raise
