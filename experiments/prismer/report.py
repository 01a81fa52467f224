"""Tables of Prismer's trainings."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.prismer.asked import Texts
from experiments.prismer.config import Config
from experiments.prismer.jobs import Key, Planned
from experiments.prismer.variants import FULL, PLAIN
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import Row, cell
from jaxmtl.training.results import Table

UNITS = {"loss": "nats a piece"}
MAIN = {"caption": "CIDEr-D", "vqa": "accuracy", "classify": "accuracy"}
"""The figure of each task that ablations show."""


def write(
  config: Config,
  planned: Mapping[Key, Planned],
  found: Mapping[Key, tuple[Outcome, Texts | None]],
  folder: pathlib.Path,
  partial: str | None = None,
) -> dict[str, Any]:
  """Writes tables and results of what there is so far.

  Args:
    config: the options.
    planned: the trainings.
    found: outcome and texts by method and variant.
    folder: where they go.
    partial: what there is, where it is not all.
  """
  rows = {key: _row(key, *of_key) for key, of_key in found.items()}
  several = len(config.methods) > 1
  names = {key: f"{key[0]} {key[1]}" if several else key[1] for key in rows}
  measures = _measures(rows)
  usual = [key for key in rows if key[1] in config.variants]
  tables = [
    Table(
      f"{config.describe()}: test part",
      ["network", *(_title(m, t) for m, t in measures), "ms a step"],
      [[names[key], *_cells(rows[key], measures), _time(rows[key])] for key in usual],
    )
  ]
  tables += _of_kinds(found, names, usual)
  for ablation in config.ablations:
    tables += _of_ablation(config, planned, rows, names, ablation)
  return report.write_report(
    folder,
    "prismer",
    dataclasses.asdict(config),
    list(rows.values()),
    tables,
    conclusions=_conclusions(rows),
    partial=partial,
  )


def _row(key: Key, outcome: Outcome, texts: Texts | None) -> Row:
  method, variant = key
  return report.row(variant, outcome, setting=method, further=texts.scores if texts else {})


def _measures(rows: Mapping[Key, Row]) -> list[tuple[str, str]]:
  """Metric and task, in the order of the tasks."""
  found = {(m, t): None for row in rows.values() for m, by in row["values"].items() for t in by}
  tasks = list(dict.fromkeys(task for _, task in found))
  return sorted(found, key=lambda pair: (tasks.index(pair[1]), pair[0] == "loss"))


def _title(metric: str, task: str) -> str:
  return f"{task}: {metric}" + (f" ({UNITS[metric]})" if metric in UNITS else "")


def _cells(row: Row, measures: Sequence[tuple[str, str]]) -> list[str]:
  if row["failure"]:
    return ["diverged"] * len(measures)
  return [cell(row["values"].get(m, {}).get(t), 3 if m == "loss" else 1) for m, t in measures]


def _time(row: Row) -> str:
  return f"{row['ms_per_step']:.0f}"


def _of_kinds(
  found: Mapping[Key, tuple[Outcome, Texts | None]], names: Mapping[Key, str], keys: Sequence[Key]
) -> list[Table]:
  by_key = {key: texts.kinds for key in keys if (texts := found[key][1]) is not None}
  kinds = list(dict.fromkeys(kind for of_key in by_key.values() for kind in of_key))
  if not kinds:
    return []
  lines = [
    [names[key], *(cell(of_key.get(kind)) for kind in kinds)] for key, of_key in by_key.items()
  ]
  return [Table("Accuracy (%) by what a question asks for", ["network", *kinds], lines)]


def _of_ablation(
  config: Config,
  planned: Mapping[Key, Planned],
  rows: Mapping[Key, Row],
  names: Mapping[Key, str],
  ablation: str,
) -> list[Table]:
  """Parameters and time against Prismer as it is, and the main figure of each task."""
  chosen = [key for key in rows if key[1] in config.of_ablation(ablation)]
  measures = [(MAIN[task], task) for task in config.data.tasks]
  lines = []
  for key in chosen:
    full = (key[0], FULL)
    relative = ["-", "-"]
    if full in rows and not rows[key]["failure"]:
      sizes = parameters(planned[key]) / parameters(planned[full])
      times = rows[key]["ms_per_step"] / rows[full]["ms_per_step"]
      relative = [f"{sizes:.2f}", f"{times:.2f}"]
    lines.append([names[key], *relative, *_cells(rows[key], measures)])
  header = ["network", "parameters", "step time", *(_title(m, t) for m, t in measures)]
  title = f"Ablation of {ablation}: parameters and time relative to {FULL}"
  return [Table(title, header, lines)] if lines else []


def parameters(planned: Planned) -> int:
  """Number of the network's parameters."""
  shapes = jax.eval_shape(lambda key: planned.job.problem.init(key, None), jax.random.key(0))
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes["params"]))


def _conclusions(rows: Mapping[Key, Row]) -> list[str]:
  """Prismer against PrismerZ."""
  said = []
  for method in dict.fromkeys(method for method, _ in rows):
    pair = [rows.get((method, name)) for name in (FULL, PLAIN)]
    if any(row is None or row["failure"] for row in pair):
      continue
    mine, other = (row["values"] for row in pair if row is not None)
    for task, metric in MAIN.items():
      if task in mine.get(metric, {}) and task in other.get(metric, {}):
        pair_of = (FULL, mine[metric][task]), (PLAIN, other[metric][task])
        unit = "" if metric == "CIDEr-D" else " %"
        said.append(report.compared(_title(metric, task), *pair_of[0], *pair_of[1], unit=unit))
  return said
