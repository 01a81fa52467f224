"""FastCAR: class and property of an image in one hybrid label, learned by a single regression.

It stands beside plain multi-task learning (a shared backbone, cross-entropy and squared error with
equal weights), the same with standardised targets, which the paper leaves out, and two baselines
without a network: the training set's mean, and the training mean of the true class.

  python -m experiments.fastcar                    # digits with a mass, embedded; minutes
  python -m experiments.fastcar --preset paper --data-dir ~/steel     # the paper's recipe, 224 px
  python -m experiments.fastcar --preset steel --data-dir ~/steel     # 96 px, 20 epochs: for a CPU
  python -m experiments.fastcar --preset steel --data-dir ~/steel --split grouped \
    --workdir runs/fastcar_grouped                 # no micrograph in two parts

Before FastCAR is trained, its one-epoch test may change the labels (`--adjust`). The last epoch is
reported; validation loss sets the learning rate where `--schedule plateau`, and chooses nothing
else. In steel's published split almost all validation images come from micrographs that are in
training too, so that it says little about new ones. The steel preset turns and mirrors images at
random, which the paper does not: validation prefers it, and `--no-augment` takes it back. The quick
preset's learning rate is the best of .001, .003 and .01 by the validation loss of every model (20
epochs, seed 0).

Writes under `--workdir`: config.json, results.json, results.md, predictions.png, ranges.png,
curves.png and, for each model and seed, metrics.jsonl, TensorBoard events and checkpoints, from
which the same command goes on. Tables and figures are written anew after each seed.

Reference: Kini et al., "FastCAR: Fast Classification And Regression Multi-Task Learning via Task
Consolidation for Modelling a Continuous Property Variable of Object Classes", 2024.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments import fastcar_figures
from experiments.common import command_line, write_config
from experiments.property_targets import Targets, hybrid_targets, measure, pair_targets
from experiments.property_training import PropertyConfig, Trainer
from jaxmtl import data, labels
from jaxmtl.training import results

Approach = Literal["fastcar", "fastcar_scaled", "standardised", "plain"]
NAMES: dict[str, str] = {
  "fastcar": "FastCAR",
  "fastcar_scaled": "FastCAR, scaled",
  "standardised": "MTL, standardised targets",
  "plain": "MTL",
}
COLUMNS = ("accuracy", "mse", "mae", "mape", "near")
HEADER = ["model", "accuracy (%)", "MSE", "MAE", "MAPE (%)", "within 8 % (%)", "minutes"]
# Of steel's published split at 224 px; the second row has the best of 204 models in each column.
PAPER = [
  ["paper: FastCAR", "99.54", "606", "12", "2.40", "98.6", "16.3"],
  ["paper: best MTL model by column", "99.85", "59600", "-", "53.70", "-", "15.9"],
]


@dataclasses.dataclass(frozen=True)
class Config(PropertyConfig):
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "paper", "steel"] = "quick"
  """quick: digits, minutes; paper: steel with the paper's recipe; steel: what fits a small CPU."""
  approaches: tuple[Approach, ...] = ("fastcar", "fastcar_scaled", "standardised", "plain")
  """Models to compare. fastcar has centred labels as in the paper, fastcar_scaled divides them."""
  gap: float = 50.0
  """Between the intervals of neighbouring classes, at the start, in the property's unit."""
  scale: float = 500.0
  """What fastcar_scaled divides centred labels by."""
  limit: float = 2.0
  """What the mean gradient after one epoch must stay below."""
  adjust: Literal["gap", "scale"] = "gap"
  """What changes where it does not: the gap is halved, or the scale is doubled."""
  max_trials: int = 6
  """Epochs that this test may take."""
  workdir: str = "runs/fastcar"
  """Where results go; training that was stopped goes on from there."""


PRESETS = {
  "quick": Config(
    width=16,
    epochs=30,
    learning_rate=0.01,
    schedule="cosine",
    adjust="scale",
    max_trials=12,
    checkpoint_every=10,
  ),
  "paper": Config(
    preset="paper",
    dataset="steel",
    backbone="resnet18",
    approaches=("fastcar", "standardised", "plain"),
    scale=400.0,
    workdir="runs/fastcar_paper",
  ),
  "steel": Config(
    preset="steel",
    dataset="steel",
    image_size=96,
    backbone="resnet18",
    epochs=20,
    schedule="cosine",
    augment=True,
    scale=400.0,
    seeds=2,
    checkpoint_every=2,
    workdir="runs/fastcar_steel",
  ),
}


