"""The figure of what a method gains against what a step of it costs."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.runner.report import SINGLE, Row
from jaxmtl import plots


def draw_cost(
  path: pathlib.Path,
  rows: Sequence[Row],
  names: Sequence[str],
  seeds: int,
  gained: Callable[[Row], Any] = lambda row: row["delta_mtl"],
  ylabel: str = "Delta_MTL (%)",
) -> Figure:
  """A point a row that did not diverge and gained something known, single-task training among them.

  Args:
    path: of the file.
    rows: of the report.
    names: of all methods that will ever be here: partial figures have the colours of the last ones.
    seeds: that a step trains together.
    gained: a row's numbers by seed.
    ylabel: what they are.
  """
  values = {row["name"]: gained(row) for row in rows if not row["failure"]}
  points = {
    row["name"]: (row["ms_per_step"], values[row["name"]])
    for row in rows
    if known(values.get(row["name"]))
  }
  return plots.plot_trade_off(
    path,
    points,
    xlabel=f"time a step of {seeds} seed(s) (ms)",
    ylabel=ylabel,
    title="gain against cost",
    reference=SINGLE,
    colors=plots.palette(list(dict.fromkeys([SINGLE, *names, *points]))),
  )


def known(values: Any) -> bool:
  """Whether there are numbers, and none of them is null in JSON."""
  return values is not None and None not in np.atleast_1d(values).tolist()
