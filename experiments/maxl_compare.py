"""Methods that give auxiliary labels against each other: plan, training, tables."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, NamedTuple

import numpy as np

from experiments.maxl_config import Config
from experiments.maxl_data import level_name
from experiments.maxl_figures import draw
from experiments.maxl_labels import Setting, fixed_labels, has_levels, latent_codes, parse_psi
from experiments.maxl_network import Auxiliary
from experiments.maxl_paper import ENTROPY, thesis_accuracy
from experiments.maxl_training import Outcome, Trainer
from jaxmtl import data
from jaxmtl.training import results

NAMES = {
  "single": "Single",
  "random": "Random",
  "kmeans": "K-Means",
  "human": "Human",
  "maxl": "MAXL",
  "maxl_no_entropy": "MAXL, no entropy term",
}


class Plan(NamedTuple):
  """What is trained.

  Attributes:
    methods: by name.
    primary: number of classes by primary task.
    settings: the hierarchies.
    seeds: of the runs.
  """

  methods: list[str]
  primary: dict[str, int]
  settings: list[Setting]
  seeds: list[int]


def plan_comparison(config: Config, levels: dict[int, np.ndarray]) -> Plan:
  """Checks the options against the data set's levels."""
  finest = max(levels)
  classes = config.primary or {"digits": (2,), "cifar100": (20,)}.get(config.base, (finest,))
  if [n for n in classes if n not in levels] or len(set(classes)) < len(classes):
    raise ValueError(
      f"primary must be different levels of {config.dataset!r}, which has "
      f"{', '.join(map(str, levels))} classes, got {list(classes)}."
    )
  seeds = [config.seed + s for s in range(config.seeds)]
  primary = {level_name(n): n for n in classes}
  texts = config.psi or (("5",) if finest > max(classes) else ("2", "3", "5", "10"))
  settings = [parse_psi(text, primary, seeds) for text in texts]
  if len({setting.name for setting in settings}) < len(settings):
    raise ValueError(f"psi must be different hierarchies, got {list(texts)}.")
  given = all(has_levels(setting, primary, list(levels)) for setting in settings)
  if "human" in config.methods and not given:
    finer = [n for n in levels if n > min(classes)]
    raise ValueError(
      f"method human needs given labels with as many classes as psi has in all; {config.dataset!r} "
      f"has {finer or 'none'}, psi {[list(s.totals.values()) for s in settings]}. Leave human out, "
      "or choose another psi."
    )
  every = ("single", "random", "kmeans", "human", "maxl")
  methods = config.methods or [m for m in every if m != "human" or given]
  return Plan(list(methods), primary, settings, seeds)


def compare(
  config: Config, parts: data.TaskSplits, plan: Plan, folder: pathlib.Path
) -> list[dict[str, Any]]:
  """Trains all methods, writes tables and figures, and returns the rows of the results."""
  auxiliary = {
    _auxiliary(task): Auxiliary(task, max(s.totals[task] for s in plan.settings))
    for task in plan.primary
  }
  trainer = Trainer(config, parts, plan.primary, auxiliary, folder)
  outcomes = {
    method: _train(config, trainer, parts, plan, method, folder) for method in plan.methods
  }
  rows = [
    row for method, outcome in outcomes.items() for row in _rows(config, plan, method, outcome)
  ]
  title = (
    f"MAXL: {config.dataset}, {len(parts.train.images)} images, {config.network}"
    f"{'' if config.width is None else f' of width {config.width:g}'}, {config.epochs} epochs, "
    f"{config.seeds} seed(s): test accuracy (%) after the last epoch"
  )
  header, cells = _accuracy_table(plan, rows)
  outcome = {"config": dataclasses.asdict(config), "results": rows}
  results.write_results(folder, title, header, cells, outcome)
  generated = [row for row in rows if row["method"].startswith("maxl")]
  if generated:
    header, cells = _labels_table(generated)
    with (folder / "results.md").open("a") as file:
      file.write(f"\n## Generated labels\n\n{results.markdown_table(header, cells)}\n")
    results.print_table("Generated labels", header, cells)
  draw(config, plan, trainer, parts, outcomes, folder)
  return rows


