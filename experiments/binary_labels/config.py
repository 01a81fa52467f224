"""Options of Binary Labels."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from experiments.problems.own_data import OwnDataOptions, is_own
from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_positive,
  identity_of,
  override,
)
from experiments.runner.methods import Method, options_of
from jaxmtl.aggregation import METHODS as AGGREGATORS
from jaxmtl.models.decoder import SIDES

LabelKind = Literal["none", "binary", "uniform"]
NAMES = {"none": "class alone", "binary": "binary code", "uniform": "uniform vector"}


class Variant(NamedTuple):
  """What is compared: an auxiliary label of the class, and the weights of the two losses.

  Attributes:
    kind: of the auxiliary label; none is the baseline.
    weights: of main and auxiliary task.
  """

  kind: LabelKind
  weights: tuple[float, float] = (1.0, 0.0)

  @property
  def name(self) -> str:
    """As tables and figures show it."""
    if self.kind == "none":
      return NAMES["none"]
    return f"class + {NAMES[self.kind]}, {self.weights[0]:g} : {self.weights[1]:g}"

  @property
  def job(self) -> str:
    """As its folder is called."""
    if self.kind == "none":
      return "baseline"
    return f"{self.kind}_{self.weights[0]:g}_{self.weights[1]:g}"


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """The images, and how many of them have labels."""

  dataset: str = "digits"
  """digits, a .npz file, or the name of a prepared TFDS set. Or images of one's own: a folder with
  a sub-folder a class, or a .csv or .parquet table with a column path and one of classes."""
  data_dir: str | None = None
  """Folder of the TFDS sets."""
  image_size: int | None = None
  """Side in pixels; needed where images differ in size."""
  label_key: str = "label"
  """Which label of a TFDS set, or which column of a table of one's own, is the main task; a table's
  only column whatever its name."""
  validation: float = 0.0
  """Share of the training set held out for the curves, where the set has no validation part."""
  fraction: float = 1.0
  """Share of the training set with labels; stratified, drawn anew for each seed."""
  fraction_of: int | None = None
  """Size of the whole training set, where the copy at hand is a reduced one."""

  @property
  def own(self) -> bool:
    """Whether the images are a folder or a table of one's own."""
    return is_own(self.dataset)

  @property
  def identity(self) -> dict[str, Any]:
    """What a job with these options depends on, beside the images' own identity."""
    if self.own:
      return {"fraction": self.fraction, "fraction_of": self.fraction_of}
    return identity_of(self)


@dataclasses.dataclass(frozen=True)
class LabelOptions:
  """The auxiliary task: labels, head, and how its gradient is combined with the main task's."""

  label_kinds: tuple[LabelKind, ...] = ("none", "binary", "uniform")
  """Auxiliary labels to compare; none is the baseline."""
  task_weights: tuple[Annotated[str, tyro.conf.arg(metavar="MAIN,AUX")], ...] = ("0.5,0.5",)
  """Loss weights of main and auxiliary task; every pair is a variant."""
  dim: int = 511
  """Length of the auxiliary labels; 10 classes have 511 distinct divisions."""
  decoder_side: int = 64
  """Side of the auxiliary head's last map: 4, 8, 16, 32, or 64 as in the paper; the last layer has
  side^2 dim weights."""
  decoder_width: int = 64
  """Channels of the auxiliary head's first maps, 64 in the paper."""
  aggregator: str = "metabalance"
  """How task gradients are combined: none (weighted sum) or any aggregator, with options as in
  metabalance:strategy=A."""

  def check(self) -> list[Variant]:
    """The variants; raises ValueError, naming the option, where one does not fit."""
    if options_of(self.aggregator)[0] not in ("none", *AGGREGATORS):
      known = ", ".join(("none", *sorted(AGGREGATORS)))
      raise ValueError(f"aggregator {self.aggregator!r} is not known; known ones: {known}.")
    if self.aggregator != "none":
      Method.parse(self.aggregator).build(2, 1)  # raises where options do not fit
    check_positive(self, "dim", "decoder_width")
    if self.decoder_side not in SIDES:
      raise ValueError(f"decoder_side must be one of {SIDES}, got {self.decoder_side}.")
    if not self.label_kinds:
      raise ValueError("label_kinds must name at least one of none, binary, uniform; got none.")
    pairs = [_parse_weights(text) for text in self.task_weights]
    kinds = [kind for kind in self.label_kinds if kind != "none"]
    baseline = [Variant("none")] if "none" in self.label_kinds else []
    return baseline + [Variant(kind, pair) for kind in kinds for pair in pairs]


