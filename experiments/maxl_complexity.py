"""Given auxiliary labels of several levels: the study of primary and auxiliary complexity."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, NamedTuple

import numpy as np

from experiments.maxl_config import Config
from experiments.maxl_data import level_name
from experiments.maxl_network import Auxiliary
from experiments.maxl_paper import COMPLEXITY
from experiments.maxl_training import Trainer
from jaxmtl import data, plots
from jaxmtl.training import results


class Combination(NamedTuple):
  """A primary level with auxiliary levels, by number of classes."""

  text: str
  primary: int
  auxiliary: tuple[int, ...]


def plan_complexity(config: Config, levels: dict[int, np.ndarray]) -> dict[int, list[Combination]]:
  """The combinations by primary level; raises ValueError where one does not fit the levels."""
  if config.methods or config.psi or config.primary:
    raise ValueError("combinations take the place of methods, psi and primary; leave those out.")
  plan: dict[int, list[Combination]] = {}
  for text in config.combinations:
    first, _, rest = text.partition(":")
    try:
      primary, auxiliary = int(first), tuple(int(n) for n in rest.split("+") if rest)
    except ValueError:
      raise ValueError(f"combinations are like 3, 3:10 or 3:10+20, got {text!r}.") from None
    wrong = [n for n in (primary, *auxiliary) if n not in levels]
    if wrong or len({primary, *auxiliary}) != 1 + len(auxiliary):
      raise ValueError(
        f"combinations must name different levels of {config.dataset!r}, "
        f"{', '.join(map(str, levels))} classes, got {text!r}."
      )
    plan.setdefault(primary, []).append(Combination(text, primary, auxiliary))
  for primary, group in plan.items():
    if not any(c.auxiliary for c in group):
      raise ValueError(f"combinations of primary {primary} must include one with auxiliary levels.")
  return plan


def study_complexity(
  config: Config, parts: data.TaskSplits, plan: dict[int, list[Combination]], folder: pathlib.Path
) -> list[dict[str, Any]]:
  """Trains all combinations, writes table and figure, and returns the rows of the results.

  Those of a primary level are trained together: one network with a head for every auxiliary level
  among them, of which each run learns its own.
  """
  rows: list[dict[str, Any]] = []
  cosines: dict[str, dict[str, np.ndarray]] = {}
  for primary, group in plan.items():
    task, names = level_name(primary), [n for c in group for n in c.auxiliary]
    auxiliary = {level_name(n): Auxiliary(task, n) for n in sorted(set(names))}
    trainer = Trainer(config, parts, {task: primary}, auxiliary, folder)
    absent = np.full(len(parts.train.images), -1, np.int32)
    ids: dict[str, list] = {a: [] for a in auxiliary}
    sizes: dict[str, list] = {a: [] for a in auxiliary}
    for combination in group:
      for a, spec in auxiliary.items():
        learned = spec.width in combination.auxiliary
        ids[a] += [parts.train.labels[a] if learned else absent] * config.seeds
        sizes[a] += [spec.width if learned else 0] * config.seeds
    outcome = trainer.train_fixed(
      f"primary_{primary}",
      {a: np.stack(values) for a, values in ids.items()},
      {a: np.array(values) for a, values in sizes.items()},
    )
    for i, combination in enumerate(group):
      mine = slice(i * config.seeds, (i + 1) * config.seeds)
      rows.append(
        {
          "combination": combination.text,
          "primary": primary,
          "auxiliary": list(combination.auxiliary),
          "test_accuracy": outcome.accuracy[task][mine].tolist(),
          "train_accuracy": outcome.curves["train_accuracy"][mine, -1].tolist(),
          "thesis": COMPLEXITY.get(combination.text) if config.base == "cifar100" else None,
          "ms_per_step": outcome.ms_per_step,
        }
      )
      if combination.auxiliary:
        label = "+".join(map(str, combination.auxiliary))
        shown = {f"AUX [{label}]": outcome.curves["cosine"][mine]}
        cosines[f"PRI [{primary}]"] = cosines.get(f"PRI [{primary}]", {}) | shown
  title = (
    f"Primary and auxiliary complexity: {config.dataset}, {len(parts.train.images)} images, "
    f"{config.network}, {config.epochs} epochs, {config.seeds} seed(s): test accuracy (%)"
  )
  header = ["PRI", "AUX", "test accuracy (%)", "gain", "thesis", "gain"]
  outcome_rows = {"config": dataclasses.asdict(config), "results": rows}
  results.write_results(folder, title, header, [_cells(row, rows) for row in rows], outcome_rows)
  plots.plot_panels(
    folder / "cosine.png",
    cosines,
    xlabel="epoch",
    ylabel="cosine",
    title="auxiliary and primary gradients of the backbone, mean over seeds",
  )
  return rows


def _cells(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
  alone = [r for r in rows if r["primary"] == row["primary"] and not r["auxiliary"]]
  gain = paper_gain = "-"
  if alone and row["auxiliary"]:
    mine, single = (np.array(r["test_accuracy"]) for r in (row, alone[0]))
    gain = results.mean_spread(mine - single)  # seeds are the same, and so are their first weights
    if row["thesis"] is not None and alone[0]["thesis"] is not None:
      paper_gain = f"{row['thesis'] - alone[0]['thesis']:+.2f}"
  return [
    f"[{row['primary']}]",
    "[" + "+".join(map(str, row["auxiliary"])) + "]" if row["auxiliary"] else "none",
    results.mean_spread(row["test_accuracy"]),
    gain,
    "-" if row["thesis"] is None else f"{row['thesis']:.2f}",
    paper_gain,
  ]
