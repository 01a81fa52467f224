"""Options that experiments share, as dataclasses that a configuration is composed of."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn

from experiments.runner import store
from experiments.runner.job import WEIGHTS
from experiments.runner.mesh import Layout, is_main, say
from experiments.runner.run import Runner
from jaxmtl import models, training

# Beyond it numbers of weights are none that a compiler counts: XLA ends the process.
_WIDEST = 10_000
CONFIG, EXPERIMENT = "config.json", "experiment"
# Options that change no result.
FREE = (
  *("workdir", "data_dir", "preset", "checkpoint_every", "log_every", "evaluate_every"),
  *("restart_from",),
  *("mesh", "coordinator", "num_processes", "process"),
)


@dataclasses.dataclass(frozen=True)
class RunOptions:
  """Seeds, devices, and what is written when."""

  seeds: int = 3
  """Networks that are trained together."""
  seed: int = 0
  """First seed."""
  checkpoint_every: str = "4"
  """Epochs between checkpoints, or steps, as in "500 steps"."""
  log_every: str = "1"
  """Epochs or steps between rows of metrics.jsonl."""
  evaluate_every: str = "1"
  """Epochs or steps between evaluations of the validation part."""
  mesh: str | None = None
  """Devices along runs x data, as in 2x4: seeds are spread over the first, batches over the
  second."""
  coordinator: str | None = None
  """Of several processes, one command each: host:port of process 0, or auto for what the cluster's
  environment says."""
  num_processes: int | None = None
  """How many processes there are."""
  process: int | None = None
  """Which one this is, from 0."""
  workdir: str = "runs"
  """Where results go; training that was stopped goes on from there."""
  restart_from: str | None = None
  """Folder of a training, such as runs/benchmark/dwa, that diverged: it goes on from its last
  checkpoint with the options of now, a lower learning rate for example."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "seeds")
    if self.seed < 0:
      raise ValueError(f"seed must not be negative, got {self.seed}.")
    for name in ("checkpoint_every", "log_every", "evaluate_every"):
      try:
        training.in_steps(getattr(self, name), 1)
      except ValueError as error:
        raise ValueError(f"{name}: {error}") from None

  @property
  def all_seeds(self) -> list[int]:
    """The seed of every run."""
    return [self.seed + i for i in range(self.seeds)]

  def runner(self, folder: pathlib.Path) -> Runner:
    """What runs the experiment's jobs."""
    return Runner(
      folder,
      layout=Layout.parse(self.mesh),
      checkpoint_every=self.checkpoint_every,
      log_every=self.log_every,
      evaluate_every=self.evaluate_every,
      restart_from=self.restart_from,
    )


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
  """How long, in which batches, how fast."""

  epochs: int = 12
  """Passes over the training images."""
  batch_size: int = 25
  """Examples a step; all of them where there are not as many."""
  learning_rate: float = 0.01
  """The same for every method."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "epochs", "batch_size")
    if not 0 < self.learning_rate < math.inf:
      raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}.")


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
  """The network that tasks share."""

  backbone: str = "convnet4"
  """Any name of jaxmtl.models.create: convnet4, vgg16, vgg19, resnet32, resnet110, ..."""
  width: float | None = 16
  """Channels of convnet4; a factor for the others, see jaxmtl.models. None: as published."""
  pretrained: str | None = None
  """Weights that the backbone, or each of its copies, starts from: a .pth or .safetensors file of
  torchvision or timm, or the folder of a training of ours, whatever its tasks. Heads are new."""
  initializer: Literal["torch", "xavier"] | None = None
  """How first weights of convolutions and linear heads are drawn: torch, PyTorch's default; xavier,
  uniform. None: N(0, 2 / (k^2 c_out)) in convolutions, transformers' own, LeCun's in heads."""
  dropout: float = 0.0
  """Rate in training, in backbones that have dropout: resnet18, resnet18_small and transformers."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    if self.width is not None and not 0 < self.width <= _WIDEST:
      raise ValueError(f"width must be positive, at most {_WIDEST}, got {self.width}.")
    backbone = models.create(self.backbone)  # raises for an unknown name
    if self.backbone == "convnet4" and self.width is not None and self.width % 1:
      raise ValueError(
        f"width must be whole for convnet4, whose channels it counts, got {self.width}."
      )
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
    # Of residual networks those of bottlenecks have none.
    if self.dropout and getattr(backbone, "bottleneck", not hasattr(backbone, "dropout")):
      raise ValueError(
        f"dropout must be 0 for {self.backbone}, which has none, got {self.dropout}; "
        "resnet18_small has."
      )
    if self.initializer is not None:
      try:
        self.build()
      except ValueError:
        raise ValueError(
          f"initializer must be None for {self.backbone}, which draws its first weights in its own "
          f"way, got {self.initializer!r}."
        ) from None
    if self.pretrained is not None:
      _check_weights(pathlib.Path(self.pretrained))

  def build(self, **options: Any) -> nn.Module:
    """The backbone."""
    if self.width is not None:
      # Without decimals it is a number of channels.
      whole = self.width == int(self.width)
      options["width"] = int(self.width) if whole else self.width
    if self.dropout:
      options["dropout"] = self.dropout
    if self.initializer is not None:
      options["kernel_init"] = self.initializer
    return models.create(self.backbone, **options)

  def dense(self, features: int) -> nn.Module:
    """A linear layer of a head."""
    return models.dense(features, self.initializer)

  @property
  def identity(self) -> dict[str, Any]:
    """What a job with this network depends on."""
    found = {"backbone": self.backbone, "width": self.width}
    if self.pretrained is not None:
      found["pretrained"] = fingerprint_of_file(self.pretrained)
    if self.dropout:
      found["dropout"] = self.dropout
    if self.initializer is not None:
      found["initializer"] = self.initializer
    return found

  def describe(self) -> str:
    """For the title of a table."""
    width = "" if self.width is None else f" of width {self.width:g}"
    start = "" if self.pretrained is None else ", pre-trained"
    drawn = "" if self.initializer is None else f", initialised as by {self.initializer}"
    return f"{self.backbone}{width}{drawn}{start}"


