"""Options of the Auto-lambda experiment."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from experiments.auto_lambda.compared import with_tasks
from experiments.auto_lambda.images import ATTRIBUTES, DOMAINS, NOISE, DataOptions
from experiments.auto_lambda.weights import WeightOptions
from experiments.problems.own_data import OwnDataOptions
from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  check_patience,
  override,
)
from experiments.runner.methods import Method
from jaxmtl import models
from jaxmtl.meta import METHODS as BILEVEL


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
  """The networks' optimiser, and how its learning rate falls."""

  optimizer: Literal["sgd", "adam"] = "sgd"
  """SGD with momentum, or Adam; either has the weight decay in its gradients (L2)."""
  momentum: float = 0.9
  """Of gradients, in SGD as in Adam."""
  weight_decay: float = 1e-4
  cosine: Literal["step", "epoch"] = "step"
  """Whether the rate falls to zero along a cosine with every step, or once an epoch, as in the
  paper's program."""
  decay: float | None = None
  """Factor of the rate after each epoch, instead of the cosine."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    if not 0 <= self.momentum < 1:
      raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")
    if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
      raise ValueError(f"weight_decay must be 0 or a positive number, got {self.weight_decay}.")
    if self.decay is not None and not 0 < self.decay <= 1:
      raise ValueError(f"decay must be in (0, 1], or None for a cosine, got {self.decay}.")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "glance", "full", "cifar100", "celeba"] = "quick"
  """quick: a small network, all settings, many minutes; glance: equal weights and Auto-lambda on
  all tasks, two minutes; full: wider, longer, more images; cifar100: the paper's domains and
  recipe; celeba: 40 attributes by the ten methods of the thesis's figure 3.10, with the strong
  regularisation of the paper that it follows."""
  tasks: tuple[str, ...] = ()
  """Which tasks the networks learn; all that the data have where none is named."""
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
  architecture: str = "hps"
  """Any name of jaxmtl.models.multi_task; single-task baselines have one backbone and one head."""
  patience: int | None = None
  """Epochs without a better validation score after which a training ends; the best epoch's weights
  are then tested. None: all epochs, and the last one's weights, as in the paper."""
  data: DataOptions = DataOptions()
  own_data: OwnDataOptions = OwnDataOptions()
  weights: WeightOptions = WeightOptions()
  network: NetworkOptions = NetworkOptions()
  training: TrainingOptions = TrainingOptions(learning_rate=0.05)
  step: OptimizerOptions = OptimizerOptions()
  run: RunOptions = RunOptions(workdir="runs/auto_lambda")

  def check(self) -> dict[str, Method]:
    """The methods; raises ValueError, naming the option, where one does not fit."""
    if self.data.dataset == DOMAINS and self.network.pretrained is not None:
      raise ValueError("pretrained is not for domains, which have normalizations of their own.")
    parts = (self.data, self.weights, self.network, self.training, self.step, self.run)
    for part in parts:
      part.check()
    self.own_data.check(self.data.dataset)
    check_patience(self.patience, self.run.evaluate_every)
    if self.data.dataset == DOMAINS and self.patience is not None:
      raise ValueError("patience is not for domains; leave it out.")
    if self.architecture not in models.ARCHITECTURES:
      known = ", ".join(models.ARCHITECTURES)
      raise ValueError(f"architecture {self.architecture!r} is not known; known: {known}.")
    if self.data.dataset == DOMAINS and self.architecture != "hps":
      raise ValueError(
        f"domains share one backbone (architecture='hps'), got architecture={self.architecture!r}."
      )
    if self.data.dataset == DOMAINS and self.own_data.feed != "device":
      raise ValueError(f"domains lie on the device (feed='device'), got {self.own_data.feed!r}.")
    return {name: Method.parse(name) for name in (*self.methods, *self.auxiliary_methods)}

  def with_tasks(self, known: tuple[str, ...]) -> Config:
    """With the tasks' names, those of the data where none was named.

    Raises:
      ValueError: if one is not among the data's, or, of domains, one is missing.
    """
    config = with_tasks(self, known)
    if self.data.dataset == DOMAINS and config.tasks != known:
      raise ValueError(
        f"networks learn all {len(known)} domains, got {config.tasks}; leave tasks out."
      )
    return config

  @property
  def judged(self) -> tuple[str, ...]:
    """The tasks of Delta_MTL in multi-task learning, all primary: all but the digits' noise."""
    return tuple(task for task in self.tasks if task != NOISE or self.data.own)

  @property
  def learns_weights(self) -> bool:
    """Whether a method is one whose weights are learned."""
    names = (*self.methods, *self.auxiliary_methods)
    return any(Method.parse(name).weighting in BILEVEL for name in names)

  def describe(self, measured: str) -> str:
    """For the title of a table of the test part's accuracy, or what else is `measured`."""
    architecture = "" if self.architecture == "hps" else f"{self.architecture} of "
    chosen = "the last epoch" if self.patience is None else "the epoch best on validation"
    network = (
      f"{architecture}{self.network.describe()}, {self.training.epochs} epochs, "
      f"{self.run.seeds} seed(s): test {measured} after {chosen}"
    )
    if self.data.dataset == DOMAINS:
      return f"CIFAR-100, 20 domains of five classes, {network}"
    if self.data.dataset == ATTRIBUTES:
      return f"CelebA, {len(self.tasks)} attribute(s), {network}"
    if self.data.own:
      return f"Images of {self.data.dataset}, {network}"
    return f"{self.data.digits.describe()}, {network}"


PRESETS = {
  "quick": Config(),
  "glance": override(
    Config(),
    preset="glance",
    methods=("equal", "auto_lambda"),
    auxiliary_methods=(),
    compare="none",
    seeds=2,
    checkpoint_every="6",
    evaluate_every="2",
    workdir="runs/glance",
  ),
  "full": override(
    Config(),
    preset="full",
    train_images=20000,
    width=64,
    epochs=40,
    batch_size=100,
    learning_rate=0.1,
    workdir="runs/auto_lambda_full",
  ),
  "cifar100": override(
    Config(),
    preset="cifar100",
    cosine="epoch",
    dataset=DOMAINS,
    methods=("equal", "uncertainty", "dwa", "auto_lambda"),
    compare="none",
    weight_learning_rate=3e-4,
    validation=0.0,
    backbone="vgg16",
    width=1,
    initializer="torch",
    epochs=200,
    batch_size=32,
    learning_rate=0.1,
    weight_decay=5e-4,
    seeds=2,
    checkpoint_every="10",
    workdir="runs/auto_lambda_cifar100",
  ),
  "celeba": override(
    Config(),
    preset="celeba",
    dataset=ATTRIBUTES,
    methods=(
      *("equal", "dwa", "rlw", "rlw:distribution=dirichlet", "imtl_l+imtl_g", "mgda"),
      *("graddrop", "pcgrad", "cagrad", "auto_lambda"),
    ),
    auxiliary_methods=(),
    compare="none",
    image_size=64,
    patience=50,
    backbone="resnet18_small",
    width=None,
    dropout=0.5,
    epochs=50,
    batch_size=128,
    learning_rate=0.001,
    optimizer="adam",
    weight_decay=1e-3,
    decay=0.95,
    seeds=3,
    workdir="runs/auto_lambda_celeba",
  ),
}
