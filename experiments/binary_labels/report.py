"""Tables of Binary Labels."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.binary_labels import figures
from experiments.binary_labels.config import Config, Variant
from experiments.binary_labels.paper import published
from experiments.binary_labels.problem import MAIN
from experiments.problems.images import ImageTasks
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import Row, cell
from jaxmtl.training.results import Table


def write(
  config: Config,
  outcomes: Mapping[Variant, Outcome],
  images: ImageTasks,
  codes: Mapping[str, np.ndarray],
  num_labelled: int,
  folder: pathlib.Path,
  partial: str | None = None,
) -> dict[str, Any]:
  """Writes table, figures and results of what there is so far."""
  rows = [_row(config, variant, outcome) for variant, outcome in outcomes.items()]
  summary = report.write_report(
    folder,
    "binary_labels",
    dataclasses.asdict(config),
    rows,
    [Table(_title(config, num_labelled), _header(config), [_cells(row) for row in rows])],
    conclusions=_conclusions(rows),
    partial=partial,
    labelled_images=num_labelled,
  )
  finished = {v: o for v, o in outcomes.items() if not o.failure}
  figures.draw(config, finished, images, codes, folder)
  return summary


def _row(config: Config, variant: Variant, outcome: Outcome) -> Row:
  further: dict[str, Any] = {}
  if not outcome.failure:
    further["train_accuracy"] = {MAIN: figures.training_accuracy(outcome)[:, -1]}
    validation = outcome.curve("validation", "accuracy", MAIN)
    if validation.size:
      further["validation_accuracy"] = {MAIN: validation[:, -1]}
    if variant.kind != "none":
      further["cosine"] = {"main, auxiliary": figures.cosine(outcome)[:, -1]}
  figure = published(config, variant)
  paper = None if figure is None else {"accuracy": {MAIN: figure}}
  return report.row(variant.name, outcome, further=further, paper=paper)


def _title(config: Config, num_labelled: int) -> str:
  combined = config.labels.aggregator
  combined = "summed" if combined == "none" else f"combined by {combined}"
  return (
    f"Binary Labels: {config.images.dataset}, {num_labelled} labelled images, "
    f"{config.network.describe()}, {config.training.epochs} epochs. Main task: the class; test "
    "accuracy after the last epoch. Auxiliary task: another label of the class, by a head that is "
    f"dropped after training; a : b are the losses' weights, task gradients are {combined}. "
    f"Mean ± standard deviation over {config.run.seeds} seed(s)"
  )


def _header(config: Config) -> list[str]:
  return [
    "learned",
    "test accuracy (%)",
    "paper (%)",
    "training accuracy (%)",
    "cosine of task gradients",
    f"ms a step, {config.run.seeds} seed(s)",
  ]


def _cells(row: Row) -> list[str]:
  values = row["values"]
  paper = "-" if row["paper"] is None else f"{row['paper']['accuracy'][MAIN]:.2f}"
  time = f"{row['ms_per_step']:.1f}"
  if row["failure"]:
    return [row["name"], "diverged", paper, "-", "-", time]
  return [
    row["name"],
    cell(values["accuracy"][MAIN]),
    paper,
    cell(values["train_accuracy"][MAIN]),
    cell(values["cosine"]["main, auxiliary"], 2) if "cosine" in values else "-",
    time,
  ]


def _conclusions(rows: list[Row]) -> list[str]:
  """Each auxiliary label against the class alone."""
  finished = [row for row in rows if not row["failure"]]
  alone = next((row for row in finished if row["name"] == Variant("none").name), None)
  if alone is None:
    return []
  return [
    report.compared(
      "Test accuracy of the class",
      *(row["name"], row["values"]["accuracy"][MAIN]),
      *(alone["name"], alone["values"]["accuracy"][MAIN]),
      unit=" %",
    )
    for row in finished
    if row is not alone
  ]
