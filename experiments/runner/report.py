"""What experiments report: rows of one form, tables of them, and what came out in a sentence."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special

from experiments.runner import store
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main, say
from jaxmtl.metrics import relative_change
from jaxmtl.training import replacing
from jaxmtl.training.results import Table, markdown_table, mean_spread, print_table

Row = dict[str, Any]
SINGLE = "single task"


def row(
  name: str,
  outcome: Outcome,
  *,
  setting: str | None = None,
  runs: slice = slice(None),
  further: Mapping[str, Mapping[str, Any]] | None = None,
  paper: Mapping[str, Mapping[str, float]] | None = None,
  delta: Any = None,
) -> Row:
  """A row of `results.json`, the same in all experiments.

  Args:
    name: of the method, model or label.
    outcome: what it gave.
    setting: within which it is compared: a choice of primary tasks, a hierarchy, a data set.
    runs: those that belong to the row, where an outcome has several settings.
    further: numbers by seed that are no metric of the test part, by what they are and by task.
    paper: the published figures, by metric and task.
    delta: Delta_MTL by seed.

  Returns:
    `name`, `setting`, `values` `{metric: {task: [by seed]}}`, `paper` `{metric: {task: number}}` or
    None, `delta_mtl` `[by seed]` or None, `ms_per_step` (median, of all runs together, compilation
    apart), `minutes` (steps and compilation), `failure` (a sentence, or None).
  """
  values = {m: {t: v[runs] for t, v in by_task.items()} for m, by_task in outcome.values.items()}
  return store.plain(
    {
      "name": name,
      "setting": setting,
      "values": {} if outcome.failure else {**values, **(further or {})},
      "paper": paper,
      "delta_mtl": None if outcome.failure else delta,
      "ms_per_step": outcome.ms_per_step,
      "minutes": outcome.minutes,
      "failure": outcome.failure,
    }
  )


def against(
  outcome: Outcome,
  single: Outcome,
  tasks: Sequence[str],
  metric: str | Mapping[str, str] = "accuracy",
  lower_is_better: Collection[str] = (),
) -> np.ndarray | None:
  """Delta_MTL by seed over some tasks; None where one diverged, NaN as in `changes`."""
  found = changes(outcome, single, tasks, metric, lower_is_better)
  return None if found is None else found.mean(-1)


def changes(
  outcome: Outcome,
  single: Outcome,
  tasks: Sequence[str],
  metric: str | Mapping[str, str] = "accuracy",
  lower_is_better: Collection[str] = (),
) -> np.ndarray | None:
  """Changes in per cent against single-task training, `[seeds, T]`.

  Args:
    outcome: what is compared.
    single: single-task training.
    tasks: which ones.
    metric: of all tasks, or each task's own.
    lower_is_better: the metrics that are errors.

  Returns:
    Them, NaN where single-task training has zero: no change is relative to it; or None where one
    of both diverged.
  """
  if outcome.failure or single.failure:
    return None
  of = {t: metric if isinstance(metric, str) else metric[t] for t in tasks}
  mine, alone = (np.stack([o.values[of[t]][t] for t in tasks], -1) for o in (outcome, single))
  alone = np.where(alone == 0, np.nan, alone)
  return relative_change(mine, alone, [of[t] in lower_is_better for t in tasks])


def together(name: str, outcomes: Mapping[str, Outcome]) -> Outcome:
  """Single-task outcomes by task as one: values and history by task, times summed."""
  parts = list(outcomes.values())
  failure = next((f"{t}: {o.failure}" for t, o in outcomes.items() if o.failure), None)
  metrics = dict.fromkeys(m for o in parts for m in o.values)
  return Outcome(
    name=name,
    tasks=tuple(outcomes),
    values={m: {t: v for o in parts for t, v in o.values.get(m, {}).items()} for m in metrics},
    history=[_merged(rows) for rows in zip(*(o.history for o in parts), strict=False)],
    ms_per_step=sum(o.ms_per_step for o in parts),
    compile_seconds=sum(o.compile_seconds for o in parts),
    minutes=sum(o.minutes for o in parts),
    failure=failure,
    folder=parts[0].folder.parent,
  )


def _merged(rows: Sequence[Row]) -> Row:
  """Rows of several trainings at the same epoch: what was measured, by task."""
  found: Row = {"epoch": rows[0]["epoch"], "step": rows[0]["step"]}
  found["seconds"] = sum(r["seconds"] for r in rows)
  for one in rows:
    for part, by_metric in one.items():
      if isinstance(by_metric, Mapping):
        for metric, by_task in by_metric.items():
          found.setdefault(part, {}).setdefault(metric, {}).update(by_task)
  return found


def write_report(
  folder: pathlib.Path,
  experiment: str,
  config: Any,
  rows: Sequence[Row],
  tables: Sequence[Table],
  *,
  conclusions: Sequence[str] = (),
  partial: str | None = None,
  **further: Any,
) -> dict[str, Any]:
  """Writes `results.json` and `results.md`, and prints the tables of a finished experiment.

  Args:
    folder: where they go.
    experiment: its name.
    config: its options, a dict.
    rows: as `row` makes them.
    tables: of these rows.
    conclusions: sentences on what was compared and what came out.
    partial: what there is so far, such as "3 of 17 trainings"; None when all is there.
    **further: more for `results.json`.

  Returns:
    What `results.json` holds.
  """
  summary = store.plain(
    {
      "experiment": experiment,
      "config": config,
      "partial": partial,
      "results": list(rows),
      "conclusions": list(conclusions),
      **further,
    }
  )
  if not is_main():
    return summary
  store.write_json(folder / "results.json", summary)
  parts = [f"# {t.title}\n\n{markdown_table(t.header, t.rows)}\n" for t in tables]
  if partial:
    parts.insert(0, f"**Partial: {partial}.**\n")
  parts += [f"{sentence}\n" for sentence in conclusions]
  with replacing(folder / "results.md") as draft:
    draft.write_text("\n".join(parts))
  if partial is None:
    for table in tables:
      print_table(*table)
    for sentence in conclusions:
      say(sentence)
  return summary


def cell(values: Any, digits: int = 1) -> str:
  """Mean and spread over seeds; a dash where there is nothing."""
  if values is None or not np.size(values) or not np.isfinite(np.asarray(values, float)).all():
    return "-"
  return mean_spread(values, digits)


def compared(
  what: str, name: str, values: Any, other: str, others: Any, unit: str = "", digits: int = 1
) -> str:
  """A sentence on two methods with the same seeds: both figures, the difference, its spread.

  Whether seeds alone might make such a difference says a t test of pairs: with two or three seeds,
  a spread by itself says little.

  Example:
    >>> from experiments.runner.report import compared
    >>> compared("accuracy", "pcgrad", [92.0, 93.0], "equal", [90.0, 92.0], " %")
    'accuracy: pcgrad 92.5 ± 0.7 %, equal 91.0 ± 1.4 %; difference 1.5 ± 0.7 over 2 seeds, no more \
than seeds may differ by chance (95 %).'
  """
  mine, theirs = np.asarray(values, float), np.asarray(others, float)
  figures = f"{what}: {name} {cell(mine, digits)}{unit}, {other} {cell(theirs, digits)}{unit}"
  difference = mine - theirs
  if len(difference) < 2:
    return f"{figures}; difference {cell(difference, digits)}, one seed: no spread is known."
  if not np.isfinite(difference).all():
    return f"{figures}; a figure is missing, so that no difference is known."
  count = len(difference)
  chance = scipy.special.stdtrit(count - 1, 0.975) * difference.std(ddof=1) / np.sqrt(count)
  verdict = "more" if abs(difference.mean()) > chance else "no more"
  return (
    f"{figures}; difference {cell(difference, digits)} over {count} seeds, {verdict} than seeds "
    "may differ by chance (95 %)."
  )