@dataclasses.dataclass(frozen=True)
class ScheduleOptions:
  """SGD with momentum, a rate that falls in steps, and what images go through."""

  momentum: float = 0.9
  weight_decay: float = 1e-4
  milestones: tuple[float, ...] = (0.5, 0.75)
  """Shares of training after which the learning rate falls to a tenth; without any, a finished run
  can be trained on with more --epochs."""
  equal_batches: bool = False
  """Make batches smaller, so that they are equal and an epoch sees (nearly) all images; otherwise
  the incomplete last batch is left out, other images in each epoch."""
  crop_padding: int = 1
  """Random crops from images padded by so many pixels; 0 for none."""
  flip: bool = False
  """Random horizontal flips."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    if not all(0 < share < 1 for share in self.milestones):
      raise ValueError(f"milestones must be shares between 0 and 1, got {self.milestones}.")
    if self.crop_padding < 0:
      raise ValueError(f"crop_padding must not be negative, got {self.crop_padding}.")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "paper", "few", "scratch", "transfer"] = "quick"
  """quick: digits, a minute; paper: CIFAR-100 (Table 1); few: a fraction of it (Table 4); scratch:
  larger images (Table 2); transfer: a pre-trained network (Table 3)."""
  images: DataOptions = DataOptions()
  own_data: OwnDataOptions = OwnDataOptions()
  labels: LabelOptions = LabelOptions()
  network: NetworkOptions = NetworkOptions(width=None)
  training: TrainingOptions = TrainingOptions(epochs=40, batch_size=64, learning_rate=0.05)
  schedule: ScheduleOptions = ScheduleOptions()
  run: RunOptions = RunOptions(checkpoint_every="10", workdir="runs/binary_labels")

  def check(self) -> list[Variant]:
    """The variants; raises ValueError, naming the option, where one does not fit."""
    for part in (self.network, self.training, self.schedule, self.run):
      part.check()
    self.own_data.check(self.images.dataset)
    if self.own_data.feed == "host" and self.images.fraction < 1:
      raise ValueError(
        "feed must be device where each seed has labelled images of its own, got feed='host' and "
        f"fraction={self.images.fraction}; give --fraction 1, or leave --feed out."
      )
    return self.labels.check()


_PAPER = override(
  Config(),
  preset="paper",
  dataset="cifar100",
  backbone="resnet32",
  dim=4096,
  task_weights=("0.5,0.5", "0.9,0.1"),
  epochs=600,
  batch_size=128,
  learning_rate=0.1,
  crop_padding=4,
  flip=True,
  workdir="runs/binary_labels_paper",
)
# Images of which crops are as large a part as the ones of CIFAR-100.
_LARGE = {"dataset": "caltech101", "image_size": 224, "backbone": "resnet50", "crop_padding": 28}

PRESETS = {
  "quick": override(
    Config(),
    fraction=0.05,
    width=16,
    dim=64,
    decoder_side=8,
    decoder_width=16,
    aggregator="none",
    epochs=200,
    batch_size=54,
    learning_rate=0.1,
    evaluate_every="5",
    log_every="5",
    checkpoint_every="50",
  ),
  "paper": _PAPER,
  "few": override(
    _PAPER,
    preset="few",
    backbone="vgg19",
    fraction=0.01,
    task_weights=("0.1,0.9",),
    workdir="runs/binary_labels_few",
  ),
  "scratch": override(
    _PAPER,
    preset="scratch",
    label_kinds=("none", "binary"),
    epochs=90,
    milestones=(1 / 3, 2 / 3),
    workdir="runs/binary_labels_scratch",
    **_LARGE,
  ),
  "transfer": override(
    _PAPER,
    preset="transfer",
    label_kinds=("none", "binary"),
    epochs=60,
    learning_rate=0.01,
    workdir="runs/binary_labels_transfer",
    **_LARGE,
  ),
}


def _parse_weights(text: str) -> tuple[float, float]:
  try:
    main, auxiliary = (float(part) for part in text.split(","))
  except ValueError:
    raise ValueError(f"task_weights takes pairs like 0.5,0.5, got {text!r}.") from None
  if not (main > 0 and auxiliary > 0) or abs(main + auxiliary - 1) > 1e-6:
    raise ValueError(f"task_weights must be positive and sum to 1, got {text!r}.")
  return main, auxiliary
