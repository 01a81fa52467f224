"""Tables of the ReCo experiment."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.problems.maps import MapImages
from experiments.reco import paper
from experiments.reco.config import Config
from experiments.reco.jobs import Key
from experiments.reco.methods import SEGMENTATION
from experiments.runner import report
from experiments.runner.job import Job, Outcome
from experiments.runner.report import Row, cell
from jaxmtl.training.results import Table


def merged(name: str, outcomes: Sequence[Outcome]) -> Outcome:
  """Trainings of a seed each as one of all."""
  if len(outcomes) == 1:
    return dataclasses.replace(outcomes[0], name=name)
  first = outcomes[0]
  rows = zip(*(outcome.history for outcome in outcomes), strict=False)
  return dataclasses.replace(
    first,
    name=name,
    values=_joined([o.values for o in outcomes if not o.failure]),
    history=[{**of_seeds[0], **_joined([_measured(row) for row in of_seeds])} for of_seeds in rows],
    ms_per_step=float(np.median([o.ms_per_step for o in outcomes])),
    compile_seconds=sum(o.compile_seconds for o in outcomes),
    minutes=sum(o.minutes for o in outcomes),
    failure=next((o.failure for o in outcomes if o.failure), None),
  )


def _measured(row: Mapping[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in row.items() if name in ("validation", "test")}


def _joined(trees: Sequence[Any]) -> Any:
  if not trees:
    return {}
  if isinstance(trees[0], Mapping):
    return {name: _joined([tree[name] for tree in trees]) for name in trees[0]}
  return np.concatenate([np.atleast_1d(tree) for tree in trees])


def finished(
  planned: Mapping[Key, Sequence[Job]], outcomes: Mapping[str, Outcome]
) -> dict[Key, Outcome]:
  """By setting and method, those of which all seeds are there."""
  return {
    key: merged(" ".join(key), [outcomes[job.name] for job in jobs])
    for key, jobs in planned.items()
    if all(job.name in outcomes for job in jobs)
  }


def write(
  config: Config,
  images: MapImages,
  found: Mapping[Key, Outcome],
  folder: pathlib.Path,
  partial: str | None = None,
) -> dict[str, Any]:
  """Writes table and results of what there is so far.

  Args:
    config: the options.
    images: the data.
    found: outcomes by setting and method.
    folder: where they go.
    partial: what there is, where it is not all.
  """
  rows = {key: _row(config, key, outcome) for key, outcome in found.items()}
  settings = list(dict.fromkeys(setting for setting, _ in rows))
  methods = list(dict.fromkeys(method for _, method in rows))
  lines = []
  for method in methods:
    of_method = [rows.get((setting, method)) for setting in settings]
    lines.append([method, *(_cell(row) for row in of_method), _time(of_method)])
    known = [None if row is None or row["paper"] is None else row["paper"] for row in of_method]
    if any(known):
      texts = ["-" if k is None else f"{k['miou'][SEGMENTATION]:.1f}" for k in known]
      lines.append([f"{method}, paper", *texts, "-"])
  return report.write_report(
    folder,
    "reco",
    dataclasses.asdict(config),
    list(rows.values()),
    [
      Table(f"{config.describe()}: test mIoU (%)", ["method", *settings, "ms a step"], lines),
      *_by_class(images, rows, settings),
    ],
    conclusions=_conclusions(rows, settings),
    partial=partial,
  )


def _row(config: Config, key: Key, outcome: Outcome) -> Row:
  setting, method = key
  value = None
  if config.network.backbone == "resnet101":
    value = paper.published(config.data.dataset, setting, method)
  published = None if value is None else {"miou": {SEGMENTATION: value}}
  return report.row(method, outcome, setting=setting, paper=published)


def _cell(row: Row | None) -> str:
  if row is None:
    return "-"
  return "diverged" if row["failure"] else cell(row["values"]["miou"][SEGMENTATION])


def _by_class(images: MapImages, rows: Mapping[Key, Row], settings: Sequence[str]) -> list[Table]:
  """IoU of each class by method, a table a setting: which classes are forgotten."""
  tables = []
  names = images.tasks[SEGMENTATION].names
  for setting in settings:
    lines = []
    for (where, method), row in rows.items():
      by_class = row["values"].get("iou", {})  # runs of before it was measured have none
      if where == setting and by_class:
        lines.append([method, *(cell(by_class[name]) for name in names)])
    if lines:
      tables.append(Table(f"{setting}: test IoU (%) of each class", ["method", *names], lines))
  return tables


def _time(rows: Sequence[Row | None]) -> str:
  times = [row["ms_per_step"] for row in rows if row is not None]
  return f"{np.median(times):.1f}"


def _conclusions(rows: Mapping[Key, Row], settings: Sequence[str]) -> list[str]:
  """With ReCo's loss against without; with unlabelled images against without."""
  said = []
  for setting in settings:
    of_setting = {
      method: row["values"]["miou"][SEGMENTATION]
      for (where, method), row in rows.items()
      if where == setting and not row["failure"]
    }
    pairs = [(f"{base}+reco", base) for base in of_setting if f"{base}+reco" in of_setting]
    if "supervised" in of_setting:
      pairs += [
        (m, "supervised") for m in of_setting if not m.startswith("supervised") and "+" not in m
      ]
    for mine, other in pairs:
      said.append(
        report.compared(
          f"mIoU, {setting}",
          *(mine, of_setting[mine]),
          *(other, of_setting[other]),
          unit=" %",
        )
      )
  return said
