"""Tables of the DGR experiment, in the form of the paper's, with its figures beside ours."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.dgr import figures
from experiments.dgr.config import Config
from experiments.dgr.frozen import PROBES, UNIVERSALITY, Frozen
from experiments.dgr.jobs import mean_accuracy, swept
from experiments.dgr.paper import PAPER
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import SINGLE, Row, cell
from jaxmtl.training.results import Table


def write(
  config: Config,
  outcomes: Mapping[str, Outcome],
  frozen: Frozen,
  folder: pathlib.Path,
  *,
  skipped: Sequence[str] = (),
  weights: Mapping[str, float] | None = None,
  partial: str | None = None,
) -> dict[str, Any]:
  """Writes tables, figures and results of what there is so far; nothing before the baselines.

  Args:
    config: the options.
    outcomes: of trainings, by name of the job.
    frozen: measures encoders.
    folder: where all goes.
    skipped: names of files that the data leave out.
    weights: of DGR's penalty by method, once they are known.
    partial: what there is so far, None when all is there.
  """
  singles = {t: outcomes[f"single_{t}"] for t in config.tasks if f"single_{t}" in outcomes}
  if len(singles) < len(config.tasks):
    return {}
  single = report.together(SINGLE, singles)
  found = {name: outcomes[name] for name in config.names if name in outcomes}
  sweep, weights = swept(config, outcomes), dict(weights or {})
  rows = [_row(config, SINGLE, single, single)]
  for name, outcome in found.items():
    measured = {} if outcome.failure else frozen.values(outcome)
    rows.append(_row(config, name, outcome, single, measured))
  title = _title(config, weights, skipped)
  tables = [_accuracy(config, title, rows), _probes(config, rows), _universality(config, rows)]
  summary = report.write_report(
    folder,
    "dgr",
    dataclasses.asdict(config),
    rows,
    tables + [_sweep(sweep, method) for method in dict.fromkeys(row["method"] for row in sweep)],
    conclusions=_conclusions(config, rows),
    partial=partial,
    weights=weights,
    sweep=sweep,
    skipped_files=list(skipped),
  )
  figures.draw(config, rows, single, found, sweep, frozen, folder)
  return summary


def _row(config: Config, name: str, outcome: Outcome, single: Outcome, measured: Any = None) -> Row:
  return report.row(
    name,
    outcome,
    further=measured,
    paper=PAPER.get(name) if config.data.faces else None,
    delta=report.against(outcome, single, config.tasks),
  )


def _title(config: Config, weights: Mapping[str, float], skipped: Sequence[str]) -> str:
  heads = f"heads with {config.hidden} hidden units" if config.hidden else "linear heads"
  different = set(weights.values())
  penalty = f"weight {', '.join(f'{w:g} ({m})' for m, w in weights.items())}"
  if len(different) == 1:
    penalty = f"weight {different.pop():g}"
  elif not different:
    penalty = "a weight still to be chosen"
  return (
    f"{config.data.describe(len(skipped))}, {config.network.describe()}, {heads}, "
    f"{config.training.epochs} epochs, {config.run.seeds} seed(s), DGR with "
    f"{config.penalty.num_dummies} dummies and {penalty}: test accuracy (%) after the last epoch"
  )


def _accuracy(config: Config, title: str, rows: list[Row]) -> Table:
  """Table 1; the paper's figures stand beside ours where the data are the same."""
  faces = config.data.faces
  theirs = [*(f"{t}, paper" for t in config.tasks), "Delta_MTL, paper"] if faces else []
  header = ["method", *config.tasks, "Delta_MTL (%)", *theirs]
  header.append(f"ms a step, {config.run.seeds} seed(s)")
  made = []
  for row in rows:
    name, values = row["name"], row["values"].get("accuracy", {})
    if row["failure"]:
      made.append([name, "diverged", *["-"] * (len(header) - 2)])
      continue
    cells = [cell(values[t]) for t in config.tasks]
    cells.append("0" if name == SINGLE else cell(row["delta_mtl"]))
    if faces:
      paper = row["paper"] or {}
      told = [paper.get("accuracy", {}).get(t) for t in config.tasks]
      told.append(paper.get("delta_mtl", {}).get("all"))
      cells += ["-" if value is None else f"{value:.1f}" for value in told]
    made.append([name, *cells, f"{row['ms_per_step']:.1f}"])
  return Table(title, header, made)


def _probes(config: Config, rows: list[Row]) -> Table:
  """Figure 3a."""
  columns = [(t, probe) for t in config.tasks for probe in PROBES]
  made = [
    [row["name"], *(cell(row["values"][probe][t]) for t, probe in columns)]
    for row in rows
    if PROBES[0] in row["values"]
  ]
  header = ["method", *(f"{t}, {probe.removeprefix('probe_')}" for t, probe in columns)]
  title = f"Test accuracy (%) of simple classifiers, features of {config.probe_images} images"
  return Table(f"{title} at most, encoder frozen", header, made)


def _universality(config: Config, rows: list[Row]) -> Table:
  """Definition 2."""
  made = [
    [row["name"], *(cell(row["values"][UNIVERSALITY][t], 2) for t in config.tasks)]
    for row in rows
    if UNIVERSALITY in row["values"]
  ]
  title = "Universality on training images, mean over arbitrary heads"
  return Table(title, ["method", *config.tasks], made)


def _sweep(sweep: list[dict[str, Any]], method: str) -> Table:
  """By weight and number of dummies; table 4a has the latter."""
  sweep = [row for row in sweep if row["method"] == method]
  counts = sorted({row["num_dummies"] for row in sweep})
  cells = {(row["weight"], row["num_dummies"]): f"{mean_accuracy(row):.1f}" for row in sweep}
  weights = sorted({row["weight"] for row in sweep})
  made = [[f"{w:g}", *(cells[w, d] for d in counts)] for w in weights]
  title = f"{method}+dgr, first seed: mean validation accuracy (%) by weight and number of dummies"
  return Table(title, ["weight", *(f"dummies: {d}" for d in counts)], made)


def _conclusions(config: Config, rows: list[Row]) -> list[str]:
  """Each regularisation against the method that it is put on, by Delta_MTL."""
  finished = {row["name"]: row["delta_mtl"] for row in rows if row["delta_mtl"] is not None}
  return [
    report.compared(
      "Delta_MTL",
      *(f"{name}+{kind}", finished[f"{name}+{kind}"]),
      *(name, finished[name]),
      unit=" %",
    )
    for name, kinds in config.regularized.items()
    for kind in kinds
    if name in finished and f"{name}+{kind}" in finished
  ]
