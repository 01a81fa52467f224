"""Tables of image files and their labels: CSV or Parquet, a column a task."""

from __future__ import annotations

import csv
import numbers
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from jaxmtl.data.labelled_files import LabelledFiles, labels_of, part_of

MANIFEST_SUFFIXES = (".csv", ".tsv", ".parquet")
PATH, SPLIT = "path", "split"
_DELIMITERS = (",", ";", "\t")
# What a batch holds beside the labels.
_TAKEN = ("image", "valid")


def read_manifest(
  path: str | os.PathLike,
  *,
  tasks: Sequence[str] = (),
  regression: Sequence[str] = (),
  classification: Sequence[str] = (),
) -> LabelledFiles:
  r"""Read a table with a row an image.

  Its column `path` names the file, relative to the table. Every other column is a task, an empty
  cell a label that is not known. A column is a regression if its values are numbers that are not
  all integers; integers and texts are classes. An optional column `split` says `train`,
  `validation` (or `val`) or `test`.

  Args:
    path: A `.csv` (separated by commas, semicolons or tabs), `.tsv` or `.parquet` file.
    tasks: which columns to take; all where none is named.
    regression: columns of integers that are numbers, not classes.
    classification: columns of numbers that are classes all the same.

  Returns:
    The `LabelledFiles`; files are not looked at yet.

  Raises:
    FileNotFoundError: if there is no such table.
    ValueError: naming file, row and column, if the table is not as described above, or a column is
      not there.
    ImportError: for Parquet without pyarrow.

  Example:
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   table = pathlib.Path(folder) / "labels.csv"
    ...   _ = table.write_text("path,kind,age\na.png,cat,1.5\nb.png,dog,\nc.png,,2.5\n")
    ...   files = read_manifest(table)
    >>> files.classes, files.labels["kind"].tolist(), files.labels["age"].tolist()
    ({'kind': ('cat', 'dog'), 'age': ()}, [0, 1, -1], [1.5, nan, 2.5])
  """
  file, lines = _opened(path)
  _, header = next(lines)
  _check_header(file.name, header)
  body = list(lines)
  if not body:
    raise ValueError(f"{file.name} has no rows.")
  known = _tasks(header)
  for option, names in (("tasks", tasks), *_named(regression, classification)):
    if unknown := [name for name in names if name not in known]:
      raise ValueError(
        f"{file.name} has no column {unknown[0]!r} ({option}); its tasks are {', '.join(known)}."
      )
  if both := set(regression) & set(classification):
    raise ValueError(f"column {min(both)!r} is named for regression and for classification.")
  rows = tuple(f"{file.name}, row {number}" for number, _ in body)
  columns = dict(zip(header, zip(*(cells for _, cells in body), strict=True), strict=True))
  names, first = columns[PATH], dict[str, str]()
  for row, name in zip(rows, names, strict=True):
    if not name:
      raise ValueError(f"{row}: column 'path' is empty.")
    # The same file may be written in two ways, and would get into two parts.
    place = os.path.normpath(file.parent / name)
    if place in first:
      raise ValueError(f"{row}: {name!r} stands in {first[place]} already.")
    first[place] = row
  parts = None
  if SPLIT in columns:
    found = [part_of(text) for text in columns[SPLIT]]
    if None in found:
      i = found.index(None)
      raise ValueError(
        f"{rows[i]}: split must be train, validation or test, got {columns[SPLIT][i]!r}."
      )
    parts = found
  chosen = {task: columns[task] for task in (tasks or known)}
  try:
    labels, classes = labels_of(chosen, rows, regression, classification)
  except ValueError as error:
    where = "" if str(error).startswith(file.name) else f"{file.name}: "
    raise ValueError(f"{where}{error}") from None
  return LabelledFiles(
    file.parent, names, labels, classes, rows, None if parts is None else np.array(parts)
  )


def manifest_tasks(path: str | os.PathLike) -> tuple[str, ...]:
  """The columns of a table that are tasks; its rows are not looked at.

  Raises:
    FileNotFoundError: if there is no such table.
    ValueError: if its header is not as `read_manifest` has it.
  """
  file, lines = _opened(path)
  _, header = next(lines)
  _check_header(file.name, header)
  return tuple(_tasks(header))


