"""Benchmark: methods of multi-task learning against each other and against single-task training.

Every method trains the same network from the same parameters on the same images in the same order,
with the same learning rate; single-task baselines, one network a task, are trained beside them.

  python -m experiments.benchmark                   # multi-digits, embedded; minutes on a CPU
  python -m experiments.benchmark --methods equal dwa pcgrad dwa+pcgrad --seeds 5
  python -m experiments.benchmark --preset full     # every method, a wider network, longer
  python -m experiments.benchmark --dataset mnist --data-dir ~/tfds --width 32

A method is a weighting, an aggregator, or `weighting+aggregator`. No epoch is chosen: the last one
is reported. The quick preset's learning rate is the best of .003, .01 and .03 by the validation
accuracy of equal weights and single tasks (seed 100); its batch size and epochs are what takes
minutes, and were set earlier with test accuracy in view too.

Writes under `--workdir`: config.json, results.json, results.md, heat_map.png, trade_off.png,
cost.png, curves.png and, for each method and each single task, metrics.jsonl, TensorBoard events
and checkpoints, from which the same command goes on.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal

import numpy as np

from experiments.benchmark_training import Outcome, Trainer
from experiments.common import command_line, write_config
from experiments.methods import WEIGHTINGS, Method
from experiments.multi_digits import TASKS, TrainingConfig, load_parts
from jaxmtl.aggregation import METHODS as AGGREGATORS
from jaxmtl.training import comparison, results

SINGLE = "single task"


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "full"] = "quick"
  """quick: a small network, minutes; full: every method, wider and longer."""
  methods: tuple[str, ...] = (
    "equal",
    "uncertainty",
    "dwa",
    "rlw",
    "gls",
    "gradnorm",
    "imtl_l",
    "famo",
    "pcgrad",
    "cagrad",
    "mgda",
    "imtl_g",
    "aligned_mtl",
    "conflict_free",
    "nash_mtl",
    "upgrad",
    "gradvac",
    "db_mtl",
    "dwa+pcgrad",
  )
  """Weightings, aggregators, or weighting+aggregator."""
  not_counted: tuple[str, ...] = ("noise",)
  """Tasks left out of Delta_MTL: near chance, a relative change says nothing."""
  workdir: str = "runs/benchmark"
  """Where results go; training that was stopped goes on from there."""


PRESETS = {
  "quick": Config(),
  "full": Config(
    preset="full",
    methods=(*WEIGHTINGS, *AGGREGATORS, "dwa+pcgrad", "dwa+cagrad"),
    train_images=20000,
    width=64,
    epochs=40,
    batch_size=100,
    learning_rate=0.003,
    seeds=5,
    workdir="runs/benchmark_full",
  ),
}


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains baselines and methods, and writes table, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.workdir`.

  Returns:
    What `results.json` holds: for each method the test accuracies in per cent by task and seed,
    Delta_MTL by seed with and without the tasks that do not count, and milliseconds a step of all
    seeds together.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
  """
  methods = _methods(config)
  parts = load_parts(config)
  folder = pathlib.Path(workdir or config.workdir)
  write_config(folder, config, replace=False)  # an earlier run's stays until this one got through

  trainer = Trainer(config, parts, folder)
  single = trainer.train_singles(config.tasks)
  outcomes = {name: trainer.train(name, method, config.tasks) for name, method in methods.items()}

  rows = [_row(config, SINGLE, single, single)]
  rows += [_row(config, name, outcome, single) for name, outcome in outcomes.items()]
  summary = {"config": dataclasses.asdict(config), "results": rows}
  results.write_results(
    folder, _title(config), _header(config), [_cells(config, row) for row in rows], summary
  )
  _draw(config, rows, single, outcomes, folder)
  write_config(folder, config, replace=True)
  print(f"Results and figures are in {folder}.")
  return summary


def _methods(config: Config) -> dict[str, Method]:
  config.check()
  if unknown := [task for task in config.tasks if task not in TASKS]:
    raise ValueError(f"tasks {unknown} are not known; multi-digits has {', '.join(TASKS)}.")
  if not set(config.tasks) - set(config.not_counted):
    raise ValueError(f"Delta_MTL needs a task that counts; of tasks {config.tasks} none does.")
  methods = {name: Method.parse(name) for name in config.methods}
  for method in methods.values():
    method.build(len(config.tasks), 1)  # raises where a method does not take so many tasks
  return methods


