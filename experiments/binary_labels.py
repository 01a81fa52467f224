"""Binary Labels: a random binary code of the class as an auxiliary task.

A network learns its main task, one-hot labels, with and without an auxiliary head that predicts a
long binary label (or a dense uniform one, the comparator) of the same class. The head is thrown
away after training.

  python -m experiments.binary_labels                     # digits, embedded; about a minute
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
import json
import pathlib
import time
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxmtl
from jaxmtl import data, labels, losses, models, training
from jaxmtl.aggregation import METHODS
from jaxmtl.training import plots, results

LabelKind = Literal["none", "binary", "uniform"]
MAIN, AUX = "main", "auxiliary"

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


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "paper"] = "quick"
  """quick: digits, a minute; paper: CIFAR-100 with the paper's recipe."""
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
  """convnet4, vgg16, vgg19, resnet32 or resnet110."""
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


@dataclasses.dataclass(frozen=True)
class Variant:
  """One row of the table: the auxiliary label and the two loss weights."""

  kind: LabelKind
  weights: tuple[float, float] = (1.0, 0.0)

  @property
  def name(self) -> str:
    """As the table and the folders show it."""
    if self.kind == "none":
      return "baseline"
    return f"{self.kind} ({self.weights[0]:g}, {self.weights[1]:g})"

  @property
  def num_tasks(self) -> int:
    """One task for the baseline, else two."""
    return 1 if self.kind == "none" else 2


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
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")

  rows, histories = [], {}
  for variant in variants:
    row, histories[variant.name] = _train(config, variant, splits, subsets, codes, folder)
    rows.append(row)
  curve_split = "validation" if splits.validation is not None else "training"
  _report(config, rows, histories, codes, splits, subsets.shape[1], curve_split, folder)
  return {"config": dataclasses.asdict(config), "results": rows}


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


def _model(config: Config, num_classes: int, auxiliary: bool) -> models.MultiHead:
  heads: dict[str, nn.Module] = {MAIN: nn.Dense(num_classes)}
  if auxiliary:
    heads[AUX] = models.DenseLabelDecoder(config.dim)
  return models.MultiHead(models.create(config.backbone), heads)


