"""Tables of `experiments.auto_lambda`, in the form of the thesis' 3.1, 3.2, 3.4 and 3.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import domains
from experiments.benchmark_training import Outcome
from jaxmtl.training.results import Table, delta_mtl, mean_spread

MULTI_TASK, NOISE = "multi-task", "noise"
SINGLE = "single task"
# With more tasks than that, a table shows the hardest, and the mean of all.
_COLUMNS = 8

Outcomes = Mapping[tuple[str, str], Outcome]
Rows = list[dict[str, Any]]


def rows(tasks: Sequence[str], outcomes: Outcomes, single: Outcome) -> Rows:
  """What `results.json` holds of each run: single-task training first."""

  def row(setting: str, name: str, outcome: Outcome) -> dict[str, Any]:
    if outcome.failure is not None:
      return {"setting": setting, "method": name, "failure": outcome.failure}
    counted = [t for t in tasks if t != NOISE] if setting == MULTI_TASK else [setting]
    mine, alone = (np.stack([o.accuracy[t] for t in counted], axis=-1) for o in (outcome, single))
    return {
      "setting": setting,
      "method": name,
      "test_accuracy": {t: values.tolist() for t, values in outcome.accuracy.items()},
      "delta_mtl": delta_mtl(mine, alone).tolist(),
      "last_weights": {t: values[:, -1].tolist() for t, values in outcome.weights.items()},
      "ms_per_step": outcome.ms_per_step,
      "failure": None,
    }

  return [
    row(MULTI_TASK, SINGLE, single),
    *(row(*key, outcome) for key, outcome in outcomes.items()),
  ]


def differences(outcomes: Outcomes, approximate: str) -> dict[str, dict[str, Any]]:
  """Of the exact weights and their approximation, mean and largest over seeds and epochs."""
  exact = outcomes.get((MULTI_TASK, "auto_lambda"))
  near = outcomes.get((MULTI_TASK, approximate))
  if exact is None or near is None:
    return {}
  gaps = {t: np.abs(exact.weights[t] - near.weights[t]) for t in exact.weights if near.weights}
  return {t: {"mean": float(gap.mean()), "largest": float(gap.max())} for t, gap in gaps.items()}


def tables(title: str, tasks: Sequence[str], found: Rows, dataset: str) -> list[Table]:
  """All tables that the runs give; the paper's figures stand below ours where there are some."""
  paper = dataset == "cifar100"
  made = [_multi_task(title, tasks, found, paper), _auxiliary(found, paper)]
  made += [_combinations(found), _hyper_parameters(tasks, found)]
  return [table for table in made if table is not None]


def _multi_task(title: str, tasks: Sequence[str], found: Rows, paper: bool) -> Table:
  """Tables 3.1 and 3.2: each task's metric, and Delta_MTL."""
  single = found[0]["test_accuracy"]
  counted = [t for t in tasks if t != NOISE]
  shown = list(tasks)
  if len(tasks) > _COLUMNS:
    hardest = sorted(tasks, key=lambda t: np.mean(single[t]))[:5]
    shown = list(domains.HARDEST) if paper else hardest
  header = ["method", *shown, "mean", "Delta_MTL (%)", "ms a step"]

  def cells(row: dict[str, Any]) -> list[str]:
    if row["failure"]:
      return [row["method"], "diverged", *["-"] * (len(header) - 2)]
    by_task = row["test_accuracy"]
    mean = np.mean([by_task[t] for t in counted], axis=0)
    accuracies = [*(by_task[t] for t in shown), mean, row["delta_mtl"]]
    spread = [mean_spread(values, 1) for values in accuracies]
    return [row["method"], *spread, f"{row['ms_per_step']:.1f}"]

  made = [cells(row) for row in found if row["setting"] == MULTI_TASK]
  if paper:
    names = {row[0] for row in made}
    made += [
      [f"{name}, paper", *(f"{v:.1f}" for v in values), "-", "-"]
      for name, values in domains.PAPER.items()
      if name in names
    ]
  excluded = " but noise" if NOISE in tasks else ""
  return Table(f"{title}; mean and Delta_MTL over all tasks{excluded}", header, made)


def _auxiliary(found: Rows, paper: bool) -> Table | None:
  """Table 3.2, below: the primary task's metric, each from a run of its own."""
  runs = [row for row in found if row["setting"] != MULTI_TASK]
  if not runs:
    return None
  primaries = list(dict.fromkeys(row["setting"] for row in runs))
  by_key = {(row["method"], row["setting"]): row for row in runs}
  single = found[0]["test_accuracy"]
  made = [[SINGLE, *(mean_spread(single[t], 1) for t in primaries), "0"]]
  for name in dict.fromkeys(row["method"] for row in runs):
    mine = [by_key[name, t] for t in primaries]
    failed = [bool(row["failure"]) for row in mine]
    cells = [
      "diverged" if lost else mean_spread(row["test_accuracy"][row["setting"]], 1)
      for row, lost in zip(mine, failed, strict=True)
    ]
    change = "-" if any(failed) else mean_spread(np.mean([r["delta_mtl"] for r in mine], axis=0), 1)
    made.append([name, *cells, change])
  if paper:
    places = [domains.HARDEST.index(t) if t in domains.HARDEST else None for t in primaries]
    made += [
      [f"{name}, paper", *("-" if p is None else f"{values[p]:.1f}" for p in places), "-"]
      for name, values in domains.PAPER_AUXILIARY.items()
    ]
  title = "Auxiliary learning: test accuracy (%) of each task where it is the primary one"
  return Table(title, ["method", *primaries, "Delta_MTL (%)"], made)


def _combinations(found: Rows) -> Table | None:
  """Table 3.5: Delta_MTL of weightings by aggregators."""
  pairs = {
    tuple((row["method"] + "+").split("+")[:2]): row
    for row in found[1:]
    if row["setting"] == MULTI_TASK and "," not in row["method"]
  }
  columns = list(dict.fromkeys(first for first, second in pairs if second))
  if not columns:
    return None
  lines = ["", *dict.fromkeys(second for _, second in pairs if second)]

  def cell(first: str, second: str) -> str:
    row = pairs.get((first, second))
    return "-" if row is None or row["failure"] else mean_spread(row["delta_mtl"], 1)

  made = [[f"+ {a}" if a else "alone", *(cell(w, a) for w in columns)] for a in lines]
  return Table("Delta_MTL (%) of weightings with aggregators", ["", *columns], made)


def _hyper_parameters(tasks: Sequence[str], found: Rows) -> Table | None:
  """Table 3.4: last weights and Delta_MTL of Auto-lambda with other values."""
  multi_task = [row for row in found if row["setting"] == MULTI_TASK]
  mine = [row for row in multi_task if row["method"].split(",")[0] == "auto_lambda"]
  if len(mine) < 2:
    return None
  made = []
  for row in mine:
    name = row["method"].removeprefix("auto_lambda, ")
    if row["failure"]:
      made.append([name, *["-"] * len(tasks), "diverged"])
      continue
    weights = [f"{np.mean(row['last_weights'][t]):.2f}" for t in tasks]
    made.append([name, *weights, mean_spread(row["delta_mtl"], 1)])
  title = "Auto-lambda, multi-task: last weight of each task, and Delta_MTL (%)"
  return Table(title, ["setting", *tasks, "Delta_MTL (%)"], made)
