"""Result tables: mean and spread over seeds, on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import rich.console
import rich.table


def mean_spread(values: Any, digits: int = 2) -> str:
  """`mean ± standard deviation` over seeds (of the sample; without it for one seed).

  Example:
    >>> from jaxmtl.training.results import mean_spread
    >>> mean_spread([1.0, 2.0, 3.0])
    '2.00 ± 1.00'
  """
  values = np.asarray(values, float).ravel()
  text = f"{values.mean():.{digits}f}"
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
  table = rich.table.Table(title=title)
  for column, name in enumerate(header):
    table.add_column(name, justify="right" if column else "left")
  for row in rows:
    table.add_row(*row)
  rich.console.Console().print(table)


def write_results(
  folder: pathlib.Path,
  title: str,
  header: Sequence[str],
  rows: Sequence[Sequence[str]],
  results: Any,
) -> None:
  """Writes `results.json` and `results.md`, and prints the table."""
  (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
  (folder / "results.md").write_text(f"# {title}\n\n{markdown_table(header, rows)}\n")
  print_table(title, header, rows)
