"""The benchmark grid of the FastCAR paper: architectures x methods x decoders.

Every model learns the class of an image and a property of it, from the same images.

  python -m experiments.grid                       # digits with a mass, embedded; minutes
  python -m experiments.grid --architectures hps ltb --methods EW IMTL dwa+pcgrad --decoders 1
  python -m experiments.grid --preset paper --data-dir ~/steel     # 6 x 17 x 2 models, 224 px
  python -m experiments.grid --preset slice --data-dir ~/steel     # 3 x 4 models, 48 px, for a CPU

The paper trains on hardness as it is; `--standardise` divides it by its deviation, which the paper
leaves out. Methods have the paper's names, or are weightings, aggregators, or weighting+aggregator
of jaxmtl. The last epoch is reported; validation loss sets the learning rate where `--schedule
plateau`, and chooses nothing else.

Writes under `--workdir`: config.json, results.json, results.md, accuracy_decoder1.png,
mse_decoder1.png (and 2; the paper's Figs. 2 to 5) and, for each model and seed, metrics.jsonl,
TensorBoard events, checkpoints and outcome.json. The same command goes on after a kill: models with
an outcome are not trained again, one that was under way goes on from its checkpoint. A model that
diverges is reported as such. Tables and figures are written anew after each architecture.

Reference: Kini et al., "FastCAR: Fast Classification And Regression Multi-Task Learning via Task
Consolidation for Modelling a Continuous Property Variable of Object Classes", 2024, sections 4.1 to
4.5.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal

import jax
import numpy as np

from experiments.common import command_line, write_config
from experiments.fastcar import COLUMNS, HEADER, baselines
from experiments.grid_figures import draw_heat_map
from experiments.grid_training import METHODS, Cell, CellTrainer, Outcome
from experiments.property_targets import CLASS, VALUE, Targets, pair_targets
from experiments.property_training import PropertyConfig
from jaxmtl import data
from jaxmtl.training import results

Cells = dict[Cell, list[Outcome]]
# Of steel's published split at 224 px: best accuracy and MSE, and minutes a model, by decoder.
PAPER = {
  1: ["paper: best by column, decoder 1", "99.85", "59600", "-", "53.70", "-", "40.39 ± 23.71"],
  2: ["paper: best by column, decoder 2", "99.69", "-", "-", "54.20", "-", "43.10 ± 23.92"],
}


@dataclasses.dataclass(frozen=True)
class Config(PropertyConfig):
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "slice", "paper"] = "quick"
  """quick: digits, minutes; slice: some of steel's models, for a small CPU; paper: all of them."""
  architectures: tuple[str, ...] = ("hps", "cross_stitch", "mmoe", "mtan", "cgc", "ltb")
  """Names of jaxmtl.models.multi_task."""
  methods: tuple[str, ...] = tuple(METHODS)
  """The paper's names, or weightings, aggregators, or weighting+aggregator."""
  decoders: tuple[int, ...] = (1, 2)
  """1: pool and two layers; 2: two convolutions and another layer beside them."""
  num_experts: int = 4
  """Of mmoe and dselect_k; cgc and ple have one that is shared and one a task."""
  standardise: bool = False
  """Whether the property is learned less its mean and over its deviation on the training set."""
  seeds: int = 1
  """Networks a model, trained one after the other."""
  workdir: str = "runs/grid"
  """Where results go; training that was stopped goes on from there."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    super().check()
    for name in ("architectures", "methods", "decoders"):
      values = getattr(self, name)
      if not values or len(set(values)) < len(values):
        raise ValueError(f"{name} must name at least one, and none twice, got {values}.")
    if unknown := sorted(set(self.decoders) - {1, 2}):
      raise ValueError(f"decoders must be 1 or 2, got {unknown}.")
    for cell in self.cells():  # these raise for unknown names and backbones without stages
      cell.build(self.build_backbone(), {CLASS: 2, VALUE: 1}, self.num_experts, 1)
      cell.combine().build(2, 1)

  def cells(self) -> list[Cell]:
    """All models, in the order in which they are trained."""
    return [Cell(a, m, d) for d in self.decoders for a in self.architectures for m in self.methods]

  def only(self, cell: Cell) -> Config:
    """The same options for one model, whatever others there are."""
    return dataclasses.replace(
      self, architectures=(cell.architecture,), methods=(cell.method,), decoders=(cell.decoder,)
    )


PRESETS = {
  "quick": Config(
    architectures=("hps", "cross_stitch", "mmoe"),
    methods=("EW", "CAGrad"),
    standardise=True,
    width=16,
    epochs=8,
    learning_rate=0.003,
    schedule="cosine",
    checkpoint_every=4,
  ),
  "slice": Config(
    preset="slice",
    dataset="steel",
    image_size=48,
    width=8,
    standardise=True,
    num_experts=2,
    architectures=("hps", "cross_stitch", "mmoe"),
    methods=("EW", "UW", "MGDA-l2", "PCGrad"),
    decoders=(1,),
    epochs=4,
    learning_rate=0.003,
    schedule="cosine",
    checkpoint_every=2,
    workdir="runs/grid_slice",
  ),
  "paper": Config(
    preset="paper",
    dataset="steel",
    backbone="resnet18",
    checkpoint_every=10,
    workdir="runs/grid_paper",
  ),
}


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all models, and writes tables, heat maps and results.

  Args:
    config: the options.
    workdir: instead of `config.workdir`.

  Returns:
    What `results.json` holds: for each model its errors on the test set by name and seed and the
    minutes that training took, or why it diverged; and the errors of both baselines.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
    FileNotFoundError: if the data are not there; the message says what is missing.
  """
  config.check()
  parts = config.load()
  folder = pathlib.Path(workdir or config.workdir)
  write_config(folder, config, replace=False)  # an earlier run's stays until this one got through
  values = parts.train.values.astype(float)
  scale = (values.mean(), values.std()) if config.standardise else ()
  targets = pair_targets(len(parts.class_names), *scale)

  cells, found, summary = config.cells(), Cells(), dict[str, Any]()
  for number, cell in enumerate(cells, 1):
    print(f"{number} of {len(cells)}: {cell.architecture}, {cell.method}, decoder {cell.decoder}")
    found[cell] = _train(config, parts, targets, cell, folder)
    if number % len(config.methods) == 0:  # an architecture is through
      summary = _report(config, parts, found, folder)
  write_config(folder, config, replace=True)
  print(f"Results and figures are in {folder}.")
  return summary


