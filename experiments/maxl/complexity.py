"""Given auxiliary labels of several levels: the study of primary and auxiliary complexity."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.maxl.config import Config
from experiments.maxl.data import level_name
from experiments.maxl.jobs import Bench
from experiments.maxl.network import Auxiliary
from experiments.maxl.paper import COMPLEXITY
from experiments.maxl.report import title, train_accuracies
from experiments.problems.images import ImageTasks
from experiments.runner import report
from experiments.runner.job import Job, Outcome
from experiments.runner.mesh import is_main
from experiments.runner.report import Row, cell
from jaxmtl import plots
from jaxmtl.metrics import delta_mtl
from jaxmtl.training.results import Table


class Combination(NamedTuple):
  """A primary level with auxiliary levels, by number of classes."""

  text: str
  primary: int
  auxiliary: tuple[int, ...]


Groups = dict[int, list[Combination]]


def combined(config: Config, images: ImageTasks) -> Groups:
  """The combinations by primary level; raises ValueError where one does not fit the levels."""
  if config.methods or config.psi or config.primary:
    raise ValueError("combinations take the place of methods, psi and primary; leave those out.")
  if len(set(config.combinations)) < len(config.combinations):
    raise ValueError(f"combinations must be different ones, got {list(config.combinations)}.")
  levels = [task.classes for task in images.tasks.values()]
  groups: Groups = {}
  for text in config.combinations:
    first, _, rest = text.partition(":")
    try:
      primary, auxiliary = int(first), tuple(int(n) for n in rest.split("+") if rest)
    except ValueError:
      raise ValueError(f"combinations are like 3, 3:10 or 3:10+20, got {text!r}.") from None
    wrong = [n for n in (primary, *auxiliary) if n not in levels]
    if wrong or len({primary, *auxiliary}) != 1 + len(auxiliary):
      raise ValueError(
        f"combinations must name different levels of {config.data.dataset!r}, "
        f"{', '.join(map(str, levels))} classes, got {text!r}."
      )
    groups.setdefault(primary, []).append(Combination(text, primary, auxiliary))
  for primary, group in groups.items():
    if not any(c.auxiliary for c in group):
      raise ValueError(f"combinations of primary {primary} must include one with auxiliary levels.")
  return groups


def plan(config: Config, images: ImageTasks, groups: Groups) -> list[Job]:
  """A job a primary level: all its combinations are trained together.

  One network has a head for every auxiliary level among them, of which each run learns its own.
  """
  return [_job(config, images, primary, group) for primary, group in groups.items()]


def _job(config: Config, images: ImageTasks, primary: int, group: list[Combination]) -> Job:
  task, names = level_name(primary), {n for c in group for n in c.auxiliary}
  auxiliary = {level_name(n): Auxiliary(task, n) for n in sorted(names)}
  train, seeds = images.parts["train"], config.run.seeds
  absent = np.full(len(train["image"]), -1, np.int32)
  ids: dict[str, list] = {a: [] for a in auxiliary}
  sizes: dict[str, list] = {a: [] for a in auxiliary}
  for combination in group:
    for a, spec in auxiliary.items():
      learned = spec.width in combination.auxiliary
      ids[a] += [train[a] if learned else absent] * seeds
      sizes[a] += [spec.width if learned else 0] * seeds
  return Bench(config, images, {task: primary}, auxiliary).fixed(
    _name(primary),
    config.run.all_seeds * len(group),
    {"sizes": {a: np.array(values) for a, values in sizes.items()}},
    lambda: {a: np.stack(values) for a, values in ids.items()},
    {"combinations": [c.text for c in group]},
  )


def write(
  config: Config,
  images: ImageTasks,
  groups: Groups,
  outcomes: Mapping[str, Outcome],
  folder: pathlib.Path,
  partial: str | None = None,
) -> dict[str, Any]:
  """Writes table, figure and results of the levels there are so far."""
  rows: dict[str, Row] = {}
  for primary, group in groups.items():
    if _name(primary) not in outcomes:
      continue
    outcome = outcomes[_name(primary)]
    alone = next((i for i, c in enumerate(group) if not c.auxiliary), None)
    for index, combination in enumerate(group):
      rows[combination.text] = _row(config, combination, outcome, index, alone)
  if not rows:
    return {}
  header = ["PRI", "AUX", "test accuracy (%)", "gain", "thesis", "gain"]
  cells = [_cells(c, rows) for group in groups.values() for c in group if c.text in rows]
  summary = report.write_report(
    folder,
    "maxl",
    dataclasses.asdict(config),
    list(rows.values()),
    [Table(title(config, images, "Primary and auxiliary complexity"), header, cells)],
    conclusions=_conclusions(groups, rows),
    partial=partial,
  )
  draw(config, groups, outcomes, folder)
  return summary


def draw(
  config: Config, groups: Groups, outcomes: Mapping[str, Outcome], folder: pathlib.Path
) -> dict[str, Figure]:
  """Writes the figure of finished levels, a panel each, and returns it by file."""
  finished = {p: o for p in groups if (o := outcomes.get(_name(p))) and not o.failure}
  if not finished or not is_main():
    return {}
  panels = {
    f"primary {primary}": {
      _auxiliary(combination): outcome.curve("cosine")[_runs(config, index)]
      for index, combination in enumerate(groups[primary])
      if combination.auxiliary
    }
    for primary, outcome in finished.items()
  }
  everything = [_auxiliary(c) for group in groups.values() for c in group if c.auxiliary]
  figure = plots.plot_panels(
    folder / "cosine.png",
    panels,
    xlabel="epoch",
    ylabel="cosine with primary gradient",
    title="auxiliary and primary gradients of the backbone",
    baseline=0.0,
    epochs={f"primary {p}": outcome.epochs_of("cosine") for p, outcome in finished.items()},
    colors=plots.palette(everything),
  )
  return {"cosine.png": figure}


def _name(primary: int) -> str:
  return f"primary_{primary}"


def _auxiliary(combination: Combination) -> str:
  return "auxiliary " + "+".join(map(str, combination.auxiliary))


def _runs(config: Config, index: int) -> slice:
  return slice(index * config.run.seeds, (index + 1) * config.run.seeds)


def _row(
  config: Config, combination: Combination, outcome: Outcome, index: int, alone: int | None
) -> Row:
  task, runs = level_name(combination.primary), _runs(config, index)
  further, delta = {}, None
  if not outcome.failure:
    further["train_accuracy"] = train_accuracies(outcome, {task: combination.primary}, runs)
    if combination.auxiliary:
      further["cosine"] = {"all": outcome.curve("cosine")[runs].mean(axis=1)}
    if alone is not None:
      accuracy = outcome.values["accuracy"][task]
      delta = delta_mtl(accuracy[runs, None], accuracy[_runs(config, alone), None])
  thesis = COMPLEXITY.get(combination.text) if config.data.base == "cifar100" else None
  return report.row(
    combination.text,
    outcome,
    setting=f"primary {combination.primary}",
    runs=runs,
    further=further,
    paper=None if thesis is None else {"accuracy": {task: thesis}},
    delta=delta,
  )


def _accuracy(row: Row, combination: Combination, part: str = "values") -> Any:
  return (row[part] or {}).get("accuracy", {}).get(level_name(combination.primary))


def _alone(combination: Combination, rows: Mapping[str, Row]) -> Row | None:
  """The row of the same primary level without auxiliary ones."""
  return rows.get(str(combination.primary)) if combination.auxiliary else None


def _cells(combination: Combination, rows: Mapping[str, Row]) -> list[str]:
  row, alone = rows[combination.text], _alone(combination, rows)
  gain = paper_gain = None
  if alone is not None and not row["failure"]:
    # Seeds are the same, and so are their first weights.
    mine, single = (np.array(_accuracy(r, combination)) for r in (row, alone))
    gain = mine - single
  paper = _accuracy(row, combination, "paper")
  if alone is not None and paper is not None:
    paper_gain = paper - _accuracy(alone, combination, "paper")
  return [
    f"[{combination.primary}]",
    "[" + "+".join(map(str, combination.auxiliary)) + "]" if combination.auxiliary else "none",
    "diverged" if row["failure"] else cell(_accuracy(row, combination), 2),
    cell(gain, 2),
    cell(paper, 2),
    "-" if paper_gain is None else f"{paper_gain:+.2f}",
  ]


def _conclusions(groups: Groups, rows: Mapping[str, Row]) -> list[str]:
  """The best auxiliary levels of each primary one against none, where both are there."""
  sentences = []
  for group in groups.values():
    helped = [c for c in group if c.text in rows and _alone(c, rows) is not None]
    helped = [c for c in helped if not rows[c.text]["failure"]]
    if not helped:
      continue
    best = max(helped, key=lambda c: np.mean(_accuracy(rows[c.text], c)))
    sentences.append(
      report.compared(
        f"Test accuracy of {level_name(best.primary)}, highest of {len(helped)} combinations",
        *(_auxiliary(best), _accuracy(rows[best.text], best)),
        *("none", _accuracy(rows[str(best.primary)], best)),
        " %",
        2,
      )
    )
  return sentences
