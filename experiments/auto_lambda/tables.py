"""Tables of the Auto-lambda experiment, in the form of the thesis' 3.1, 3.2, 3.4 and 3.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.auto_lambda import paper
from experiments.auto_lambda.compared import Compared
from experiments.auto_lambda.images import DOMAINS
from experiments.auto_lambda.jobs import MULTI_TASK
from experiments.problems.task_metrics import columns, names_of, task_cell, values_of
from experiments.runner.report import SINGLE, Row, cell
from jaxmtl.training.results import Table

DELTA = "delta_mtl"
# With more tasks than that, a table shows the hardest, and the mean of all.
_COLUMNS = 8


def tables(config: Compared, rows: Sequence[Row], metrics: Mapping[str, str]) -> list[Table]:
  """All tables that the rows give; the paper's figures stand below ours where there are some."""
  made = [_multi_task(config, rows, metrics), _auxiliary(config, rows, metrics)]
  made += [_combinations(rows), _hyper_parameters(config, rows)]
  return [table for table in made if table is not None]


def _multi_task(config: Compared, rows: Sequence[Row], metrics: Mapping[str, str]) -> Table:
  """Tables 3.1 and 3.2: each task's metric, and Delta_MTL."""
  # A mean of accuracies says something, one of errors in several units nothing.
  alike = set(metrics.values()) == {"accuracy"}
  is_paper, shown = config.data.dataset == DOMAINS, list(config.tasks)
  if len(shown) > _COLUMNS and is_paper:
    shown = list(paper.HARDEST)
  elif len(shown) > _COLUMNS and alike:
    single = rows[0]["values"].get("accuracy", {})
    shown = sorted(shown, key=lambda t: np.mean(single.get(t, 0)))[:5]
  elif len(shown) > _COLUMNS:
    shown = shown[:_COLUMNS]
  mean_of = ["mean"] if alike else []
  last = ["Delta_MTL (%)", f"ms a step, {config.run.seeds} seed(s)"]
  header = ["method", *columns(metrics, shown), *mean_of, *last]

  def cells(row: Row) -> list[str]:
    if row["failure"]:
      return [row["name"], "diverged", *["-"] * (len(header) - 2)]
    found = [task_cell(row, metrics, t) for t in shown]
    if alike:
      found.append(cell(np.mean([values_of(row, metrics, t) for t in config.judged], axis=0)))
    delta = "0" if row["name"] == SINGLE else cell(row["delta_mtl"])
    return [row["name"], *found, delta, f"{row['ms_per_step']:.1f}"]

  mine = [row for row in rows if row["setting"] == MULTI_TASK]
  made = [cells(row) for row in mine]
  for row in mine:
    if set(row["paper"] or ()) - {DELTA}:
      values = [_published(row, metrics[t], t) for t in shown]
      values += [_published(row, "accuracy", paper.MEAN)] if alike else []
      made.append([f"{row['name']}, paper", *values, _published(row, DELTA, "all"), "-"])
  excluded = "" if config.judged == config.tasks else " but noise"
  over = "mean and Delta_MTL" if alike else "Delta_MTL"
  title = f"{config.describe(names_of(metrics))}; {over} over all tasks{excluded}"
  return Table(title, header, made)


def _auxiliary(config: Compared, rows: Sequence[Row], metrics: Mapping[str, str]) -> Table | None:
  """Table 3.2, below: the primary task's metric, each from a run of its own."""
  runs = [row for row in rows if row["setting"] != MULTI_TASK]
  if not runs:
    return None
  primaries = config.primaries or config.judged
  by_key = {(row["name"], row["setting"]): row for row in runs}
  made = [[SINGLE, *(task_cell(rows[0], metrics, t) for t in primaries), "0"]]
  names = dict.fromkeys(row["name"] for row in runs)
  for name in names:
    cells: list[str] = []
    deltas: list[Any] = []
    for task in primaries:
      row = by_key.get((name, task))  # None where it is still to come
      if row is not None and row["failure"]:
        cells.append("diverged")
      else:
        cells.append("-" if row is None else task_cell(row, metrics, task))
      deltas.append(None if row is None else row["delta_mtl"])
    complete = all(delta is not None for delta in deltas)
    made.append([name, *cells, cell(np.mean(deltas, axis=0)) if complete else "-"])
  for name in names:
    values = [_published(by_key.get((name, t)), metrics[t], t) for t in primaries]
    if set(values) != {"-"}:
      made.append([f"{name}, paper", *values, "-"])
  title = f"Auxiliary learning: test {names_of(metrics)} of each task where it is the primary one"
  return Table(title, ["method", *columns(metrics, primaries), "Delta_MTL (%)"], made)


def _combinations(rows: Sequence[Row]) -> Table | None:
  """Table 3.5: Delta_MTL of weightings by aggregators."""
  pairs = {
    tuple((row["name"] + "+").split("+")[:2]): row
    for row in rows[1:]
    # What is no weighting or aggregator is none of the table's.
    if row["setting"] == MULTI_TASK and ", " not in row["name"] and "+dgr" not in row["name"]
  }
  columns = list(dict.fromkeys(first for first, second in pairs if second))
  if not columns:
    return None
  lines = ["", *dict.fromkeys(second for _, second in pairs if second)]

  def delta(first: str, second: str) -> str:
    row = pairs.get((first, second))
    return "-" if row is None or row["failure"] else cell(row["delta_mtl"])

  made = [[f"+ {a}" if a else "alone", *(delta(w, a) for w in columns)] for a in lines]
  for a in lines:
    published = [_published(pairs.get((w, a)), DELTA, "all") for w in columns]
    if set(published) != {"-"}:
      made.append([f"+ {a}, paper" if a else "alone, paper", *published])
  return Table("Delta_MTL (%) of weightings with aggregators", ["", *columns], made)


def _hyper_parameters(config: Compared, rows: Sequence[Row]) -> Table | None:
  """Table 3.4: last weights and Delta_MTL of Auto-lambda with other values."""
  multi_task = [row for row in rows if row["setting"] == MULTI_TASK]
  mine = [row for row in multi_task if row["name"].split(", ")[0] == "auto_lambda"]
  if len(mine) < 2:
    return None
  made = []
  for row in mine:
    name = row["name"].removeprefix("auto_lambda, ")
    if row["failure"]:
      made.append([name, *["-"] * len(config.tasks), "diverged"])
      continue
    last = row["values"]["last_weight"]
    weights = [f"{np.mean(last[t]):.2f}" for t in config.tasks]
    made.append([name, *weights, cell(row["delta_mtl"])])
  title = "Auto-lambda, multi-task: last weight of each task, and Delta_MTL (%)"
  header = ["setting", *config.tasks, "Delta_MTL (%)"]
  published = [_published(row, DELTA, "all") for row in mine]
  if set(published) != {"-"}:
    header.append("Delta_MTL (%), paper")
    made = [[*cells, text] for cells, text in zip(made, published, strict=True)]
  return Table(title, header, made)


def _published(row: Row | None, metric: str, task: str) -> str:
  """The paper's figure, a dash where there is none."""
  found = ((row or {}).get("paper") or {}).get(metric, {}).get(task)
  if found is None:
    return "-"
  return f"{found:.4g}" if metric == "absolute_error" else f"{found:.1f}"
