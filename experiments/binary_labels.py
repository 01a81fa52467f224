"""Binary Labels: a random binary code of the class as an auxiliary task.

A network learns its main task, one-hot labels, with and without an auxiliary head that predicts a
long binary label (or a dense uniform one, the comparator) of the same class. The head is thrown
away after training.

  python -m experiments.binary_labels          # digits, embedded; minutes, mostly compilation
  python -m experiments.binary_labels --preset paper --backbone vgg19 --data-dir ~/tfds
  python -m experiments.binary_labels --preset paper --backbone vgg19 --data-dir ~/tfds \
    --fraction 0.01 --task-weights 0.1,0.9               # the paper's Table 4

Writes under `--workdir`: config.json, results.json, results.md, curves.png, cosine.png, labels.png
and, for each variant, metrics.jsonl, TensorBoard events and checkpoints, from which the same
command goes on.

Reference: "Multi Task Learning of Different Class Label Representations for Stronger Models".
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from experiments.common import command_line, write_config
from experiments.label_training import (
  MAIN,
  LabelKind,
  Variant,
  build_model,
  evaluator,
  train_variant,
)
from jaxmtl import data, labels, models, plots
from jaxmtl.aggregation import METHODS
from jaxmtl.training import results

# Accuracy in per cent, from Tables 1 (whole training set) and 4 (fractions).
PAPER: dict[tuple[str, str, float], dict[str, float]] = {
  ("cifar100", "vgg19", 1.0): {"none": 70.765, "binary": 71.57},
  ("cifar100", "resnet32", 1.0): {"none": 69.375, "binary": 69.7975},
  ("cifar100", "resnet110", 1.0): {"none": 71.72, "binary": 72.36},
  ("cifar100", "vgg19", 0.01): {"none": 1.86, "binary": 9.24, "uniform": 7.93},
  ("cifar100", "vgg19", 0.02): {"none": 4.4, "binary": 13.03, "uniform": 12.39},
  ("cifar100", "vgg19", 0.04): {"none": 9.4, "binary": 18.36, "uniform": 18.03},
  ("cifar100", "vgg19", 0.08): {"none": 17.4, "binary": 30.0, "uniform": 22.23},
  ("cifar100", "resnet110", 0.01): {"none": 4.3, "binary": 6.32, "uniform": 6.11},
  ("cifar100", "resnet110", 0.02): {"none": 8.5, "binary": 9.25, "uniform": 8.83},
}


HEADER = ["labels", "test accuracy (%)", "paper (%)", "train accuracy (%)", "ms a step"]


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "paper"] = "quick"
  """quick: digits, minutes; paper: CIFAR-100 with the paper's recipe."""
  dataset: str = "digits"
  """digits, a .npz file, or the name of a prepared TFDS set."""
  data_dir: str | None = None
  """Folder of the TFDS sets."""
  image_size: int | None = None
  """Side in pixels; needed where images differ in size."""
  label_key: str = "label"
  """Which label of a TFDS set is the main task."""
  validation: float = 0.0
  """Share of the training set held out for the curves, where the set has no validation part."""
  fraction: float = 1.0
  """Share of the training set with labels; stratified, drawn anew for each seed."""
  fraction_of: int | None = None
  """Size of the whole training set, where the copy at hand is a reduced one."""
  backbone: str = "convnet4"
  """Any name of jaxmtl.models.create: convnet4, vgg16, vgg19, resnet32, resnet110, ..."""
  label_kinds: tuple[LabelKind, ...] = ("none", "binary", "uniform")
  """Auxiliary labels to compare; none is the baseline."""
  dim: int = 511
  """Length of the auxiliary labels; 10 classes have 511 distinct divisions."""
  task_weights: tuple[Annotated[str, tyro.conf.arg(metavar="MAIN,AUX")], ...] = ("0.5,0.5",)
  """Loss weights of main and auxiliary task; every pair is a variant."""
  aggregator: str = "metabalance"
  """How task gradients are combined: none (weighted sum) or any aggregator by name."""
  epochs: int = 40
  batch_size: int = 64
  """At most; batches are made equal, so that an epoch sees (nearly) all images."""
  learning_rate: float = 0.05
  momentum: float = 0.9
  weight_decay: float = 1e-4
  milestones: tuple[float, ...] = (0.5, 0.75)
  """Shares of training after which the learning rate falls to a tenth."""
  crop_padding: int = 1
  """Random crops from images padded by so many pixels; 0 for none."""
  flip: bool = False
  """Random horizontal flips."""
  seeds: int = 3
  """Runs that are trained together."""
  seed: int = 0
  """First seed."""
  checkpoint_every: int = 10
  """Epochs between checkpoints."""
  workdir: str = "runs/binary_labels"
  """Where results go; training that was stopped goes on from there."""


