"""Result tables: mean and spread over seeds, on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

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


def relative_change(metrics: Any, single: Any, lower_is_better: Any = False) -> np.ndarray:
  r"""How much better than single-task training each task is, in per cent.

  .. math:: \Delta_t = 100 (-1)^{l_t} \frac{M_t - S_t}{S_t}

  with l_t = 1 where a lower metric is better.

  Args:
    metrics: M, float `[..., T]`.
    single: S, of networks trained on one task each, float `[..., T]`, not zero.
    lower_is_better: bool, or bools `[T]`.

  Returns:
    Float64 `[..., T]`, positive where the task gained.

  Raises:
    ValueError: if the shapes do not fit, or an element of `single` is zero.

  Example:
    >>> from jaxmtl.training.results import relative_change
    >>> relative_change([0.55, 2.0], [0.5, 4.0], [False, True]).round(6).tolist()
    [10.0, 50.0]
  """
  metrics, single = np.asarray(metrics, float), np.asarray(single, float)
  lower = np.asarray(lower_is_better, bool)
  if metrics.ndim < 1 or metrics.shape[-1:] != single.shape[-1:]:
    raise ValueError(
      "metrics and single must have the tasks as their last axis, got shapes "
      f"{metrics.shape} and {single.shape}."
    )
  if lower.shape not in ((), metrics.shape[-1:]):
    raise ValueError(
      f"lower_is_better must be one bool, or one a task ({metrics.shape[-1]}), got shape "
      f"{lower.shape}."
    )
  if not single.all():
    raise ValueError("single must not be zero: no change is relative to it; leave that task out.")
  return 100 * np.where(lower, -1, 1) * (metrics - single) / single


def delta_mtl(metrics: Any, single: Any, lower_is_better: Any = False) -> np.ndarray:
  r"""The mean over tasks of the relative change against single-task training, in per cent.

  .. math:: \Delta_{MTL} = \frac{100}{T} \sum_t (-1)^{l_t} \frac{M_t - S_t}{S_t}

  Args:
    metrics: as of `relative_change`, which this is the mean of.
    single: the same.
    lower_is_better: the same.

  Returns:
    Float64 `[...]`, positive where the tasks gained on average.

  Raises:
    ValueError: as `relative_change`.

  Example:
    >>> from jaxmtl.training.results import delta_mtl
    >>> float(delta_mtl([0.55, 2.0], [0.5, 4.0], [False, True]).round(6))
    30.0

  Reference:
    Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of Multiple Tasks", 2019, equation
    4.
  """
  return relative_change(metrics, single, lower_is_better).mean(-1)


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
    table.add_column(name, justify="right" if column else "left", no_wrap=not column)
  for row in rows:
    table.add_row(*row)
  console = rich.console.Console()
  # A file takes lines of any length.
  (console if console.is_terminal else rich.console.Console(width=160)).print(table)


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


def write_tables(folder: pathlib.Path, tables: Sequence[Table], results: Any) -> None:
  """Writes `results.json` and all tables to `results.md`, and prints them."""
  (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
  parts = [f"# {t.title}\n\n{markdown_table(t.header, t.rows)}\n" for t in tables]
  (folder / "results.md").write_text("\n".join(parts))
  for table in tables:
    print_table(*table)


def write_results(
  folder: pathlib.Path,
  title: str,
  header: Sequence[str],
  rows: Sequence[Sequence[str]],
  results: Any,
) -> None:
  """Writes `results.json` and `results.md`, and prints the table."""
  write_tables(folder, [Table(title, header, rows)], results)
