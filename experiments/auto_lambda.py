"""Auto-lambda: task weights learned from what a look-ahead step does to the primary tasks.

Networks learn the five tasks of multi-digits (left, right, sum, parity and noise) in two settings:
multi-task learning, where all tasks but noise are primary, and auxiliary learning, where one is and
the others are to help it. Auto-lambda is compared with single-task training, with weightings that
know no primary task, and in auxiliary learning with gradient cosine similarity (GCS).

  python -m experiments.auto_lambda                  # embedded; minutes on a CPU
  python -m experiments.auto_lambda --methods equal auto_lambda auto_lambda+pcgrad --primaries sum
  python -m experiments.auto_lambda --dataset mnist --data-dir ~/tfds --width 32

Writes under `--workdir`: config.json, results.json, results.md, weights.png (through training, for
each choice of primary tasks), relations.png (last weights: which task helps which), exact.png (the
weights of exact against approximate gradients) and, for each run, metrics.jsonl, TensorBoard events
and checkpoints, from which the same command goes on.

Reference: Liu, James, Davison and Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships",
2022; Liu, "Robust, Efficient and Generalisable Visual Representations" (thesis), chapter 3.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import optax

from experiments.benchmark_training import Method, Outcome, Trainer
from experiments.common import command_line, write_config
from experiments.multi_digits import Task, TrainingConfig, load_parts
from jaxmtl.training import comparison, results

MULTI_TASK = "multi-task"
NOISE = "noise"


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "full"] = "quick"
  """quick: a small network, minutes; full: wider, longer, more images."""
  methods: tuple[str, ...] = ("equal", "dwa", "uncertainty", "auto_lambda")
  """Weightings, aggregators, or weighting+aggregator, for multi-task learning."""
  auxiliary_methods: tuple[str, ...] = ("gcs", "auto_lambda")
  """Methods that know the primary task, for auxiliary learning."""
  primaries: tuple[Task, ...] = ("left", "right", "sum", "parity")
  """Primary tasks, each in a run of its own."""
  compare: Literal["finite_difference", "first_order", "none"] = "finite_difference"
  """What the exact gradient of the weights is compared with, in multi-task learning."""
  weight_learning_rate: float = 3e-4
  """Adam's, of the weights."""
  learning_rate: float = 0.05
  """Of SGD; it falls to zero along a cosine."""
  momentum: float = 0.9
  weight_decay: float = 1e-4
  workdir: str = "runs/auto_lambda"
  """Where results go; training that was stopped goes on from there."""


