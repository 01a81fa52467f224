"""Tables of `experiments.dgr`, in the form of the paper's, with its figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.benchmark_training import Outcome
from experiments.dgr_features import PROBES
from jaxmtl.training.results import Table, delta_mtl, mean_spread

SINGLE = "single task"
Rows = list[dict[str, Any]]

# Table 1: test accuracies of age, gender and ethnicity in per cent, and Delta_MTL, alone and with
# DGR.
_PAPER: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
  "equal": ((53.91, 91.53, 79.48, 2.66), (56.05, 90.19, 79.42, 3.50)),
  "dwa": ((53.70, 91.48, 79.89, 2.68), (53.36, 91.35, 80.56, 2.71)),
  "uncertainty": ((53.85, 91.37, 79.61, 2.62), (54.55, 91.18, 79.88, 3.11)),
  "auto_lambda": ((54.05, 91.71, 79.65, 2.89), (55.03, 91.63, 80.14, 3.69)),
  "pcgrad": ((54.17, 91.34, 79.60, 2.80), (54.31, 89.99, 79.86, 2.50)),
  "cagrad": ((53.90, 92.39, 79.94, 3.17), (55.10, 91.69, 80.94, 4.11)),
  "imtl_l+imtl_g": ((52.50, 91.73, 80.39, 2.23), (54.30, 90.20, 80.51, 2.86)),
  "nash_mtl": ((54.85, 91.72, 80.21, 3.64), (55.45, 90.63, 80.55, 3.77)),
}
PAPER: dict[str, tuple[float, ...]] = {SINGLE: (52.33, 89.64, 77.28, 0.0)}
for _name, (_alone, _with) in _PAPER.items():
  PAPER |= {_name: _alone, f"{_name}+dgr": _with}


def rows(
  tasks: Sequence[str],
  outcomes: Mapping[str, Outcome],
  single: Outcome,
  probes: Mapping[str, Any],
  universality: Mapping[str, Any],
) -> Rows:
  """What `results.json` holds of each run: single-task training first."""

  def row(name: str, outcome: Outcome) -> dict[str, Any]:
    if outcome.failure is not None:
      return {"method": name, "failure": outcome.failure}
    mine, alone = (np.stack([o.accuracy[t] for t in tasks], axis=-1) for o in (outcome, single))
    return {
      "method": name,
      "test_accuracy": {t: values.tolist() for t, values in outcome.accuracy.items()},
      "delta_mtl": delta_mtl(mine, alone).tolist(),
      "probes": probes.get(name),
      "universality": universality.get(name),
      "ms_per_step": outcome.ms_per_step,
      "failure": None,
    }

  return [row(SINGLE, single), *(row(name, outcome) for name, outcome in outcomes.items())]


def tables(title: str, tasks: Sequence[str], found: Rows, sweep: Rows, paper: bool) -> list[Table]:
  """All tables; the paper's figures stand beside ours where the data are the same."""
  made = [_accuracy(title, tasks, found, paper), _probes(tasks, found), _universality(tasks, found)]
  return [*made, _sweep(sweep)] if sweep else made


def _accuracy(title: str, tasks: Sequence[str], found: Rows, paper: bool) -> Table:
  """Table 1."""
  theirs = [*(f"{t}, paper" for t in tasks), "Delta_MTL, paper"] if paper else []
  header = ["method", *tasks, "Delta_MTL (%)", *theirs, "ms a step"]
  made = []
  for row in found:
    name = row["method"]
    if row["failure"]:
      made.append([name, "diverged", *["-"] * (len(header) - 2)])
      continue
    cells = [mean_spread(row["test_accuracy"][t], 1) for t in tasks]
    cells.append("0" if name == SINGLE else mean_spread(row["delta_mtl"], 1))
    if paper:
      cells += [f"{value:.1f}" for value in PAPER[name]] if name in PAPER else ["-"] * len(theirs)
    made.append([name, *cells, f"{row['ms_per_step']:.1f}"])
  return Table(title, header, made)


def _probes(tasks: Sequence[str], found: Rows) -> Table:
  """Figure 3a."""
  header = ["method", *(f"{t}, {probe}" for t in tasks for probe in PROBES)]
  made = [
    [row["method"], *(mean_spread(row["probes"][t][p], 1) for t in tasks for p in PROBES)]
    for row in found
    if row.get("probes")
  ]
  return Table("Test accuracy (%) of simple classifiers on frozen features", header, made)


def _universality(tasks: Sequence[str], found: Rows) -> Table:
  """Definition 2."""
  made = [
    [row["method"], *(mean_spread(row["universality"][t], 2) for t in tasks)]
    for row in found
    if row.get("universality")
  ]
  title = "Universality on training images, mean over arbitrary heads"
  return Table(title, ["method", *tasks], made)


def _sweep(sweep: Rows) -> Table:
  """By weight and number of dummies; table 4a has the latter."""
  counts = sorted({row["num_dummies"] for row in sweep})
  cells = {
    (row["weight"], row["num_dummies"]): f"{np.mean(row['validation_accuracy']):.1f}"
    for row in sweep
  }
  weights = sorted({row["weight"] for row in sweep})
  made = [[f"{w:g}", *(cells[w, d] for d in counts)] for w in weights]
  title = "equal+dgr, first seed: mean validation accuracy (%) by weight and number of dummies"
  return Table(title, ["weight", *(f"d = {d}" for d in counts)], made)
