"""Table of the toy problem."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import Row
from experiments.toy import figures
from experiments.toy.config import Config
from experiments.toy.paths import Path
from experiments.toy.problem import STARTS, distance_to_front, losses_fn
from jaxmtl.training.results import Table

NEAR = 0.1
"""Distance to the front, in units of the losses, up to which an end counts as on it."""
TASKS = ("first", "second")


def write(
  config: Config,
  paths: Mapping[str, Path],
  left_out: Mapping[str, str],
  front: tuple[np.ndarray, np.ndarray],
  folder: pathlib.Path,
  partial: str | None = None,
) -> dict[str, Any]:
  """Writes table and results of what there is so far, and of all of it the figure.

  Args:
    config: the options.
    paths: by method.
    left_out: why others are not there.
    front: parameters and losses on the Pareto front.
    folder: where all goes.
    partial: what there is so far, None for all.
  """
  rows = [_row(config, name, path, front[1], folder) for name, path in paths.items()]
  starts = [f"from ({x:g}, {y:g})" for x, y in STARTS]
  title = (
    f"Two objectives, the first scaled by {config.scale_first:g}: both losses at the end and, in "
    f"brackets, their distance to the Pareto front, after {config.steps} steps of Adam, learning "
    f"rate {config.learning_rate:g}; the last column counts distances below {NEAR:g}"
  )
  summary = report.write_report(
    folder,
    "toy",
    dataclasses.asdict(config),
    rows,
    [Table(title, ["method", *starts, f"within {NEAR:g}"], [_cells(row) for row in rows])],
    conclusions=_conclusions(rows),
    partial=partial,
    starts=STARTS,
    left_out=left_out,
  )
  if partial is None:
    titles = {row["name"]: f"{row['name']}, {reached(row)}" for row in rows}
    points = {titles[name]: path.points for name, path in paths.items()}
    figures.draw(config, points, front[0], NEAR, folder)
  return summary


def _row(config: Config, name: str, path: Path, front: np.ndarray, folder: pathlib.Path) -> Row:
  """A row whose numbers are by start, as others' are by seed."""
  ends = path.points[:, -1]
  losses = np.asarray(jax.vmap(lambda t: losses_fn(t, config.scale_first))(jnp.asarray(ends)))
  lost = None if np.isfinite(path.points).all() else "parameters stopped being finite"
  outcome = Outcome(
    name=name,
    tasks=TASKS,
    values={
      "loss": {task: losses[:, i] for i, task in enumerate(TASKS)},
      "distance": {"front": distance_to_front(losses, front)},
      "end": {f"theta_{i + 1}": ends[:, i] for i in range(2)},
    },
    history=[],
    ms_per_step=1000 * path.seconds / config.steps,
    compile_seconds=path.compile_seconds,
    minutes=(path.seconds + path.compile_seconds) / 60,
    failure=lost,
    folder=folder,
  )
  return report.row(name, outcome)


def reached(row: Row) -> str:
  """From how many starts the front was reached."""
  if row["failure"]:
    return "diverged"
  return f"{_count(row)} of {len(STARTS)}"


def _count(row: Row) -> int:
  return sum(distance < NEAR for distance in row["values"]["distance"]["front"])


def _cells(row: Row) -> list[str]:
  if row["failure"]:
    return [row["name"], *["-"] * len(STARTS), reached(row)]
  values = row["values"]
  numbers = zip(*(values["loss"][task] for task in TASKS), values["distance"]["front"], strict=True)
  cells = [f"{first:.1f}, {second:.1f} ({distance:.2f})" for first, second, distance in numbers]
  return [row["name"], *cells, reached(row)]


def _conclusions(rows: list[Row]) -> list[str]:
  """Which methods reach the front, by the number of starts."""
  by_count: dict[int, list[str]] = {}
  for row in rows:
    if not row["failure"]:
      by_count.setdefault(_count(row), []).append(row["name"])
  found = [f"from {n} of {len(STARTS)} starts: {', '.join(by_count[n])}" for n in sorted(by_count)]
  return [f"Within {NEAR:g} of the front {'; '.join(found[::-1])}."] if found else []
