"""Metrics on disk: JSON lines and TensorBoard events, continued after a restart."""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxmtl._files import naming, replacing
from jaxmtl.training.board import Board
from jaxmtl.training.lock import locked

LOG = "metrics.jsonl"
_logger = logging.getLogger(__name__)


class MetricsWriter:
  """Appends one row a call to `metrics.jsonl`, and its scalars to TensorBoard.

  Other processes are kept out of the folder.

  Example:
    >>> import tempfile
    >>> from jaxmtl.training import MetricsWriter
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   with MetricsWriter(folder) as writer:
    ...     writer.write({"step": 10, "losses": {"left": 0.5, "right": 0.25}})
    ...   with MetricsWriter(folder, resume_from=10) as writer:
    ...     rows = writer.rows
    >>> rows
    [{'step': 10, 'losses': {'left': 0.5, 'right': 0.25}}]
  """

  def __init__(self, folder: str | pathlib.Path, *, resume_from: int = 0):
    """Opens the files, and keeps the rows of steps that will not be run again.

    Args:
      folder: where `metrics.jsonl` and `tensorboard/` go.
      resume_from: the last step whose rows stay; those after it are to be written anew. Where rows
        go, the file as it was stays beside it as `metrics.jsonl.before_resume`.
    """
    folder = pathlib.Path(folder)
    self._stack = contextlib.ExitStack()
    self._stack.enter_context(locked(folder))
    self._path = folder / LOG
    self.rows: list[dict[str, Any]] = [
      row for row in read_rows(self._path) if row["step"] <= resume_from
    ]
    kept = "".join(json.dumps(row) + "\n" for row in self.rows).encode()
    if self._path.exists() and self._path.read_bytes() != kept:
      # Whenever this is cut short, the log is there: as it was, or as it is to be.
      with replacing(self._path.with_suffix(".jsonl.before_resume")) as draft:
        shutil.copyfile(self._path, draft)
      with replacing(self._path) as draft:
        draft.write_bytes(kept)
    self._board = Board(folder / "tensorboard", resume_from)

  def write(self, row: dict[str, Any]) -> None:
    """Writes one row: a `step` and numbers, arrays, or dicts of them, by name."""
    row = _plain(row)
    self.rows.append(row)
    with naming(self._path), self._path.open("a") as file:
      file.write(json.dumps(row) + "\n")
    self._board.write(
      row["step"], dict(s for name, value in row.items() for s in _scalars(name, value))
    )

  def close(self) -> None:
    """Flushes and closes the files."""
    with self._stack:
      self._board.close()

  def __enter__(self) -> MetricsWriter:
    return self

  def __exit__(self, *exc: object) -> None:
    self.close()


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
  """The rows of a JSON-lines file; lines that are damaged are left out, and named in the log.

  A last line that a kill cut short, without its end, is left out without a word.
  """
  rows: list[dict[str, Any]] = []
  damaged: list[int] = []
  lines = path.read_bytes().split(b"\n") if path.exists() else []
  for number, line in enumerate(lines, start=1):
    try:
      row = json.loads(line)
      if not isinstance(row["step"], int):
        raise TypeError("a step is an integer")
      rows.append(row)
    except (ValueError, TypeError, KeyError, RecursionError):
      if line.strip() and number < len(lines):
        damaged.append(number)
  if damaged:
    _logger.warning(
      "%s: line %s cannot be read, and is left out", path, ", ".join(map(str, damaged))
    )
  return rows


def _plain(value: Any) -> Any:
  """Lists and numbers, in the order of the names that were given."""
  if isinstance(value, dict):
    return {name: _plain(inner) for name, inner in value.items()}
  return np.asarray(value).tolist()


def _scalars(tag: str, value: Any) -> Iterable[tuple[str, float]]:
  if isinstance(value, (list, dict)):
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
      yield from _scalars(f"{tag}/{name}", item)
  else:
    yield tag, value