def _train(
  config: Config, parts: data.PropertySplits, targets: Targets, cell: Cell, folder: pathlib.Path
) -> list[Outcome]:
  trainer = CellTrainer(config.only(cell), parts, folder, cell, config.num_experts)
  outcomes = [trainer.outcome(targets, config.seed + i) for i in range(config.seeds)]
  # Hundreds of compiled networks would fill the memory.
  jax.clear_caches()
  return outcomes


def _report(
  config: Config, parts: data.PropertySplits, found: Cells, folder: pathlib.Path
) -> dict[str, Any]:
  trivial = baselines(parts)
  rows = [[_name(cell), *_texts(outcomes)] for cell, outcomes in found.items()]
  for name, errors in trivial.items():
    texts = _texts([Outcome(errors, 0.0)])
    rows.append([name, "given" if "class" in name else "-", *texts[1:]])
  families = [_family(found, decoder) for decoder in config.decoders]
  rows += [row for row in families if row]
  if config.dataset == "steel" and config.split == "published":
    rows += [PAPER[decoder] for decoder in config.decoders]
  size = parts.train.images.shape[1]
  title = (
    f"Grid: {parts.name}, {parts.property_name}{', standardised' if config.standardise else ''}, "
    f"{len(parts.train)} images of {size} px, {config.backbone}, {config.epochs} epochs, "
    f"{config.schedule} schedule, {config.seeds} seed(s): test set after the last epoch"
  )
  summary = {
    "config": dataclasses.asdict(config),
    "results": [
      {**cell._asdict(), "seeds": [outcome._asdict() for outcome in outcomes]}
      for cell, outcomes in found.items()
    ],
    "baselines": trivial,
  }
  results.write_results(folder, title, HEADER, rows, summary)
  _draw(config, parts, found, folder)
  return summary


def _name(cell: Cell) -> str:
  return f"{cell.architecture}, {cell.method}, decoder {cell.decoder}"


def _mean(outcomes: list[Outcome], column: str) -> float:
  """Over seeds; NaN where one diverged."""
  return float(np.mean([o.errors[column] if o.errors else np.nan for o in outcomes]))


def _texts(outcomes: list[Outcome]) -> list[str]:
  """A row of the table, without the name."""
  minutes = results.mean_spread([outcome.minutes for outcome in outcomes], 1)
  if any(outcome.failure for outcome in outcomes):
    return ["diverged", *["-"] * (len(COLUMNS) - 1), minutes]
  digits = {"accuracy": 2, "mse": 0 if _mean(outcomes, "mse") >= 100 else 2, "mape": 2}
  texts = [
    results.mean_spread([o.errors[column] for o in outcomes if o.errors], digits.get(column, 1))
    for column in COLUMNS
  ]
  return [*texts, minutes]


def _family(found: Cells, decoder: int) -> list[str]:
  """Best errors by column, each of another model, and minutes a model, as the paper's Table 1."""
  family = [outcomes for cell, outcomes in found.items() if cell.decoder == decoder]
  if not family:
    return []
  best = []
  for column in COLUMNS:
    means = [_mean(outcomes, column) for outcomes in family]
    if not np.isfinite(means).any():
      return []
    pick = np.nanmax if column in ("accuracy", "near") else np.nanmin
    best.append(float(pick(means)))
  minutes = [outcome.minutes for outcomes in family for outcome in outcomes]
  texts = _texts([Outcome(dict(zip(COLUMNS, best, strict=True)), 0.0)])[:-1]
  return [f"best by column, decoder {decoder}", *texts, results.mean_spread(minutes, 1)]


def _draw(config: Config, parts: data.PropertySplits, found: Cells, folder: pathlib.Path) -> None:
  """Heat maps; colours mean the same for both decoders."""
  for column, label in (("accuracy", "accuracy (%)"), ("mse", "MSE")):
    means = {cell: _mean(outcomes, column) for cell, outcomes in found.items()}
    finite = [value for value in means.values() if np.isfinite(value)]
    if not finite:
      continue
    # The paper gives squared errors in thousands.
    unit = 1000.0 if column == "mse" and max(finite) >= 10_000 else 1.0
    for decoder in config.decoders:
      values = np.array(
        [
          [means.get(Cell(a, m, decoder), np.nan) / unit for m in config.methods]
          for a in config.architectures
        ]
      )
      draw_heat_map(
        folder / f"{column}_decoder{decoder}.png",
        values,
        config.architectures,
        config.methods,
        title=f"{parts.name}: {label} on the test set, decoder {decoder}",
        label=f"{label} / 1000" if unit > 1 else label,
        limits=(min(finite) / unit, max(finite) / unit),
        higher_is_better=column == "accuracy",
        digits=1 if column == "accuracy" else _digits(max(finite) / unit),
      )


def _digits(largest: float) -> int:
  """After the decimal point, so that numbers have three digits or so."""
  return 0 if largest >= 1000 else 1 if largest >= 10 else 2


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.grid", args)


if __name__ == "__main__":
  main()