def _train(
  config: Config,
  variant: Variant,
  splits: data.Splits,
  subsets: np.ndarray,
  codes: dict[str, np.ndarray],
  folder: pathlib.Path,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Trains one variant, all seeds together; returns its row and its curves `[seeds, epochs]`."""
  auxiliary = variant.kind != "none"
  model = _model(config, splits.train.num_classes, auxiliary)
  statistics = data.channel_statistics(splits.train.images)
  num_images = subsets.shape[1]
  steps = -(-num_images // config.batch_size)
  batch_size = num_images // steps

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    del key
    outputs, updated = model.apply(
      {"params": params, "batch_stats": model_state["batch_stats"]},
      batch["image"],
      train=True,
      mutable=["batch_stats"],
    )
    logits, target = outputs[MAIN], batch["label"]
    task_losses = [losses.cross_entropy(logits, target)]
    if variant.kind == "binary":
      task_losses.append(losses.binary_cross_entropy(outputs[AUX], model_state["codes"][target]))
    elif variant.kind == "uniform":
      task_losses.append(losses.smooth_l1(outputs[AUX], model_state["codes"][target]))
    accuracy = jnp.mean(logits.argmax(-1) == target)
    return jnp.stack(task_losses), training.Aux(
      model_state={**model_state, **updated}, metrics={"train_accuracy": accuracy}
    )

  def prepare(key: jax.Array, batch: Any) -> Any:
    crop_key, flip_key = jax.random.split(key)
    images = batch["image"]
    if config.crop_padding:
      images = data.random_crop(crop_key, images, config.crop_padding)
    if config.flip:
      images = data.random_flip(flip_key, images)
    return {"image": data.normalize(images, *statistics), "label": batch["label"]}

  boundaries = {round(m * config.epochs) * steps: 0.1 for m in config.milestones}
  optimizer = optax.chain(
    optax.add_decayed_weights(config.weight_decay),
    optax.sgd(optax.piecewise_constant_schedule(config.learning_rate, boundaries), config.momentum),
  )

  def build(aggregator: str) -> training.TrainStep:
    return training.train_step(
      losses_fn,
      optimizer,
      variant.num_tasks,
      weighting=jaxmtl.constant(2, variant.weights) if auxiliary else None,
      aggregator=METHODS[aggregator](2) if auxiliary and aggregator != "none" else None,
      shared=models.shared_mask,
    )

  step = build(config.aggregator)
  images = jnp.asarray(splits.train.images)
  train_data = {"image": images, "label": jnp.asarray(splits.train.labels)}

  def init(key: jax.Array, codes: jax.Array) -> training.TrainState:
    variables = model.init(key, data.normalize(images[:2], *statistics), train=False)
    state = {"batch_stats": variables.get("batch_stats", {}), "codes": codes}
    return step.init(variables["params"], key, state)

  keys = jax.vmap(jax.random.key)(jnp.arange(config.seeds) + config.seed)
  state = jax.jit(jax.vmap(init))(keys, jnp.asarray(codes[variant.kind]))

  epoch = jax.jit(
    jax.vmap(training.scan_epoch(step.update, batch_size, prepare), in_axes=(0, None, 0)),
    donate_argnums=0,
  )
  device_subsets = jnp.asarray(subsets)
  evaluators = {
    name: _evaluator(model, split, statistics)
    for name, split in (("validation", splits.validation), ("test", splits.test))
    if split is not None
  }
  probe = build("sum_tasks").update if auxiliary else None

  def cosine(state: training.TrainState, subset: jax.Array) -> jax.Array:
    rows = subset[:batch_size]
    batch = prepare(state.key, {name: value[rows] for name, value in train_data.items()})
    return probe(state.replace(aggregator=optax.EmptyState()), batch)[1]["cosine"][0, 1]

  cosines = jax.jit(jax.vmap(cosine))

  def evaluate(state: training.TrainState) -> dict[str, Any]:
    values = {}
    if "validation" in evaluators:
      values["validation_accuracy"] = evaluators["validation"](state.params, state.model_state)
    if auxiliary:
      values["task_cosine"] = cosines(state, device_subsets)
    return values

  identity = dataclasses.asdict(config) | {"variant": variant.name}
  for name in ("workdir", "data_dir", "checkpoint_every", "label_kinds", "task_weights", "preset"):
    identity.pop(name)
  home = folder / variant.name.replace(" ", "_").strip("()").replace("(", "").replace(",", "")
  # JSON turns tuples into lists; so must the configuration that a checkpoint's is compared with.
  identity = json.loads(json.dumps(identity))
  with training.Checkpointer(home / "checkpoints", identity) as checkpointer:
    restored = checkpointer.restore(state)
    first, state = restored if restored else (0, state)
    if first:
      print(f"{variant.name}: goes on after epoch {first} of {config.epochs} ({home})")
    with training.MetricsWriter(home, resume_from=first) as writer:
      state = training.fit(
        state,
        lambda s: epoch(s, train_data, device_subsets),
        config.epochs,
        first_epoch=first,
        evaluate=evaluate,
        writer=writer,
        checkpointer=checkpointer,
        checkpoint_every=config.checkpoint_every,
        task_names=[MAIN, AUX][: variant.num_tasks],
        description=variant.name,
      )
      history = writer.rows

  # The auxiliary head goes; the test set is looked at here, once.
  plain = _model(config, splits.train.num_classes, auxiliary=False)
  params = state.params
  if auxiliary:
    params = models.drop_heads({"params": params}, AUX)["params"]
  test = _evaluator(plain, splits.test, statistics)(params, state.model_state)
  accuracies = [round(100 * float(a), 3) for a in test]
  paper = PAPER.get((config.dataset, config.backbone, config.fraction), {}).get(variant.kind)
  # The first epoch of a process compiles.
  seconds = [row["seconds"] for row in history[1:]] or [history[-1]["seconds"]]
  row = {
    "variant": variant.name,
    "test_accuracy": accuracies,
    "mean": float(np.mean(accuracies)),
    "std": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
    "paper": paper,
    "train_accuracy": [round(100 * a, 3) for a in np.ravel(history[-1]["train_accuracy"])],
    "ms_per_step": 1000 * float(np.median(seconds)) / steps,
  }
  curves = {
    name: np.asarray([r[name] for r in history]).T
    for name in ("train_accuracy", "validation_accuracy", "task_cosine")
    if name in history[-1]
  }
  return row, curves


def _evaluator(model: models.MultiHead, split: data.ImageDataset, statistics: Any) -> Any:
  """`(params, model_state) -> accuracy [seeds]` of the main head on a whole split."""
  batches = data.eval_batches(split.images, split.labels, min(250, len(split)))

  def accuracy(params: Any, model_state: Any) -> jax.Array:
    variables = {"params": params, "batch_stats": model_state["batch_stats"]}

    def right(batch: Any) -> jax.Array:
      images, target, valid = batch
      outputs = model.apply(variables, data.normalize(images, *statistics), train=False)
      return jnp.sum((outputs[MAIN].argmax(-1) == target) & valid)

    return jax.lax.map(right, jax.tree.map(jnp.asarray, tuple(batches))).sum() / len(split)

  return jax.jit(jax.vmap(accuracy))


def _report(
  config: Config,
  rows: list[dict[str, Any]],
  histories: dict[str, dict[str, np.ndarray]],
  codes: dict[str, np.ndarray],
  splits: data.Splits,
  num_images: int,
  curve_split: str,
  folder: pathlib.Path,
) -> None:
  title = (
    f"Binary Labels: {config.dataset}, {num_images} labelled images, {config.backbone}, "
    f"{config.epochs} epochs, {config.aggregator}, {config.seeds} seed(s)"
  )
  header = ["labels", "test accuracy (%)", "paper (%)", "train accuracy (%)", "ms a step"]
  table = [
    [
      row["variant"],
      results.mean_spread(row["test_accuracy"]),
      "-" if row["paper"] is None else f"{row['paper']:.2f}",
      results.mean_spread(row["train_accuracy"]),
      f"{row['ms_per_step']:.1f}",
    ]
    for row in rows
  ]
  plots.plot_curves(
    folder / "curves.png",
    {
      name: 100
      * curves[f"{curve_split[:5] if curve_split == 'training' else curve_split}_accuracy"]
      for name, curves in histories.items()
    },
    xlabel="epoch",
    ylabel=f"{curve_split} accuracy (%)",
    title="main task",
  )
  cosines = {n: c["task_cosine"] for n, c in histories.items() if "task_cosine" in c}
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
  results.write_results(
    folder, title, header, table, {"config": dataclasses.asdict(config), "results": rows}
  )
  print(f"Results, curves and figures are in {folder}.")


@dataclasses.dataclass(frozen=True)
class _Preset:
  preset: Literal["quick", "paper"] = "quick"


def main(args: list[str] | None = None) -> None:
  """The command line."""
  chosen, _ = tyro.cli(_Preset, args=args, return_unknown_args=True, add_help=False)
  config = tyro.cli(
    Config, default=PRESETS[chosen.preset], args=args, prog="python -m experiments.binary_labels"
  )
  started = time.perf_counter()
  try:
    run(config)
  except (ValueError, FileNotFoundError, training.TrainingDiverged) as error:
    raise SystemExit(f"error: {error}") from error
  print(f"{time.perf_counter() - started:.0f} s in all.")


if __name__ == "__main__":
  main()