PRESETS = {
  "quick": Config(fraction=0.1),
  "paper": Config(
    preset="paper",
    dataset="cifar100",
    backbone="resnet32",
    dim=4096,
    epochs=600,
    batch_size=128,
    learning_rate=0.1,
    crop_padding=4,
    flip=True,
    workdir="runs/binary_labels_paper",
  ),
}


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains every variant and writes table, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.workdir`.

  Returns:
    What `results.json` holds: for each variant the test accuracies in per cent by seed, their mean
    and standard deviation, the paper's figure or None, and milliseconds a step.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
    FileNotFoundError: if the data are not there; the message says how to get them.
  """
  variants = _variants(config)
  splits = data.load(
    config.dataset,
    data_dir=config.data_dir,
    image_size=config.image_size,
    validation=config.validation,
    seed=config.seed,
    label_key=config.label_key,
  )
  subsets = np.stack(
    [
      data.labelled_fraction(
        splits.train.labels, config.fraction, seed=config.seed + s, of=config.fraction_of
      )
      for s in range(config.seeds)
    ]
  )
  codes = {kind: _codes(config, kind, splits.train.num_classes) for kind in config.label_kinds}
  folder = pathlib.Path(workdir or config.workdir)
  write_config(folder, config, replace=False)  # an earlier run's stays until this one got through

  main_only = build_model(config, splits.train.num_classes, [MAIN])
  statistics = data.channel_statistics(splits.train.images)
  evaluate = evaluator(main_only, statistics)

  rows, curves = [], {}
  for variant in variants:
    row, curves[variant.name] = train_variant(
      config, variant, splits, subsets, codes[variant.kind], statistics, evaluate, folder
    )
    figures = PAPER.get((config.dataset, config.backbone, config.fraction), {})
    rows.append(row | {"paper": figures.get(variant.kind)})
  outcome = {"config": dataclasses.asdict(config), "results": rows}
  _draw(curves, codes, splits, folder)
  title = (
    f"Binary Labels: {config.dataset}, {subsets.shape[1]} labelled images, {config.backbone}, "
    f"{config.epochs} epochs, {config.aggregator}, {config.seeds} seed(s)"
  )
  results.write_results(folder, title, HEADER, [_cells(row) for row in rows], outcome)
  write_config(folder, config, replace=True)
  print(f"Results, curves and figures are in {folder}.")
  return outcome


def _variants(config: Config) -> list[Variant]:
  if config.aggregator not in ("none", *METHODS):
    known = ", ".join(("none", *sorted(METHODS)))
    raise ValueError(f"aggregator {config.aggregator!r} is not known; known ones: {known}.")
  for name in ("epochs", "seeds", "batch_size", "checkpoint_every", "dim"):
    if getattr(config, name) < 1:
      raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}.")
  models.create(config.backbone)  # raises for an unknown name
  pairs = [_parse_weights(text) for text in config.task_weights]
  variants = [Variant("none")] if "none" in config.label_kinds else []
  kinds = [kind for kind in config.label_kinds if kind != "none"]
  return variants + [Variant(kind, pair) for kind in kinds for pair in pairs]


def _parse_weights(text: str) -> tuple[float, float]:
  try:
    main, auxiliary = (float(part) for part in text.split(","))
  except ValueError:
    raise ValueError(f"task_weights takes pairs like 0.5,0.5, got {text!r}.") from None
  if main <= 0 or auxiliary <= 0 or abs(main + auxiliary - 1) > 1e-6:
    raise ValueError(f"task_weights must be positive and sum to 1, got {text!r}.")
  return main, auxiliary


def _codes(config: Config, kind: LabelKind, num_classes: int) -> np.ndarray:
  """The labels `[seeds, num_classes, dim]`, drawn anew for each seed."""
  keys = [jax.random.key(config.seed + s) for s in range(config.seeds)]
  if kind == "none":
    return np.stack([np.eye(num_classes, dtype=np.float32) for _ in keys])
  draw = labels.binary_labels if kind == "binary" else labels.uniform_labels
  return np.stack([np.asarray(draw(key, num_classes, config.dim)) for key in keys])


def _cells(row: dict[str, Any]) -> list[str]:
  return [
    row["variant"],
    results.mean_spread(row["test_accuracy"]),
    "-" if row["paper"] is None else f"{row['paper']:.2f}",
    results.mean_spread(row["train_accuracy"]),
    f"{row['ms_per_step']:.1f}",
  ]


def _draw(
  curves: dict[str, dict[str, np.ndarray]],
  codes: Mapping[Any, np.ndarray],
  splits: data.Splits,
  folder: pathlib.Path,
) -> None:
  split = "train" if splits.validation is None else "validation"
  plots.plot_curves(
    folder / "curves.png",
    {name: 100 * values[f"{split}_accuracy"] for name, values in curves.items()},
    xlabel="epoch",
    ylabel=f"{split} accuracy (%)",
    title="main task",
  )
  # The baseline has one task, whose cosine is with itself.
  cosines = {
    n: values["cosine"] for n, values in curves.items() if "cosine" in values and n != "baseline"
  }
  if cosines:
    plots.plot_curves(
      folder / "cosine.png",
      cosines,
      xlabel="epoch",
      ylabel="cosine of the two tasks' gradients",
      title="shared parameters",
      baseline=0.0,
    )
  names = splits.train.class_names or [str(c) for c in range(splits.train.num_classes)]
  shown = {"one-hot" if kind == "none" else kind: values[0] for kind, values in codes.items()}
  plots.plot_labels(folder / "labels.png", shown, list(names))


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.binary_labels", args)


if __name__ == "__main__":
  main()