def _check_weights(path: pathlib.Path) -> None:
  """Raises FileNotFoundError where there is no file, or a folder is none of a finished training."""
  if not path.exists():
    raise FileNotFoundError(f"pretrained: there is no {path}.")
  if path.is_dir() and not (path / WEIGHTS).exists():
    inside = sorted(found.parent.name for found in path.glob(f"*/{WEIGHTS}"))
    mend = ""
    if inside:
      mend = f"; name one of its trainings, {', '.join(inside)}, as in {path / inside[0]}"
    raise FileNotFoundError(
      f"pretrained: {path} is no finished training of ours, which has {WEIGHTS}{mend}."
    )


def check_patience(patience: int | None, evaluate_every: str) -> None:
  """Raises where a training that ends by its validation score would not look at each epoch."""
  if patience is None:
    return
  if patience < 1:
    raise ValueError(f"patience must be at least 1 epoch, got {patience}.")
  if evaluate_every != "1":
    raise ValueError(
      "evaluate_every must be 1 with a patience, which looks at each epoch, got "
      f"{evaluate_every!r}."
    )


def check_finite(options: Any) -> None:
  """Raises ValueError for numbers that are infinite or NaN, naming the option.

  NaN passes most comparisons, and infinite rates give networks that are no numbers.
  """
  for name, value in flat(options).items():
    for number in value if isinstance(value, (tuple, list)) else (value,):
      if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value}.")


def check_different(options: Any, *names: str) -> None:
  """Raises ValueError for lists that name something twice, naming the option."""
  for name in names:
    values = getattr(options, name)
    if len(set(values)) < len(values):
      raise ValueError(f"{name} must be different ones, got {', '.join(map(str, values))}.")


def check_positive(options: Any, *names: str) -> None:
  """Raises ValueError for a number below 1, naming the option."""
  for name in names:
    if getattr(options, name) < 1:
      raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}.")


