"""DGR: task losses with the gradient norms of frozen dummy heads, so that any head would do.

Methods with and without DGR, and beside them sharpness-aware minimisation (SAM) and pseudo-task
augmentation (PTA), against single-task training. Data:

- multi-digits, two overlaid digits with the tasks left, right, sum and parity (the default);
- UTKFace, with the tasks age (7 bins), gender and ethnicity, the paper's.

The penalty's weight is the best of a sweep by the mean validation accuracy of equal weights with
DGR (first seed); the sweep's settings, numbers of dummies too, are trained together under one
`jax.vmap`. Then encoders are frozen: a decision tree, an SVM and k nearest neighbours (with the
defaults of scikit-learn) learn each task from their features.

  python -m experiments.dgr                          # embedded; minutes on a CPU
  python -m experiments.dgr --methods equal dwa cagrad nash_mtl --weights 1e-4 1e-2 1
  python -m experiments.dgr --preset utkface --data-dir ~/UTKFace
  python -m experiments.dgr --preset paper --data-dir ~/UTKFace

Writes under `--workdir`: config.json, results.json, results.md (the tables), curves.png, cost.png
(gain against time), sweep.png, probes.png, tsne.png and, for each run, metrics.jsonl, TensorBoard
events and checkpoints, from which the same command goes on. The last epoch is reported; nothing is
chosen on the test set.

Reference: Shin, Do and Son, "Learning Representation for Multitask Learning through Self-Supervised
Auxiliary Learning", 2024.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal

import numpy as np

from experiments import dgr_figures, dgr_tables
from experiments.common import command_line, write_config
from experiments.dgr_features import Universality, frozen_accuracy
from experiments.dgr_training import DGR, RegularizedTrainer, Setting, parse
from experiments.multi_digits import TrainingConfig, load_parts
from jaxmtl import data
from jaxmtl.regularization.dgr import ESTIMATORS
from jaxmtl.training import results

FACES = "utkface"


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "utkface", "paper"] = "quick"
  """quick: a small network on embedded data, minutes; utkface: faces, a small network, a CPU will
  do; paper: its network, heads and methods, with a recipe of our own where it gives none."""
  tasks: tuple[str, ...] = ("left", "right", "sum", "parity")
  """Which tasks the networks learn."""
  dataset: str = "digits"
  """utkface, or what multi-digits overlays: digits, a .npz file, or a prepared TFDS set."""
  methods: tuple[str, ...] = ("equal", "cagrad")
  """Weightings, aggregators, or weighting+aggregator, each without and with DGR; equal first."""
  compared: tuple[Literal["sam", "pta"], ...] = ("sam", "pta")
  """What DGR is compared with."""
  compared_on: tuple[str, ...] = ("equal",)
  """The methods that SAM and PTA are put on."""
  hidden: int = 64
  """Units of the first of two layers of each head; 0 for one linear layer."""
  num_dummies: int = 3
  """Dummy heads a task in DGR, further decoders a task in PTA."""
  weight: float | None = None
  """Of DGR's penalty; None: the sweep's best."""
  weights: tuple[float, ...] = (1e-5, 1e-3, 1e-1)
  """What the sweep tries."""
  dummy_counts: tuple[int, ...] = (1, 3, 5)
  """Numbers of dummies that the sweep tries, each with each weight."""
  estimator: Literal["exact", "autodiff", "finite_difference"] = "exact"
  """How the penalty's gradient is found."""
  radius: float = 0.05
  """Of SAM, how far it looks for the worst point."""
  flip: bool = False
  """Random horizontal flips."""
  train_images: int = 2000
  probe_images: int = 2000
  """Training images, at most, that simple classifiers learn from, and universality is found on."""
  workdir: str = "runs/dgr"
  """Where results go; training that was stopped goes on from there."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    super().check()
    if self.estimator not in ESTIMATORS:
      raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {self.estimator!r}.")
    if self.methods[:1] != ("equal",):
      raise ValueError(f"methods must start with equal, the paper's VANILLA, got {self.methods}.")
    if unknown := [name for name in self.compared_on if name not in self.methods]:
      raise ValueError(f"compared_on has {unknown}, which methods has not: {self.methods}.")
    if self.architecture != "hps":
      raise ValueError(
        "dummy heads read one shared encoder's features (architecture='hps'), got "
        f"architecture={self.architecture!r}."
      )
    for name in ("num_dummies", "probe_images"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
    if self.hidden < 0:
      raise ValueError(f"hidden must not be negative, got {self.hidden}; 0 is a linear head.")
    counts = self.dummy_counts
    if self.weight is None and not (self.weights and counts and self.num_dummies in counts):
      raise ValueError(
        f"without a weight, the sweep needs weights, got {self.weights}, and dummy_counts with "
        f"num_dummies={self.num_dummies}, got {counts}."
      )
    if min(self.dummy_counts, default=1) < 1:
      raise ValueError(f"dummy_counts must be at least 1 each, got {self.dummy_counts}.")


_FACES: dict[str, Any] = {
  "dataset": FACES,
  "tasks": ("age", "gender", "ethnicity"),
  "flip": True,
}
PRESETS = {
  "quick": Config(),
  "utkface": Config(
    preset="utkface",
    **_FACES,
    image_size=32,
    backbone="resnet18",
    width=0.25,
    epochs=12,
    batch_size=64,
    learning_rate=0.003,
    seeds=2,
    probe_images=4000,
    dummy_counts=(3,),
    workdir="runs/dgr_utkface",
  ),
  "paper": Config(
    preset="paper",
    **_FACES,
    methods=(
      *("equal", "dwa", "uncertainty", "auto_lambda"),
      *("pcgrad", "cagrad", "imtl_l+imtl_g", "nash_mtl"),
    ),
    compared_on=("equal", "auto_lambda", "cagrad", "nash_mtl"),
    image_size=128,
    backbone="resnet50",
    width=1,
    hidden=512,
    weights=(1e-5, 1e-6, 1e-7),
    dummy_counts=(3,),
    epochs=100,
    batch_size=128,
    learning_rate=1e-3,
    probe_images=20000,
    checkpoint_every=10,
    workdir="runs/dgr_paper",
  ),
}


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains baselines, sweep and methods, probes what they learned, and writes everything.

  Args:
    config: the options.
    workdir: instead of `config.workdir`.

  Returns:
    What `results.json` holds: for each row its test accuracies in per cent by task and seed,
    Delta_MTL by seed, accuracies of simple classifiers on frozen features, universality, and
    milliseconds a step of all seeds together; the sweep, and the weight it chose.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
    FileNotFoundError: if the data are not there.
  """
  config.check()
  methods = {name: parse(name, len(config.tasks)) for name in config.methods}
  parts, skipped = _load(config)
  if unknown := [task for task in config.tasks if task not in parts.num_classes]:
    raise ValueError(f"tasks {unknown} are not among the data's: {', '.join(parts.num_classes)}.")
  folder = pathlib.Path(workdir or config.workdir)
  write_config(folder, config, replace=False)  # an earlier run's stays until this one got through

  trainer = RegularizedTrainer(config, parts, folder)
  single = trainer.train_singles(config.tasks)
  sweep = [] if config.weight is not None else _sweep(config, trainer, folder)
  weight = config.weight
  if weight is None:
    mine = [row for row in sweep if row["num_dummies"] == config.num_dummies]
    weight = max(mine, key=lambda row: np.mean(row["validation_accuracy"]))["weight"]
  setting = Setting(weight, config.num_dummies)
  outcomes = {}
  for name, method in methods.items():
    compared = config.compared if name in config.compared_on else ()
    outcomes[name] = trainer.train(name, method, config.tasks)
    for kind in (DGR, *compared):
      outcomes[f"{name}+{kind}"] = trainer.train_regularized(name, method, kind, [setting])

  finished = {name: outcome for name, outcome in outcomes.items() if not outcome.failure}
  probes = {name: frozen_accuracy(trainer, outcome) for name, outcome in finished.items()}
  measure = Universality(trainer)
  universal = {name: measure(outcome) for name, outcome in finished.items()}
  rows = dgr_tables.rows(config.tasks, outcomes, single, probes, universal)
  summary = {
    "config": dataclasses.asdict(config),
    "weight": weight,
    "sweep": sweep,
    "skipped_files": list(skipped),
    "results": rows,
  }
  faces = config.dataset == FACES
  tables = dgr_tables.tables(_describe(config, weight, skipped), config.tasks, rows, sweep, faces)
  results.write_tables(folder, tables, summary)
  sizes = trainer.parts.num_classes
  names = (
    data.UTKFACE_CLASSES if faces else {t: [str(i) for i in range(n)] for t, n in sizes.items()}
  )
  dgr_figures.draw(folder, trainer, outcomes, single, rows, sweep, names)
  write_config(folder, config, replace=True)
  print(f"Results and figures are in {folder}.")
  return summary


