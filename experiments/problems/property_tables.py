"""Tables on images with a class and a property: columns, and their texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.problems.properties import COLUMNS
from experiments.runner.report import cell

ERRORS_HEADER = ["accuracy (%)", "MSE", "MAE", "MAPE (%)", "within 8 % (%)"]


def header(seeds: int) -> list[str]:
  """Of a table with a row a model."""
  return ["model", *ERRORS_HEADER, f"minutes, {seeds} seed(s)"]


def cells(row: Mapping[str, Any]) -> list[str]:
  """A row's texts, of `report.row`."""
  if row["failure"]:
    return [row["name"], "diverged", *["-"] * (len(COLUMNS) - 1), minutes(row["minutes"])]
  return [row["name"], *error_cells(row["values"]), minutes(row["minutes"])]


def baseline_cells(name: str, errors: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """The texts of a prediction that needs no network."""
  # It is told the class, or says none.
  return [name, "given" if "class" in name else "-", *error_cells(errors)[1:], "0"]


def error_cells(errors: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """The texts of errors by metric and task, mean and spread over seeds."""
  digits = {"accuracy": 2, "mse": 0 if _mean(errors["mse"]) >= 100 else 2, "mape": 2}
  return [cell(errors[name][task], digits.get(name, 1)) for name, task in COLUMNS.items()]


def _mean(by_task: Mapping[str, Any]) -> float:
  return float(np.mean([np.mean(np.asarray(v, float)) for v in by_task.values()]))


def minutes(number: float) -> str:
  """With as many digits as it takes to tell short ones apart."""
  return f"{number:.1f}" if number >= 10 else f"{number:.2f}"
