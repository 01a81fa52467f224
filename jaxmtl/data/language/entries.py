"""JSON files of data sets, entry by entry, and the images that they name."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from jaxmtl.data.folders import check_below

_SHOWN = 3


def read_json(file: pathlib.Path, kind: type, what: str) -> Any:
  """What a JSON file holds.

  Args:
    file: to read.
    kind: list or dict.
    what: what the file must hold, for messages.

  Raises:
    FileNotFoundError: naming it, if it is not there.
    ValueError: naming it, if it is no JSON, empty, or of another kind.
  """
  try:
    found = json.loads(file.read_text(encoding="utf-8-sig"))
  except FileNotFoundError:
    raise FileNotFoundError(f"there is no {str(file)!r}, {what}.") from None
  except ValueError as error:  # a UnicodeDecodeError is one, too
    raise ValueError(f"{str(file)!r} is no JSON file in UTF-8: {error}.") from None
  if not isinstance(found, kind) or not found:
    got = "nothing" if found == kind() else type(found).__name__
    raise ValueError(f"{str(file)!r} must hold {what}, got {got}.")
  return found


class Entry:
  """One entry of a file's list, whose fields are checked when they are read.

  Args:
    file: where it stands.
    number: of the entry, from 0.
    fields: its content.
  """

  def __init__(self, file: pathlib.Path, number: int, fields: Any):
    self.where = f"{file.name}, entry {number}"
    if not isinstance(fields, Mapping):
      raise ValueError(f"{self.where}: it must be an object with fields, got {fields!r:.80}.")
    self._fields = fields

  def __contains__(self, name: str) -> bool:
    return name in self._fields

  def text(self, name: str) -> str:
    """A text that is not empty."""
    found = self._fields.get(name)
    if not isinstance(found, str) or not found.strip():
      raise ValueError(
        f"{self.where}: {name!r} must be a text that is not empty, got {found!r:.80}."
      )
    return found

  def number(self, name: str) -> int:
    """An integer, which may be written as a text."""
    found = self._fields.get(name)
    try:
      if isinstance(found, str) or type(found) is int:
        return int(found)
    except ValueError:
      pass
    raise ValueError(f"{self.where}: {name!r} must be an integer, got {found!r:.80}.")

  def weight(self, name: str) -> float:
    """A finite number that is not negative."""
    found = self._fields.get(name)
    if isinstance(found, int | float) and 0 <= found < float("inf"):
      return float(found)
    raise ValueError(f"{self.where}: {name!r} must be a number of at least 0, got {found!r:.80}.")

  def entries(self, name: str) -> list[Any]:
    """A list that is not empty."""
    found = self._fields.get(name)
    if not isinstance(found, list) or not found:
      raise ValueError(
        f"{self.where}: {name!r} must be a list that is not empty, got {found!r:.80}."
      )
    return found


def entries_of(file: pathlib.Path, what: str) -> list[Entry]:
  """The entries of a file that holds a list of objects."""
  return [Entry(file, i, fields) for i, fields in enumerate(read_json(file, list, what))]


def paths_of(root: pathlib.Path, names: Iterable[str], source: str) -> tuple[pathlib.Path, ...]:
  """The files of images, all of which are there.

  Args:
    root: to which names are relative.
    names: of the images, which others wrote: they lead nowhere else.
    source: what names them.

  Raises:
    FileNotFoundError: with their number and the first ones, if some are missing.
    ValueError: naming one that is not below the folder.
  """
  paths = []
  for name in names:
    check_below(name, source)
    paths.append(root / name)
  missing = [str(path) for path in dict.fromkeys(paths) if not os.path.isfile(path)]
  if missing:
    raise FileNotFoundError(
      f"{source} names {len(missing)} image(s) that are not there: "
      f"{', '.join(missing[:_SHOWN])}{', ...' if len(missing) > _SHOWN else ''}."
    )
  return tuple(paths)
