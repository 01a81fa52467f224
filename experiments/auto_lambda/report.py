"""What the Auto-lambda experiment reports: rows, tables, figures, and what came out."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.auto_lambda import figures, paper
from experiments.auto_lambda.compared import Compared
from experiments.auto_lambda.images import DOMAINS
from experiments.auto_lambda.jobs import MULTI_TASK, Key, approximate
from experiments.auto_lambda.tables import tables
from experiments.problems import domains
from experiments.problems.task_metrics import LOWER_IS_BETTER
from experiments.runner import report
from experiments.runner.job import Outcome
from experiments.runner.report import SINGLE, Row
from jaxmtl.training.results import Table


def write(
  config: Compared,
  names: Mapping[Key, str],
  outcomes: Mapping[str, Outcome],
  folder: pathlib.Path,
  partial: str | None = None,
  metrics: Mapping[str, str] | None = None,
  experiment: str = "auto_lambda",
  further: tuple[Sequence[Row], Sequence[Table]] | None = None,
  published: Callable[[str, str], Any] | None = None,
) -> dict[str, Any]:
  """Writes tables, figures and results of what there is so far; nothing before the baselines.

  Args:
    config: the options, tasks named.
    names: of the jobs, by setting and method.
    outcomes: by name of the job, those that there are.
    folder: where all goes.
    partial: as `experiments.runner.report.write_report`'s.
    metrics: what each task is judged by; accuracy where None.
    experiment: which one's configuration it is.
    further: rows and tables that stand behind these.
    published: the paper's figures of a setting and method, by metric and task, or None; those of
      the domains where None.
  """
  options: Any = dataclasses.asdict(config)  # type: ignore[call-overload]
  metrics = metrics or dict.fromkeys(config.tasks, "accuracy")
  found = {key: outcomes[name] for key, name in names.items() if name in outcomes}
  if any(key not in found for key in names if key[0] == SINGLE):
    return {}
  singles = {task: found.pop((SINGLE, task)) for setting, task in names if setting == SINGLE}
  if config.data.dataset == DOMAINS:
    (outcome,) = singles.values()
    single = domains.by_domain(outcome, config.tasks)
  else:
    single = report.together(SINGLE, singles)
  if published is None:
    published = functools.partial(_of_domains, config)
  rows = [
    _row(config, *key, outcome, single, metrics, published(*key))
    for key, outcome in {(MULTI_TASK, SINGLE): single, **found}.items()
  ]
  exact, near = (found.get((MULTI_TASK, n)) for n in ("auto_lambda", approximate(config)))
  gaps = figures.gaps(exact, near)
  below = below_zero(config, found)
  more_rows, more_tables = further or ((), ())
  summary = report.write_report(
    folder,
    experiment,
    options,
    [*rows, *more_rows],
    [*tables(config, rows, metrics), *more_tables],
    conclusions=[*_conclusions(config, rows), *_on_gaps(config, gaps), *_on_weights(below)],
    partial=partial,
    exact_against_approximate={
      task: {"mean": gap.mean(), "largest": gap.max()} for task, gap in gaps.by_task.items()
    },
    below_zero=below,
  )
  figures.draw(config, found, gaps, rows, metrics, folder)
  return summary


def _row(
  config: Compared,
  setting: str,
  name: str,
  outcome: Outcome,
  single: Outcome,
  metrics: Mapping[str, str],
  published: Any,
) -> Row:
  multi_task = setting == MULTI_TASK
  last = {task: values[:, -1] for task, values in figures.weights_of(outcome).items()}
  return report.row(
    name,
    outcome,
    setting=setting,
    further={"last_weight": last} if last else None,
    paper=published,
    delta=report.against(
      outcome, single, config.judged if multi_task else [setting], metrics, LOWER_IS_BETTER
    ),
  )


def _of_domains(config: Compared, setting: str, name: str) -> Any:
  """The thesis' figures of its domains."""
  if config.data.dataset != DOMAINS:
    return None
  found = paper.published(name, auxiliary=setting != MULTI_TASK)
  if found and setting != MULTI_TASK:
    found = {setting: found[setting]} if setting in found else None
  return {"accuracy": found} if found else None


def below_zero(config: Compared, found: Mapping[Key, Outcome]) -> list[dict[str, Any]]:
  """The tasks whose weight fell below zero in some seed, in the mean of the steps of a row.

  Of each the lowest one: `setting`, `name`, `task`, `weight`, `seed`, `epoch`.
  """
  lowest = []
  for (setting, name), outcome in found.items():
    for task, values in figures.weights_of(outcome).items():
      known = np.where(np.isfinite(values), values, np.inf)
      run, place = np.unravel_index(known.argmin(), known.shape)
      if known[run, place] < 0:
        lowest.append(
          {
            "setting": setting,
            "name": name,
            "task": task,
            "weight": float(known[run, place]),
            "seed": config.run.all_seeds[run],
            "epoch": float(outcome.epochs[place]),
          }
        )
  return lowest


def _conclusions(config: Compared, rows: Sequence[Row]) -> list[str]:
  """Auto-lambda against equal weights, and in auxiliary learning against GCS."""
  deltas: dict[Key, Any] = {
    (row["setting"], row["name"]): row["delta_mtl"]
    for row in rows
    if row["delta_mtl"] is not None and np.isfinite(row["delta_mtl"]).all()
  }
  sentences = []
  mine, equal = (deltas.get((MULTI_TASK, name)) for name in ("auto_lambda", "equal"))
  if mine is not None and equal is not None:
    tasks = "all tasks" if config.judged == config.tasks else "all tasks but noise"
    what = f"Multi-task learning, Delta_MTL over {tasks}"
    sentences.append(report.compared(what, "auto_lambda", mine, "equal", equal, " %"))
  primaries = config.primaries or config.judged
  both: list[list[Any]] = [
    [deltas.get((task, name)) for task in primaries] for name in ("auto_lambda", "gcs")
  ]
  if all(delta is not None for by_task in both for delta in by_task):
    mine, gcs = (np.mean(by_task, axis=0) for by_task in both)
    what = f"Auxiliary learning, Delta_MTL of the primary task, mean of {len(primaries)} run(s)"
    sentences.append(report.compared(what, "auto_lambda", mine, "gcs", gcs, " %"))
  return sentences


def _on_gaps(config: Compared, gaps: figures.Gaps) -> list[str]:
  """How far approximate weights are from exact ones."""
  if not gaps.by_task:
    return []
  means = {task: gap.mean() for task, gap in gaps.by_task.items()}
  least, most = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
  largest = max(gap.max() for gap in gaps.by_task.values())
  return [
    f"Weights of exact and {config.compare.replace('_', ' ')} gradients differ by "
    f"{means[least]:.2g} ({least}) to {means[most]:.2g} ({most}) on average over training, at most "
    f"by {largest:.2g}."
  ]


def _on_weights(below: Sequence[Mapping[str, Any]]) -> list[str]:
  """A line for each method and setting with a weight below zero."""
  lines = []
  for setting, name in dict.fromkeys((each["setting"], each["name"]) for each in below):
    mine = [each for each in below if (each["setting"], each["name"]) == (setting, name)]
    tasks = ", ".join(
      f"{e['task']} ({e['weight']:.2g} in seed {e['seed']}, epoch {e['epoch']:.4g})" for e in mine
    )
    where = setting if setting == MULTI_TASK else f"primary task {setting}"
    lines.append(
      f"Warning: {name}, {where}: weight below zero of {tasks}. A loss with such a weight is "
      "ascended; take a lower --weight-learning-rate, or more epochs."
    )
  return lines