def _row(config: Config, name: str, outcome: Outcome, single: Outcome) -> dict[str, Any]:
  def stacked(tasks: Any) -> tuple[np.ndarray, np.ndarray]:
    pair = (outcome, single)
    accuracy, baseline = (np.stack([o.accuracy[t] for t in tasks], axis=-1) for o in pair)
    return accuracy, baseline

  counted = [t for t in config.tasks if t not in config.not_counted]
  changes = results.relative_change(*stacked(config.tasks))
  row = {
    "method": name,
    "test_accuracy": {t: values.tolist() for t, values in outcome.accuracy.items()},
    "relative_change": dict(zip(config.tasks, changes.mean(0).tolist(), strict=True)),
    "delta_mtl": results.delta_mtl(*stacked(counted)).tolist(),
    "delta_mtl_all_tasks": changes.mean(-1).tolist(),
    "ms_per_step": outcome.ms_per_step,
    "failure": outcome.failure,
  }
  return row if outcome.failure is None else {"method": name, "failure": outcome.failure}


def _title(config: Config) -> str:
  counted = ", ".join(t for t in config.tasks if t not in config.not_counted)
  return (
    f"{config.describe()}, Delta_MTL over {counted}; Adam, learning rate {config.learning_rate:g} "
    "for every method"
  )


def _header(config: Config) -> list[str]:
  uncounted = [t for t in config.tasks if t in config.not_counted]
  with_all = [f"Delta_MTL with {', '.join(uncounted)} (%)"] if uncounted else []
  return ["method", *config.tasks, "Delta_MTL (%)", *with_all, f"ms a step, {config.seeds} seed(s)"]


def _cells(config: Config, row: dict[str, Any]) -> list[str]:
  width = len(_header(config)) - 1
  if row["failure"]:
    return [row["method"], "diverged", *["-"] * (width - 1)]
  deltas = [row["delta_mtl"]]
  if set(config.tasks) & set(config.not_counted):
    deltas.append(row["delta_mtl_all_tasks"])
  return [
    row["method"],
    *(results.mean_spread(row["test_accuracy"][t], 1) for t in config.tasks),
    *("0" if row["method"] == SINGLE else results.mean_spread(delta, 1) for delta in deltas),
    f"{row['ms_per_step']:.1f}",
  ]


def _draw(
  config: Config,
  rows: list[dict[str, Any]],
  single: Outcome,
  outcomes: dict[str, Outcome],
  folder: pathlib.Path,
) -> None:
  finished = [row for row in rows if not row["failure"]]
  compared = finished[1:]  # without the baseline
  if compared:
    changes = np.array([[row["relative_change"][t] for t in config.tasks] for row in compared])
    counted = [t not in config.not_counted for t in config.tasks]
    comparison.plot_heat_map(
      folder / "heat_map.png",
      changes,
      [row["method"] for row in compared],
      [t if c else f"{t}*" for t, c in zip(config.tasks, counted, strict=True)],
      title="accuracy against single-task training,\nrelative change (%)"
      + ("" if all(counted) else "; * not in Delta_MTL"),
      limit=max(float(np.abs(changes[:, counted]).max()), 1e-3),
    )
  comparison.plot_trade_off(
    folder / "cost.png",
    {row["method"]: (row["ms_per_step"], row["delta_mtl"]) for row in finished},
    xlabel=f"time a step of {config.seeds} seed(s) (ms)",
    ylabel="Delta_MTL (%)",
    title="gain against cost",
    reference=SINGLE,
  )
  if len(config.tasks) > 1:
    first, second = config.tasks[:2]
    accuracies = {row["method"]: row["test_accuracy"] for row in finished}
    comparison.plot_trade_off(
      folder / "trade_off.png",
      {name: (values[first], values[second]) for name, values in accuracies.items()},
      xlabel=f"{first}: test accuracy (%)",
      ylabel=f"{second}: test accuracy (%)",
      title="trade-off between two tasks",
      reference=SINGLE,
    )
  shown = {name: outcome.curves for name, outcome in outcomes.items() if outcome.curves}
  comparison.plot_panels(
    folder / "curves.png",
    shown or {SINGLE: single.curves},
    xlabel="epoch",
    ylabel="validation accuracy (%)",
    title="mean over seeds; dotted: single-task training",
    reference=single.curves,
  )


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.benchmark", args)


if __name__ == "__main__":
  main()