def _train(
  config: Config,
  trainer: Trainer,
  parts: data.TaskSplits,
  plan: Plan,
  method: str,
  folder: pathlib.Path,
) -> Outcome:
  count, settings = len(parts.train.images), plan.settings
  psi = {_auxiliary(t): np.concatenate([s.psi[t] for s in settings]) for t in plan.primary}
  sizes = {a: values.sum(axis=1) for a, values in psi.items()}
  if method == "single":  # once for all hierarchies
    none = {a: np.full((config.seeds, count), -1, np.int32) for a in psi}
    return trainer.train_fixed(method, none, {a: np.zeros(config.seeds, int) for a in psi})
  if method.startswith("maxl"):
    weight = config.entropy_weight if method == "maxl" else 0.0
    return trainer.train_generated(method, psi, weight)
  ids = fixed_labels(
    method,
    settings,
    plan.seeds,
    parts.train,
    lambda: latent_codes(config, parts.train.images, folder),
  )
  return trainer.train_fixed(method, {_auxiliary(t): v for t, v in ids.items()}, sizes)


def _auxiliary(task: str) -> str:
  return f"auxiliary_{task}"


def runs_of(outcome_runs: int, index: int, seeds: int) -> slice:
  """The runs of a setting; single-task training has the same ones in all."""
  first = 0 if outcome_runs == seeds else index * seeds
  return slice(first, first + seeds)


def _rows(config: Config, plan: Plan, method: str, outcome: Outcome) -> list[dict[str, Any]]:
  rows = []
  for index, setting in enumerate(plan.settings):
    for task, classes in plan.primary.items():
      mine = runs_of(len(outcome.accuracy[task]), index, config.seeds)
      paper = None
      if len(plan.primary) == 1:
        paper = thesis_accuracy(config.base, classes, setting.totals[task], method)
      row = {
        "method": method,
        "primary": classes,
        "setting": setting.name,
        "auxiliary": setting.totals[task],
        "test_accuracy": outcome.accuracy[task][mine].tolist(),
        "thesis": paper,
        "train_accuracy": outcome.curves["train_accuracy"][mine, -1].tolist(),
        "ms_per_step": outcome.ms_per_step,
      }
      if method != "single":
        row["cosine"] = outcome.curves["cosine"][mine].mean(axis=1).tolist()
        row["labels_in_use"] = outcome.curves["labels_in_use"][mine, -1].tolist()
      rows.append(row)
  return rows


def _accuracy_table(plan: Plan, rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
  """As Tables 5.3 and 5.4 of the thesis: a row a method, a column a hierarchy."""
  header = ["method", "PRI"]
  for setting in plan.settings:
    header += [setting.name, "thesis"]
  cells = []
  for method in plan.methods:
    for classes in plan.primary.values():
      line = [NAMES[method], f"[{classes}]"]
      for setting in plan.settings:
        key = (method, classes, setting.name)
        row = next(r for r in rows if (r["method"], r["primary"], r["setting"]) == key)
        line += [results.mean_spread(row["test_accuracy"]), _number(row["thesis"])]
      cells.append(line)
  return header, cells


def _labels_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
  """As Table 5.5 of the thesis."""
  header = ["method", "PRI", "AUX", "labels in use (%)", "thesis", "test accuracy (%)", "thesis"]
  cells = []
  for row in rows:
    paper = ENTROPY.get((row["primary"], row["auxiliary"]), {}) if row["thesis"] else {}
    used, accuracy = paper.get(row["method"], (None, None))
    cells.append(
      [
        NAMES[row["method"]],
        f"[{row['primary']}]",
        f"[{row['auxiliary']}]",
        results.mean_spread(row["labels_in_use"], 1),
        _number(used, 0),
        results.mean_spread(row["test_accuracy"]),
        _number(accuracy),
      ]
    )
  return header, cells


def _number(value: float | None, digits: int = 2) -> str:
  return "-" if value is None else f"{value:.{digits}f}"