class Outcome(NamedTuple):
  """What one training gave.

  Attributes:
    errors: on the test set, as `measure`.
    predictions: classes and values, `[N]` each, of the test images.
    history: a row an epoch.
  """

  errors: dict[str, float]
  predictions: tuple[np.ndarray, np.ndarray]
  history: list[dict[str, Any]]


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all models, and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.workdir`.

  Returns:
    What `results.json` holds: for each model its errors on the test set by name and seed, the
    minutes that training took by seed and, of FastCAR, the trials of its one-epoch test; and the
    errors of both baselines.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written; or if no trial
      of the one-epoch test passed.
    FileNotFoundError: if the data are not there; the message says what is missing.
    training.TrainingDiverged: if a loss stops being finite.
  """
  config.check()
  if not config.approaches:
    raise ValueError(f"approaches must name some of {', '.join(NAMES)}.")
  parts = config.load()
  # Raises for a gap that does not fit, before anything is written.
  labels.FastCAR.fit(parts.train.values, parts.train.classes, gap=config.gap, scale=config.scale)
  folder = pathlib.Path(workdir or config.workdir)
  write_config(folder, config, replace=False)  # an earlier run's stays until this one got through

  trainer = Trainer(config, parts, folder)
  targets: dict[str, Targets] = {}
  hybrids: dict[str, labels.FastCAR] = {}
  trials: dict[str, list[labels.Trial]] = {}
  for name in config.approaches:
    if name.startswith("fastcar"):
      hybrids[name], trials[name] = _fit_labels(config, name, trainer, folder)
      targets[name] = hybrid_targets(hybrids[name])
    else:
      targets[name] = _pair(parts, standardise=name == "standardised")

  outcomes: dict[str, list[Outcome]] = {name: [] for name in config.approaches}
  summary: dict[str, Any] = {}
  for seed in range(config.seed, config.seed + config.seeds):
    for name in config.approaches:
      outcomes[name].append(_train(trainer, _run_name(name, trials, seed), targets[name], seed))
    summary = _report(config, parts, outcomes, trials, folder)
    fastcar_figures.draw(parts, {NAMES[n]: o for n, o in outcomes.items()}, hybrids, folder)
  write_config(folder, config, replace=True)
  print(f"Results and figures are in {folder}.")
  return summary


def _fit_labels(
  config: Config, name: str, trainer: Trainer, folder: pathlib.Path
) -> tuple[labels.FastCAR, list[labels.Trial]]:
  """Hybrid labels that pass the one-epoch test of the first seed.

  The test's epoch is the first one of training, which goes on from it; what it measured is kept in
  a file, since it cannot be measured again later.
  """
  train = trainer.parts.train

  def measure_gradient(hybrid: labels.FastCAR, trial: labels.Trial) -> float:
    run = _run_name(name, {name: [trial]}, config.seed)
    path = folder / run / "one_epoch_test.json"
    if not path.exists():
      targets = hybrid_targets(hybrid)
      state, _ = trainer.train(run, targets, config.seed, epochs=1)
      path.write_text(json.dumps(trainer.mean_gradient(state, targets)) + "\n")
    gradient = float(json.loads(path.read_text()))
    print(f"{run}: mean gradient {gradient:.3g} after one epoch, limit {config.limit:g}")
    return gradient

  return labels.one_epoch_test(
    measure_gradient,
    train.values,
    train.classes,
    gap=config.gap,
    scale=config.scale if name == "fastcar_scaled" else 1.0,
    limit=config.limit,
    adjust=config.adjust,
    max_trials=config.max_trials,
  )


def _run_name(name: str, trials: dict[str, list[labels.Trial]], seed: int) -> str:
  """The folder of a run; FastCAR's tells the labels."""
  if name not in trials:
    return f"{name}_seed{seed}"
  trial = trials[name][-1]
  return f"{name}_gap{trial.gap:g}_scale{trial.scale:g}_seed{seed}"


def _pair(parts: data.PropertySplits, *, standardise: bool) -> Targets:
  count, values = len(parts.class_names), parts.train.values.astype(float)
  return pair_targets(count, values.mean(), values.std()) if standardise else pair_targets(count)


def _train(trainer: Trainer, run: str, targets: Targets, seed: int) -> Outcome:
  state, history = trainer.train(run, targets, seed)
  test = trainer.parts.test  # looked at here, once
  classes, values = targets.decode(trainer.outputs(state, targets, test.images))
  predictions = np.asarray(classes), np.asarray(values)
  return Outcome(measure(test, *predictions), predictions, history)


def baselines(parts: data.PropertySplits) -> dict[str, dict[str, float]]:
  """Errors on the test set of what needs no network, by name."""
  train, test = parts.train, parts.test
  overall = np.full(len(test), train.values.mean(dtype=float))
  means = [
    train.values[train.classes == c].mean(dtype=float) for c in range(len(parts.class_names))
  ]
  return {
    "training mean": measure(test, np.full(len(test), -1), overall),
    "training mean of the true class": measure(test, test.classes, np.array(means)[test.classes]),
  }


def _report(
  config: Config,
  parts: data.PropertySplits,
  outcomes: dict[str, list[Outcome]],
  trials: dict[str, list[labels.Trial]],
  folder: pathlib.Path,
) -> dict[str, Any]:
  rows, found = [], {}
  for name, runs in outcomes.items():
    errors = {column: [run.errors[column] for run in runs] for column in COLUMNS}
    minutes = [sum(row["seconds"] for row in run.history) / 60 for run in runs]
    found[name] = {**errors, "minutes": minutes}
    if name in trials:
      found[name]["one_epoch_test"] = [trial._asdict() for trial in trials[name]]
    cells = _cells(errors)
    rows.append([NAMES[name], *cells, results.mean_spread(minutes, 1)])
  trivial = baselines(parts)
  for name, values in trivial.items():
    cells = _cells({column: [values[column]] for column in COLUMNS})
    rows.append([name, "given" if "class" in name else "-", *cells[1:], "0"])
  if config.dataset == "steel" and config.split == "published":
    rows += PAPER
  size = parts.train.images.shape[1]
  seeds = len(next(iter(outcomes.values())))
  title = (
    f"FastCAR: {parts.name}, {parts.property_name}, {len(parts.train)} images of {size} px, "
    f"{config.backbone}, {config.epochs} epochs, {config.schedule} schedule, {seeds} seed(s): "
    "test set after the last epoch"
  )
  summary = {"config": dataclasses.asdict(config), "results": found, "baselines": trivial}
  results.write_results(folder, title, HEADER, rows, summary)
  return summary


def _cells(errors: dict[str, list[float]]) -> list[str]:
  large = np.mean(errors["mse"]) >= 100
  digits = {"accuracy": 2, "mse": 0 if large else 2, "mae": 1, "mape": 2, "near": 1}
  return [results.mean_spread(errors[column], digits[column]) for column in COLUMNS]


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.fastcar", args)


if __name__ == "__main__":
  main()
