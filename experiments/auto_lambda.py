"""Auto-lambda: task weights learned from what a look-ahead step does to the primary tasks.

Multi-task learning, where all tasks but noise are primary, and auxiliary learning, where one is and
the others are to help it, on three kinds of data:

- multi-digits, two overlaid digits with the tasks left, right, sum, parity and noise (the default);
- CIFAR-100 as 20 domains of five classes, a batch of its own each (`experiments.domains`);
- CelebA's 40 binary attributes.

Auto-lambda is compared with single-task training, with weightings that know no primary task, and in
auxiliary learning with gradient cosine similarity (GCS).

  python -m experiments.auto_lambda                  # embedded; minutes on a CPU
  python -m experiments.auto_lambda --methods equal auto_lambda auto_lambda+pcgrad --primaries sum
  python -m experiments.auto_lambda --dataset mnist --data-dir ~/tfds --width 32
  python -m experiments.auto_lambda --preset cifar100 --data-dir ~/tfds
  python -m experiments.auto_lambda --preset celeba --data-dir ~/tfds

Writes under `--workdir`: config.json, results.json, results.md (the tables), weights.png (through
training, for each choice of primary tasks), relations.png (last weights: which task helps which),
exact.png (weights of exact against approximate gradients) and, for each run, metrics.jsonl,
TensorBoard events and checkpoints, from which the same command goes on. The last epoch is reported;
nothing is chosen.

Reference: Liu, James, Davison and Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships",
2022; Liu, "Robust, Efficient and Generalisable Visual Representations" (thesis), chapter 3.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import optax

from experiments import auto_lambda_figures, auto_lambda_tables
from experiments.auto_lambda_tables import MULTI_TASK, NOISE
from experiments.benchmark_training import Trainer
from experiments.common import command_line, write_config
from experiments.domains import DomainTrainer, load_domains
from experiments.methods import Method
from experiments.multi_digits import TrainingConfig, load_parts
from jaxmtl import data
from jaxmtl.meta import METHODS as BILEVEL
from jaxmtl.training import results

DOMAINS, ATTRIBUTES = "cifar100", "celeb_a"
# As far as one of the paper's weights can go: 1e-4 a step, NYUv2's 199 steps an epoch, 200 epochs.
# In very few steps that is more than a weight of .1 should move at once: with .02, the weight of a
# domain fell below zero in 200 steps, and its training loss rose.
_LONGEST_WAY, _LARGEST_RATE = 4.0, 0.01


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "full", "cifar100", "celeba"] = "quick"
  """quick: a small network, minutes; full: wider, longer, more images; cifar100: the paper's
  domains and recipe; celeba: its 40 attributes, with a recipe of our own."""
  tasks: tuple[str, ...] = ()
  """Which tasks the networks learn; all that the data have where none is named."""
  dataset: str = "digits"
  """cifar100 (its domains), celeb_a (its attributes), or what multi-digits overlays: digits, a .npz
  file, or the name of a prepared TFDS set, such as mnist."""
  methods: tuple[str, ...] = ("equal", "dwa", "uncertainty", "gcs", "auto_lambda")
  """Weightings, aggregators, or weighting+aggregator, for multi-task learning."""
  auxiliary_methods: tuple[str, ...] = ("gcs", "auto_lambda")
  """Methods that know the primary task, for auxiliary learning."""
  primaries: tuple[str, ...] = ()
  """Primary tasks, each in a run of its own; all but noise where none is named."""
  compare: Literal["finite_difference", "first_order", "none"] = "finite_difference"
  """What the exact gradient of the weights is compared with, in multi-task learning."""
  ablations: tuple[Literal["init", "learning_rate", "no_swapping"], ...] = ()
  """Auto-lambda in multi-task learning with other values, as in table 3.4."""
  weight_learning_rate: float | None = None
  """Adam's, of the weights; None: 4 over the number of steps, as on the paper's NYUv2, or .01."""
  weight_init: float = 0.1
  """Of the weights."""
  num_sampled: int | None = None
  """Tasks that take part in a look-ahead step, drawn anew each time; None: all."""
  validation: float = 0.1
  """Share of CIFAR-100's training images that is held out for the curves."""
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
  "cifar100": Config(
    preset="cifar100",
    dataset=DOMAINS,
    methods=("equal", "uncertainty", "dwa", "auto_lambda"),
    compare="none",
    weight_learning_rate=3e-4,
    num_sampled=4,
    validation=0.0,
    backbone="vgg16",
    width=1,
    epochs=200,
    batch_size=32,
    learning_rate=0.1,
    weight_decay=5e-4,
    seeds=2,
    checkpoint_every=10,
    workdir="runs/auto_lambda_cifar100",
  ),
  "celeba": Config(
    preset="celeba",
    dataset=ATTRIBUTES,
    methods=("equal", "uncertainty", "dwa", "auto_lambda"),
    compare="none",
    image_size=64,
    backbone="resnet18",
    width=1,
    epochs=50,
    batch_size=256,
    learning_rate=0.1,
    workdir="runs/auto_lambda_celeba",
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
    FileNotFoundError: if the data are not there.
  """
  config.check()
  names = (*config.methods, *config.auxiliary_methods)
  methods = {name: Method.parse(name) for name in names}
  folder = pathlib.Path(workdir or config.workdir)
  trainer = _trainer(config, folder)
  known = tuple(trainer.parts.num_classes)
  config = dataclasses.replace(config, tasks=config.tasks or known)
  if unknown := [task for task in config.tasks if task not in known]:
    raise ValueError(f"tasks {unknown} are not among the data's: {', '.join(known)}.")
  plan = _plan(config, methods, config.epochs * trainer.steps)
  write_config(folder, config, replace=False)  # an earlier run's stays until this one got through

  single = trainer.train_singles(config.tasks)
  outcomes = {
    key: trainer.train("_".join(key).replace(" ", "_"), method, config.tasks)
    for key, method in plan.items()
  }
  rows = auto_lambda_tables.rows(config.tasks, outcomes, single)
  approximate = f"auto_lambda, {config.compare.replace('_', ' ')}"
  summary = {
    "config": dataclasses.asdict(config),
    "results": rows,
    "exact_against_approximate": auto_lambda_tables.differences(outcomes, approximate),
  }
  tables = auto_lambda_tables.tables(_describe(config), config.tasks, rows, config.dataset)
  results.write_tables(folder, tables, summary)
  auto_lambda_figures.draw(folder, config.tasks, outcomes, approximate)
  write_config(folder, config, replace=True)
  print(f"Results and figures are in {folder}.")
  return summary


def _trainer(config: Config, folder: pathlib.Path) -> Trainer:
  """The data's trainer; other kinds of data (dense prediction, robot tasks) come in here."""

  def optimizer(schedule: optax.Schedule) -> optax.GradientTransformation:
    decay = optax.add_decayed_weights(config.weight_decay)
    return optax.chain(decay, optax.sgd(schedule, config.momentum))

  if config.dataset == DOMAINS:
    return DomainTrainer(config, load_domains(config, config.validation), folder, optimizer)
  if config.dataset == ATTRIBUTES:
    parts = data.load_tasks(
      ATTRIBUTES, ("attributes",), data_dir=config.data_dir, image_size=config.image_size
    )
  else:
    parts = load_parts(config)
  return Trainer(config, parts, folder, optimizer)


def _plan(config: Config, methods: dict[str, Method], steps: int) -> dict[tuple[str, str], Method]:
  """The runs by setting and method."""
  tasks = config.tasks
  judged = [i for i, task in enumerate(tasks) if task != NOISE]
  if not judged:
    raise ValueError(f"multi-task learning needs a task that is not noise, got {tasks}.")
  primaries = config.primaries or tuple(tasks[i] for i in judged)
  if unknown := [task for task in primaries if task not in tasks]:
    raise ValueError(f"primaries {unknown} are not among the tasks {list(tasks)}.")
  rate = config.weight_learning_rate or min(_LONGEST_WAY / steps, _LARGEST_RATE)
  auto = {
    "learning_rate": rate,
    "init": config.weight_init,
    "num_sampled": config.num_sampled,
  }

  def method(name: str, primary: Sequence[int], **others: Any) -> Method:
    parsed = methods[name]
    options: dict[str, Any] = {}
    if parsed.weighting == "auto_lambda":
      options = {"primary": list(primary), **auto, **others}
    elif parsed.weighting in BILEVEL:
      options = {"primary": list(primary), "learning_rate": rate}
    elif parsed.weighting is None and parsed.aggregator == "gcs":
      options = {"primary": tuple(primary)}
    return dataclasses.replace(parsed, options=options)

  plan = {(MULTI_TASK, name): method(name, judged) for name in config.methods}
  if "auto_lambda" in config.methods:
    if config.compare != "none":
      name = f"auto_lambda, {config.compare.replace('_', ' ')}"
      plan[MULTI_TASK, name] = method("auto_lambda", judged, estimator=config.compare)
    for label, options in _ablations(config, rate).items():
      swap = "swapping" not in label
      ablated = dataclasses.replace(method("auto_lambda", judged, **options), swap=swap)
      plan[MULTI_TASK, f"auto_lambda, {label}"] = ablated
  for task in primaries:
    index = [tasks.index(task)]
    plan |= {(task, name): method(name, index) for name in config.auxiliary_methods}
  for found in plan.values():
    found.build(len(tasks), 1)  # raises where options do not fit
  return plan


def _ablations(config: Config, rate: float) -> dict[str, dict[str, Any]]:
  """Options of Auto-lambda by what a table calls them; ratios are those of the paper's table."""
  found: dict[str, dict[str, Any]] = {}
  if "init" in config.ablations:
    found |= {f"init {value:g}": {"init": value} for value in (0.01, 1.0)}
  if "learning_rate" in config.ablations:
    rates = [factor * rate for factor in (0.3, 3, 10)]
    found |= {f"learning rate {value:.2g}": {"learning_rate": value} for value in rates}
  if "no_swapping" in config.ablations:
    found["no swapping"] = {}
  return found


def _describe(config: Config) -> str:
  network = (
    f"{config.backbone} of width {config.width:g}, {config.epochs} epochs, {config.seeds} seed(s): "
    "test accuracy (%) after the last epoch"
  )
  if config.dataset == DOMAINS:
    return f"CIFAR-100, 20 domains of five classes, {network}"
  if config.dataset == ATTRIBUTES:
    return f"CelebA, {len(config.tasks)} attribute(s), {network}"
  return f"Multi-digits of {config.dataset}, {config.train_images} images, {network}"


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.auto_lambda", args)


if __name__ == "__main__":
  main()