def _opened(path: str | os.PathLike) -> tuple[pathlib.Path, Iterator[tuple[int, list[str]]]]:
  """The file and its lines by number, header first."""
  file = pathlib.Path(path).expanduser()
  if not file.is_file():
    raise FileNotFoundError(f"there is no table {str(path)!r}.")
  if file.suffix.lower() not in MANIFEST_SUFFIXES:
    raise ValueError(f"{str(path)!r} must end in one of {', '.join(MANIFEST_SUFFIXES)}.")
  return file, _parquet(file) if file.suffix.lower() == ".parquet" else csv_lines(file)


def _tasks(header: Sequence[str]) -> list[str]:
  return [name for name in header if name not in (PATH, SPLIT)]


def _named(*options: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
  return list(zip(("regression", "classification"), options, strict=True))


def _check_header(file: str, header: Sequence[str]) -> None:
  """Raises ValueError for names that are missing, there twice, or that cannot be used."""
  if PATH not in header:
    raise ValueError(f"{file} must have a column 'path', got {', '.join(map(repr, header))}.")
  if twice := [name for name in header if header.count(name) > 1]:
    raise ValueError(f"{file} has column {twice[0]!r} twice.")
  if not _tasks(header):
    raise ValueError(f"{file} must have a column for a task beside 'path', got none.")
  for name in header:
    if not name or "/" in name or name in _TAKEN:
      raise ValueError(
        f"{file}: a column must have a name without a slash other than {' and '.join(_TAKEN)}, got "
        f"{name!r}; rename it."
      )


def csv_lines(file: pathlib.Path, column: str = PATH) -> Iterator[tuple[int, list[str]]]:
  """Lines by number, header first, cells stripped; empty lines are left out.

  Args:
    file: a table that is separated by commas, semicolons or tabs.
    column: one that it has, by which the separator is found.

  Raises:
    ValueError: naming file and row, if it is empty, no CSV in UTF-8, or rows differ in length.
  """
  try:
    with file.open(newline="", encoding="utf-8-sig") as opened:
      first = next((line for line in opened if line.strip()), "")
      opened.seek(0)
      cells = (d for d in _DELIMITERS if column in [c.strip(' "\r\n') for c in first.split(d)])
      width = None
      reader = csv.reader(opened, delimiter=next(cells, ","), strict=True)
      for line in reader:
        line = [cell.strip() for cell in line]
        if not any(line):
          continue
        width = width or len(line)
        if len(line) != width:
          raise ValueError(
            f"{file.name}, row {reader.line_num}: it has {len(line)} cells, the header {width}."
          )
        yield reader.line_num, line
      if width is None:
        raise ValueError(f"{file.name} is empty.")
  except (csv.Error, UnicodeDecodeError) as error:
    raise ValueError(f"{file.name} is no CSV file in UTF-8: {error}.") from None


def _parquet(file: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
  """Names of the columns, then rows by number from 1, as text."""
  try:
    import pyarrow
    import pyarrow.parquet
  except ImportError:
    raise ImportError(
      f"{file.name} is a Parquet file, which needs pyarrow: pip install pyarrow, or use CSV."
    ) from None
  try:
    table = pyarrow.parquet.read_table(file)
  except (pyarrow.ArrowInvalid, OSError) as error:
    raise ValueError(f"{file.name} is no Parquet file: {error}.") from None
  header = list(table.column_names)
  yield 0, header
  columns = [column.to_pylist() for column in table.columns]
  for number, row in enumerate(zip(*columns, strict=True), start=1):
    cells = []
    for name, value in zip(header, row, strict=True):
      if value is None or value != value:  # NaN stands for nothing, as pandas writes it
        value = ""
      elif not isinstance(value, str | bool | numbers.Number):
        raise ValueError(
          f"{file.name}, row {number}: column {name!r} must hold texts or numbers, got a "
          f"{type(value).__name__}."
        )
      cells.append(str(value).strip())
    yield number, cells