PRESETS = {
  "quick": Config(),
  "full": Config(
    preset="full",
    train_images=20000,
    width=64,
    epochs=40,
    batch_size=100,
    learning_rate=0.1,
    workdir="runs/auto_lambda_full",
  ),
}


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all settings, and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.workdir`.

  Returns:
    What `results.json` holds: for each row its setting, method, test accuracies in per cent by task
    and seed, Delta_MTL by seed, the weights of the last epoch by task and seed, and milliseconds a
    step of all seeds together.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
  """
  plan = _plan(config)
  parts = load_parts(config)
  folder = pathlib.Path(workdir or config.workdir)
  write_config(folder, config, replace=False)  # an earlier run's stays until this one got through

  def optimizer(schedule: optax.Schedule) -> optax.GradientTransformation:
    decay = optax.add_decayed_weights(config.weight_decay)
    return optax.chain(decay, optax.sgd(schedule, config.momentum))

  trainer = Trainer(config, parts, folder, optimizer)
  single = trainer.train_singles(config.tasks)
  outcomes = {
    key: trainer.train("_".join(key).replace(" ", "_"), method, config.tasks)
    for key, method in plan.items()
  }

  rows = [_row(config, (MULTI_TASK, "single task"), single, single)]
  rows += [_row(config, key, outcome, single) for key, outcome in outcomes.items()]
  summary = {
    "config": dataclasses.asdict(config),
    "results": rows,
    "exact_against_approximate": _differences(config, outcomes),
  }
  header = [
    "primary",
    "method",
    *config.tasks,
    "Delta_MTL (%)",
    f"ms a step, {config.seeds} seed(s)",
  ]
  title = f"{config.describe()}; Delta_MTL over all tasks but noise, or over the primary task"
  results.write_results(folder, title, header, [_cells(config, r) for r in rows], summary)
  _draw(config, outcomes, folder)
  write_config(folder, config, replace=True)
  print(f"Results and figures are in {folder}.")
  return summary


def _plan(config: Config) -> dict[tuple[str, str], Method]:
  """The runs by setting and method."""
  config.check()
  if unknown := [task for task in config.primaries if task not in config.tasks]:
    raise ValueError(f"primaries {unknown} are not among the tasks {list(config.tasks)}.")
  judged = [i for i, task in enumerate(config.tasks) if task != NOISE]
  if not judged:
    raise ValueError(f"multi-task learning needs a task that is not noise, got {config.tasks}.")

  def method(name: str, primary: Sequence[int], estimator: str = "exact") -> Method:
    parsed = Method.parse(name)
    options: dict[str, Any] = {}
    if parsed.weighting == "auto_lambda":
      rate = config.weight_learning_rate
      options = {"primary": list(primary), "learning_rate": rate, "estimator": estimator}
    elif parsed.weighting is None and parsed.aggregator == "gcs":
      options = {"primary": primary[0]}
    return dataclasses.replace(parsed, options=options)

  plan = {(MULTI_TASK, name): method(name, judged) for name in config.methods}
  if config.compare != "none" and "auto_lambda" in config.methods:
    name = f"auto_lambda, {config.compare.replace('_', ' ')}"
    plan[MULTI_TASK, name] = method("auto_lambda", judged, config.compare)
  for task in config.primaries:
    index = [config.tasks.index(task)]
    plan |= {(task, name): method(name, index) for name in config.auxiliary_methods}
  for found in plan.values():
    found.build(len(config.tasks), 1)  # raises where options do not fit
  return plan


def _row(config: Config, key: tuple[str, str], outcome: Outcome, single: Outcome) -> dict[str, Any]:
  setting, name = key
  if outcome.failure is not None:
    return {"setting": setting, "method": name, "failure": outcome.failure}
  counted = [t for t in config.tasks if t != NOISE] if setting == MULTI_TASK else [setting]
  mine, alone = (np.stack([o.accuracy[t] for t in counted], axis=-1) for o in (outcome, single))
  return {
    "setting": setting,
    "method": name,
    "test_accuracy": {t: values.tolist() for t, values in outcome.accuracy.items()},
    "delta_mtl": results.delta_mtl(mine, alone).tolist(),
    "last_weights": {t: values[:, -1].tolist() for t, values in outcome.weights.items()},
    "ms_per_step": outcome.ms_per_step,
    "failure": None,
  }


def _cells(config: Config, row: dict[str, Any]) -> list[str]:
  if row["failure"]:
    return [row["setting"], row["method"], "diverged", *["-"] * (len(config.tasks) + 1)]
  return [
    row["setting"],
    row["method"],
    *(results.mean_spread(row["test_accuracy"][t], 1) for t in config.tasks),
    results.mean_spread(row["delta_mtl"], 1),
    f"{row['ms_per_step']:.1f}",
  ]


def _differences(
  config: Config, outcomes: dict[tuple[str, str], Outcome]
) -> dict[str, dict[str, Any]]:
  """Of the exact weights and their approximation, mean and largest over seeds and epochs."""
  exact = outcomes.get((MULTI_TASK, "auto_lambda"))
  near = outcomes.get((MULTI_TASK, f"auto_lambda, {config.compare.replace('_', ' ')}"))
  if exact is None or near is None:
    return {}
  gaps = {t: np.abs(exact.weights[t] - near.weights[t]) for t in exact.weights if near.weights}
  return {t: {"mean": float(gap.mean()), "largest": float(gap.max())} for t, gap in gaps.items()}


def _draw(config: Config, outcomes: dict[tuple[str, str], Outcome], folder: pathlib.Path) -> None:
  learned = {
    setting: outcome.weights
    for (setting, name), outcome in outcomes.items()
    if name == "auto_lambda" and outcome.weights
  }
  if not learned:
    return
  comparison.plot_panels(
    folder / "weights.png",
    {
      setting if setting == MULTI_TASK else f"primary: {setting}": w
      for setting, w in learned.items()
    },
    xlabel="epoch",
    ylabel="task weight",
    title="Auto-lambda's weights, mean over seeds",
  )
  last = [[weights[t][:, -1].mean() for t in config.tasks] for weights in learned.values()]
  comparison.plot_heat_map(
    folder / "relations.png",
    np.array(last),
    list(learned),
    list(config.tasks),
    title="last weight of each task, by primary task",
  )
  near = outcomes.get((MULTI_TASK, f"auto_lambda, {config.compare.replace('_', ' ')}"))
  if near is not None and near.weights and MULTI_TASK in learned:
    gaps = {t: np.abs(learned[MULTI_TASK][t] - near.weights[t]) for t in near.weights}
    comparison.plot_panels(
      folder / "exact.png",
      {"|exact - approximate|": gaps},
      xlabel="epoch",
      ylabel="difference of weights",
      title=f"exact against {config.compare.replace('_', ' ')}, mean over seeds",
    )


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.auto_lambda", args)


if __name__ == "__main__":
  main()
