"""Tables of the comparison."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.maxl import figures
from experiments.maxl.comparison import NAMES, Comparison
from experiments.maxl.config import Config
from experiments.maxl.paper import thesis_accuracy, thesis_labels
from experiments.problems.images import ImageTasks
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import Row, cell
from jaxmtl.metrics import delta_mtl
from jaxmtl.training.results import Table

Outcomes = Mapping[str, Outcome]


def write(
  config: Config,
  images: ImageTasks,
  comparison: Comparison,
  outcomes: Outcomes,
  folder: pathlib.Path,
  partial: str | None = None,
) -> dict[str, Any]:
  """Writes tables, figures and results of what there is so far; nothing before a method is."""
  methods = {method: outcomes[method] for method in comparison.methods if method in outcomes}
  if not methods:
    return {}
  rows = {
    (method, index): _row(config, comparison, outcomes, method, index)
    for method in methods
    for index in range(len(comparison.settings))
  }
  tables = [Table(title(config, images), *_accuracies(comparison, list(methods), rows))]
  generated = {
    place: row for place, row in rows.items() if place[0].startswith("maxl") and not row["failure"]
  }
  if generated:
    tables.append(Table("Generated labels", *_labels(config.data.base, comparison, generated)))
  summary = report.write_report(
    folder,
    "maxl",
    dataclasses.asdict(config),
    list(rows.values()),
    tables,
    conclusions=_conclusions(comparison, rows),
    partial=partial,
  )
  finished = {method: outcome for method, outcome in methods.items() if not outcome.failure}
  figures.draw(config, images, comparison, finished, folder, complete=partial is None)
  return summary


def title(config: Config, images: ImageTasks, what: str = "MAXL") -> str:
  """What a table of accuracies says."""
  return (
    f"{what}: {config.data.dataset}, {len(images.parts['train']['image'])} images, "
    f"{config.network.describe()}, {config.training.epochs} epochs, {config.run.seeds} seed(s): "
    "test accuracy (%) after the last epoch; PRI, AUX: classes of the primary and auxiliary task"
  )


def train_accuracies(outcome: Outcome, primary: Mapping[str, int], runs: slice) -> dict[str, Any]:
  """In per cent over the last epoch, or what was logged last of it, by primary task."""
  last = 100 * outcome.curve("train_accuracy")[runs, -1]
  return {task: last[:, i] for i, task in enumerate(primary)}


def _row(
  config: Config, comparison: Comparison, outcomes: Outcomes, method: str, index: int
) -> Row:
  outcome, setting = outcomes[method], comparison.settings[index]
  runs = comparison.runs_of(method, index)
  further: dict[str, Any] = {}
  if not outcome.failure:
    further["train_accuracy"] = train_accuracies(outcome, comparison.primary, runs)
    if method != "single":
      for name in ("cosine", "filter_cosine"):
        if (curve := outcome.curve(name)).size:  # runs of before it was measured have none
          further[name] = {"all": curve[runs].mean(axis=1)}
      further["labels_in_use"] = {"all": outcome.curve("labels_in_use")[runs, -1]}
  return report.row(
    NAMES[method],
    outcome,
    setting=setting.name,
    runs=runs,
    further=further,
    paper=_paper(config, comparison, method, index),
    delta=_delta(comparison, outcomes, method, index),
  )


def _delta(
  comparison: Comparison, outcomes: Outcomes, method: str, index: int
) -> np.ndarray | None:
  """Against single-task training, where it is there."""
  single = outcomes.get("single")
  if single is None or single.failure or outcomes[method].failure:
    return None

  def accuracies(name: str) -> np.ndarray:
    values = outcomes[name].values["accuracy"]
    runs = comparison.runs_of(name, index)
    return np.stack([values[task][runs] for task in comparison.primary], axis=-1)

  return delta_mtl(accuracies(method), accuracies("single"))


def _paper(
  config: Config, comparison: Comparison, method: str, index: int
) -> dict[str, dict[str, float]] | None:
  if len(comparison.primary) > 1:
    return None
  (task, classes), setting = *comparison.primary.items(), comparison.settings[index]
  total = setting.totals[task]
  accuracy = thesis_accuracy(config.data.base, classes, total, method)
  if accuracy is None:
    return None
  found = {"accuracy": {task: accuracy}}
  used, _ = thesis_labels(config.data.base, classes, total, method)
  return found | ({} if used is None else {"labels_in_use": {"all": used}})


def _accuracies(
  comparison: Comparison, methods: list[str], rows: Mapping[tuple[str, int], Row]
) -> tuple[list[str], list[list[str]]]:
  """As Tables 5.3 and 5.4 of the thesis: a row a method, a column a hierarchy."""
  header = ["method", "PRI"]
  for setting in comparison.settings:
    header += [setting.name, "thesis"]
  cells = []
  for method in methods:
    for task, classes in comparison.primary.items():
      line = [NAMES[method], f"[{classes}]"]
      for index in range(len(comparison.settings)):
        row = rows[method, index]
        paper = (row["paper"] or {}).get("accuracy", {}).get(task)
        accuracy = row["values"].get("accuracy", {}).get(task)
        line += ["diverged" if row["failure"] else cell(accuracy, 2), cell(paper, 2)]
      cells.append(line)
  return header, cells


def _labels(
  dataset: str, comparison: Comparison, rows: Mapping[tuple[str, int], Row]
) -> tuple[list[str], list[list[str]]]:
  """As Table 5.5 of the thesis, whose figures stand beside those of its data set."""
  header = ["method", "PRI", "AUX", "labels in use (%)", "thesis", "test accuracy (%)", "thesis"]
  cells = []
  for (method, index), row in rows.items():
    for task, classes in comparison.primary.items():
      total = comparison.settings[index].totals[task]
      used, accuracy = None, None
      if row["paper"]:
        used, accuracy = thesis_labels(dataset, classes, total, method)
      cells.append(
        [
          *(NAMES[method], f"[{classes}]", f"[{total}]"),
          *(cell(row["values"]["labels_in_use"]["all"], 1), cell(used, 0)),
          *(cell(row["values"]["accuracy"][task], 2), cell(accuracy, 2)),
        ]
      )
  return header, cells


def _conclusions(comparison: Comparison, rows: Mapping[tuple[str, int], Row]) -> list[str]:
  """MAXL against no auxiliary labels, and against the best of the labels that do not learn."""
  sentences = []
  for index, setting in enumerate(comparison.settings):
    for task, classes in comparison.primary.items():
      found = {
        method: row["values"]["accuracy"][task]
        for (method, i), row in rows.items()
        if i == index and not row["failure"]
      }
      if "maxl" not in found:
        continue
      fixed = [m for m in ("random", "kmeans", "human") if m in found]
      best = max(fixed, key=lambda method: np.mean(found[method]), default=None)
      what = f"Test accuracy of {classes} classes, {setting.name}"
      highest = f", highest of {len(fixed)} given labels" if len(fixed) > 1 else ""
      for other, note in (("single", ""), (best, highest)):
        if other in found:
          sentences.append(
            report.compared(
              what + note, *(NAMES["maxl"], found["maxl"]), *(NAMES[other], found[other]), " %", 2
            )
          )
  return sentences
