"""Image files with several labels, some of them missing: what a table or a folder says."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxmtl.data.splits import stratified_split

PARTS = ("train", "validation", "test")
MISSING = -1
_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledFiles:
  """Image files and what is known about each.

  Attributes:
    folder: to which the names are relative.
    names: of the files.
    labels: by task: int32 classes `[N]`, -1 where missing, or float64 numbers, NaN where missing.
    classes: by task: names of the classes in the order of their numbers; none for numbers.
    rows: where each file is named, for messages.
    parts: which of `train`, `validation` and `test` each file belongs to, or None.
  """

  folder: pathlib.Path
  names: tuple[str, ...]
  labels: dict[str, np.ndarray]
  classes: dict[str, tuple[str, ...]]
  rows: tuple[str, ...]
  parts: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.names)

  @property
  def paths(self) -> list[pathlib.Path]:
    """Of the files."""
    return [self.folder / name for name in self.names]

  def fingerprint(self) -> str:
    """What tells this data set from others: names, sizes, labels and parts; not where it lies."""
    digest = hashlib.sha256(repr(self.classes).encode())
    for path, name in zip(self.paths, self.names, strict=True):
      digest.update(f"{name}\0{path.stat().st_size}\n".encode())
    for task, values in self.labels.items():
      digest.update(task.encode() + values.tobytes())
    if self.parts is not None:
      digest.update("\n".join(self.parts.tolist()).encode())
    return digest.hexdigest()[:16]

  def split(self, seed: int = 0) -> dict[str, np.ndarray]:
    """Indices by part: those of the files' own parts, or a drawn 60, 20 and 20 %.

    Drawn parts are stratified by the first task that has classes, missing ones being a class of
    their own. The test part never depends on the seed. Where there are own parts, there may be no
    validation.

    Args:
      seed: of what is held out for validation.

    Raises:
      ValueError: if a part that is needed has no file, or nothing to learn or to measure.
    """
    found = self._drawn(seed) if self.parts is None else self._own()
    for task, values in self.labels.items():
      known = values != MISSING if self.classes[task] else ~np.isnan(values)
      for part in ("train", "test"):
        if not known[found[part]].any():
          raise ValueError(f"task {task!r} has no label in the {part} part.")
      train = values[found["train"]][known[found["train"]]]
      if (train == train[0]).all():
        only = repr(self.classes[task][train[0]] if self.classes[task] else float(train[0]))
        raise ValueError(
          f"task {task!r} has {only} alone in the train part: there is nothing to learn."
        )
    return found

  def _drawn(self, seed: int) -> dict[str, np.ndarray]:
    if len(self) < 5:
      raise ValueError(f"5 images or more can be split into parts, got {len(self)}.")
    by_class = [values for task, values in self.labels.items() if self.classes[task]]
    strata = by_class[0] if by_class else np.zeros(len(self), np.int32)
    rest, test = stratified_split(strata, 0.2)
    kept, held_out = stratified_split(strata[rest], 0.25, seed)
    return {"train": rest[kept], "validation": rest[held_out], "test": test}

  def _own(self) -> dict[str, np.ndarray]:
    found = {part: np.flatnonzero(self.parts == part) for part in PARTS}
    if missing := [part for part in ("train", "test") if not len(found[part])]:
      raise ValueError(
        f"{' and '.join(missing)} must have images, got {len(found['train'])} for train, "
        f"{len(found['validation'])} for validation, {len(found['test'])} for test."
      )
    return {part: rows for part, rows in found.items() if len(rows)}


def part_of(name: str) -> str | None:
  """The part that a name stands for, or None."""
  name = name.strip().lower()
  return {"val": "validation", "valid": "validation"}.get(name, name if name in PARTS else None)


def labels_of(
  columns: Mapping[str, Sequence[str]],
  rows: Sequence[str],
  regression: Sequence[str] = (),
  classification: Sequence[str] = (),
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
  """Labels and classes by task, from columns of text, empty where missing.

  A column is a regression if its values are numbers that are not all integers, or if it is named as
  one; its values are classes otherwise, integers in the order of size, texts in that of letters.

  Raises:
    ValueError: naming row and column, for a number that is none, or a column that has no label, a
      single one, or another one in every row.
  """
  labels, classes = dict[str, np.ndarray](), dict[str, tuple[str, ...]]()
  for task, values in columns.items():
    known = [i for i, value in enumerate(values) if value]
    if not known:
      raise ValueError(f"column {task!r} has no label at all.")
    numbers = {i: number for i in known if (number := _number(values[i])) is not None}
    strange = [i for i in known if i not in numbers]
    whole = all(number.is_integer() for number in numbers.values())
    as_number = task in regression or (task not in classification and not whole)
    if as_number and strange:
      i = strange[0]
      mend = f"take texts and numbers for classes with --classification {task}"
      if task in regression:
        mend = "leave the column out of --regression"
      raise ValueError(
        f"{rows[i]}: column {task!r} has {values[i]!r} where numbers are; leave it empty if it is "
        f"not known, or {mend}."
      )
    if as_number:
      if bad := [i for i, number in numbers.items() if not abs(number) <= _LARGEST]:
        raise ValueError(
          f"{rows[bad[0]]}: column {task!r} has {values[bad[0]]!r}; leave it empty if it is not "
          "known, and give others a unit in which 32 bits hold them."
        )
      labels[task] = np.full(len(values), np.nan)
      labels[task][known] = [numbers[i] for i in known]
      classes[task] = ()
      continue
    # Tables that were written with gaps have 3.0 for 3.
    plain = whole and not strange
    texts = {i: str(int(numbers[i])) if plain else values[i] for i in known}
    names = sorted(set(texts.values()), key=int if plain else str)
    if len(names) == 1:
      raise ValueError(
        f"column {task!r} has a single class, {names[0]!r} ({rows[known[0]]} and all others)."
      )
    if len(names) == len(known) > 2:
      raise ValueError(
        f"column {task!r} has another class in every row, such as {names[0]!r} ({rows[known[0]]}); "
        "name the columns to learn with --tasks"
        + (f", or take it for numbers with --regression {task}." if plain else ".")
      )
    number_of = {name: k for k, name in enumerate(names)}
    labels[task] = np.full(len(values), MISSING, np.int32)
    labels[task][known] = [number_of[texts[i]] for i in known]
    classes[task] = tuple(names)
  return labels, classes


def _number(text: str) -> float | None:
  try:
    return float(text.replace("_", "x"))  # Python takes 1_000 for a number
  except ValueError:
    return None