def override(config: Any, **changes: Any) -> Any:
  """A configuration with other values of some options, whichever part they belong to.

  Example:
    >>> import dataclasses
    >>> from experiments.runner.config import RunOptions, override
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...   epochs: int = 3
    ...   run: RunOptions = RunOptions()
    >>> config = override(Config(), epochs=5, seeds=1)
    >>> config.epochs, config.run.seeds
    (5, 1)
  """
  values = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if field.name in changes:
      values[field.name] = changes.pop(field.name)
    elif dataclasses.is_dataclass(value):
      own = {name: changes.pop(name) for name in list(changes) if name in flat(value)}
      values[field.name] = override(value, **own)
  if changes:
    raise TypeError(f"no option {', '.join(map(repr, changes))} in {type(config).__name__}.")
  return dataclasses.replace(config, **values)


def flat(config: Any) -> dict[str, Any]:
  """All options by name, those of its parts too."""
  found: dict[str, Any] = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    found |= flat(value) if dataclasses.is_dataclass(value) else {field.name: value}
  return found


def identity_of(*options: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
  """What a job depends on of groups of options: all that is not free."""
  values: dict[str, Any] = {}
  for group in options:
    values |= flat(group)
  return {name: value for name, value in values.items() if name not in (*FREE, *without)}


def fingerprint_of_file(path: str) -> str:
  """What tells a file from another one of the same name."""
  file = pathlib.Path(path).expanduser()
  if file.is_dir():
    file = file / WEIGHTS
  with file.open("rb") as opened:
    digest = hashlib.file_digest(opened, "sha256").hexdigest()
  return f"{file.name} {digest[:16]}"


def report_folder(config: Any, root: pathlib.Path) -> pathlib.Path:
  """Where tables and figures go: the first configuration's in the root, others beside.

  Writes config.json there. Jobs of all configurations share the root, so that what several depend
  on is trained once. Where nothing can be written, but there is a run, such as on a disk of another
  machine, tables and figures go to a temporary folder.

  Raises:
    ValueError: naming both, if the root is another experiment's.
    OSError: naming the option, if nothing can be written there.
  """
  saved = store.read_json(root / CONFIG)
  name = type(config).__module__.removeprefix("experiments.").partition(".")[0]
  there = saved.pop(EXPERIMENT, name) if isinstance(saved, dict) else None
  if saved is not None and there != name:
    what = f"the experiment {there}" if there else "something else"
    raise ValueError(
      f"workdir: {root} is of {what}, not of {name}; name another folder with --workdir."
    )
  try:
    _check_writable(root)
  except PermissionError:
    if saved is None:
      raise
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}_"))
    say(f"Nothing can be written in {root}; tables and figures go to {folder}.")
    return folder
  values = store.plain({n: v for n, v in flat(config).items() if n not in FREE})
  folder = root
  if saved is not None and saved != values:
    folder = root / _changes(saved, values)
    say(f"This is another configuration than that of {root}; its tables go to {folder}.")
  if is_main():
    store.write_json(folder / CONFIG, {EXPERIMENT: name, **values})
  return folder


def _check_writable(root: pathlib.Path) -> None:
  """Raises an OSError, naming the option, where there is no folder and none can be made."""
  there = next(path for path in (root, *root.absolute().parents) if path.exists())
  if not there.is_dir():
    raise NotADirectoryError(f"workdir: {there} is a file; name a folder.")
  if not os.access(there, os.W_OK | os.X_OK):
    raise PermissionError(f"workdir: nothing can be written in {there}; name another folder.")


def _changes(saved: Mapping[str, Any], values: Mapping[str, Any]) -> str:
  """A folder's name of what is different."""
  names = [n for n in values if saved.get(n) != values[n]]
  parts = []
  for name in names:
    value = values[name]
    text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    parts.append(f"{name}={text}")
  readable = re.sub(r"[^\w.+=,-]+", "_", ",".join(parts))
  if parts and len(readable) <= 60:
    return readable
  return f"configuration-{hashlib.sha256(str(sorted(values.items())).encode()).hexdigest()[:8]}"
