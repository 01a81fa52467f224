"""Result tables: mean and spread over seeds, on the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxmtl._extras import Optional

if TYPE_CHECKING:
  import rich.console as console
  import rich.table as tables
else:
  console = Optional("rich.console", "training", __name__)
  tables = Optional("rich.table", "training", __name__)


def mean_spread(values: Any, digits: int = 2) -> str:
  """`mean ± standard deviation` over seeds (of the sample; without it for one seed).

  Example:
    >>> from jaxmtl.training.results import mean_spread
    >>> mean_spread([1.0, 2.0, 3.0])
    '2.00 ± 1.00'
  """
  values = np.asarray(values, float).ravel()
  text = f"{values.mean():z.{digits}f}"  # z: no minus before 0
  return f"{text} ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else text


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A GitHub-flavoured Markdown table; the first column is text, the others numbers.

  Example:
    >>> from jaxmtl.training.results import markdown_table
    >>> print(markdown_table(["method", "accuracy"], [["a", "1.0"]]))
    | method | accuracy |
    | --- | ---: |
    | a | 1.0 |
  """
  lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
  """The same table on the terminal.

  Example:
    >>> from jaxmtl.training.results import print_table
    >>> print_table("results", ["method", "accuracy"], [["a", "1.0"]])  # doctest: +SKIP
  """
  shown = tables.Table(title=title)
  for column, name in enumerate(header):
    shown.add_column(name, justify="right" if column else "left", no_wrap=not column)
  for row in rows:
    shown.add_row(*row)
  terminal = console.Console()
  # A file takes lines of any length.
  (terminal if terminal.is_terminal else console.Console(width=160)).print(shown)


class Table(NamedTuple):
  """A table of text.

  Attributes:
    title: above it.
    header: names of the columns.
    rows: as many cells each.
  """

  title: str
  header: Sequence[str]
  rows: Sequence[Sequence[str]]
