"""Metrics on disk: JSON lines and TensorBoard events, continued after a restart."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional

if TYPE_CHECKING:
  import tensorboardX
else:
  tensorboardX = Optional("tensorboardX", "training", __name__)


class MetricsWriter:
  """Appends one row a call to `metrics.jsonl`, and its scalars to TensorBoard.

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
    folder.mkdir(parents=True, exist_ok=True)
    self._path = folder / "metrics.jsonl"
    self.rows: list[dict[str, Any]] = [
      row for row in read_rows(self._path) if row["step"] <= resume_from
    ]
    kept = "".join(json.dumps(row) + "\n" for row in self.rows)
    if self._path.exists() and self._path.read_text() != kept:
      os.replace(self._path, self._path.with_suffix(".jsonl.before_resume"))
      self._path.write_text(kept)
    self._board = tensorboardX.SummaryWriter(
      str(folder / "tensorboard"), purge_step=resume_from + 1 if resume_from else None
    )

  def write(self, row: dict[str, Any]) -> None:
    """Writes one row: a `step` and numbers, arrays, or dicts of them, by name."""
    row = _plain(row)
    self.rows.append(row)
    with self._path.open("a") as file:
      file.write(json.dumps(row) + "\n")
    for name, value in row.items():
      for tag, scalar in _scalars(name, value):
        self._board.add_scalar(tag, scalar, row["step"])

  def close(self) -> None:
    """Flushes and closes the files."""
    self._board.close()

  def __enter__(self) -> MetricsWriter:
    return self

  def __exit__(self, *exc: object) -> None:
    self.close()


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
  """The complete rows of a JSON-lines file; a last line that a kill cut short is left out."""
  rows = []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      rows.append(json.loads(line))
    except json.JSONDecodeError:
      break
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