def _load(config: Config) -> tuple[Any, tuple[str, ...]]:
  """The data, and the names of files left out."""
  if config.dataset != FACES:
    return load_parts(config), ()
  parts = data.load_utkface(config.data_dir, image_size=config.image_size or 64)
  print(f"UTKFace: {len(parts.skipped)} file(s) skipped whose names do not tell all labels.")
  return parts, parts.skipped


def _sweep(
  config: Config, trainer: RegularizedTrainer, folder: pathlib.Path
) -> list[dict[str, Any]]:
  """Mean validation accuracy of equal weights with DGR, by weight and number of dummies."""
  settings = [Setting(w, d) for w in config.weights for d in config.dummy_counts]
  one_seed = dataclasses.replace(config, seeds=1)
  alone = RegularizedTrainer(one_seed, trainer.parts, folder)
  outcome = alone.train_regularized("equal", parse("equal", len(config.tasks)), DGR, settings)
  if outcome.failure:
    raise ValueError(f"the sweep diverged: {outcome.failure}; leave the largest weights out.")
  return [
    {
      "weight": s.weight,
      "num_dummies": s.num_used,
      "validation_accuracy": [float(outcome.curves[t][i, -1]) for t in config.tasks],
    }
    for i, s in enumerate(settings)
  ]


def _describe(config: Config, weight: float, skipped: tuple[str, ...]) -> str:
  what = f"Multi-digits of {config.dataset}, {config.train_images} images"
  if config.dataset == FACES:
    what = f"UTKFace at {config.image_size or 64} px, {len(skipped)} file(s) skipped"
  heads = f"heads with {config.hidden} hidden units" if config.hidden else "linear heads"
  return (
    f"{what}, {config.backbone} of width {config.width:g}, {heads}, {config.epochs} epochs, "
    f"{config.seeds} seed(s), DGR with {config.num_dummies} dummies and weight {weight:g}: test "
    "accuracy (%) after the last epoch"
  )


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.dgr", args)


if __name__ == "__main__":
  main()
