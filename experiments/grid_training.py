"""Training of one cell of the grid: an architecture, a method, and a decoder."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from experiments.methods import Method
from experiments.property_targets import Targets, measure
from experiments.property_training import PropertyConfig, Trainer, make_optimizer
from jaxmtl import data, models, training
from jaxmtl.models.normalization import batch_norm, kernel_init
from jaxmtl.training.metrics import read_rows

# The paper's names of its weighting schemes.
METHODS = {
  "EW": Method("equal"),
  "GradNorm": Method("gradnorm"),
  "MGDA-loss": Method(aggregator="mgda", options={"normalization": "loss"}),
  "MGDA-loss+": Method(aggregator="mgda", options={"normalization": "loss+"}),
  "MGDA-l2": Method(aggregator="mgda", options={"normalization": "l2"}),
  "UW": Method("uncertainty"),
  "DWA": Method("dwa"),
  "GLS": Method("gls"),
  "GradDrop": Method(aggregator="graddrop"),
  "PCGrad": Method(aggregator="pcgrad"),
  "GradVac": Method(aggregator="gradvac"),
  "IMTL": Method("imtl_l", "imtl_g"),
  "CAGrad": Method(aggregator="cagrad"),
  "Nash-MTL": Method(aggregator="nash_mtl"),
  "RLW": Method("rlw"),
  "MoCo": Method(aggregator="moco"),
  "Aligned-MTL": Method(aggregator="aligned_mtl"),
}


class Cell(NamedTuple):
  """One model of the grid.

  Attributes:
    architecture: name in `jaxmtl.models.multi_task`.
    method: name in `METHODS`, or what `Method.parse` reads.
    decoder: 1 or 2.
  """

  architecture: str
  method: str
  decoder: int

  def __str__(self) -> str:
    return f"decoder{self.decoder}_{self.architecture}_{self.method}"

  def combine(self) -> Method:
    """How its tasks are combined."""
    return METHODS[self.method] if self.method in METHODS else Method.parse(self.method)

  def build(
    self, backbone: nn.Module, sizes: Mapping[str, int], num_experts: int, steps: int
  ) -> nn.Module:
    """The network, with so many outputs by head, for so many training steps."""
    heads = {head: Decoder(size, reduces=self.decoder == 2) for head, size in sizes.items()}
    options: dict[str, Any] = {}
    if self.architecture in ("mmoe", "dselect_k"):
      options["num_experts"] = num_experts
    if self.architecture == "ltb":
      options["anneal_steps"] = steps
    return models.multi_task(self.architecture, backbone, heads, on_maps=True, **options)


class Decoder(nn.Module):
  """The paper's decoders of an encoder's last map.

  Decoder-1: global average, 512 units with batch normalization, ReLU and dropout, and the output.
  Decoder-2 puts two convolutions of stride 2 before, of twice and four times the channels, each
  with batch normalization and ReLU, and another layer of 512 units with a ReLU after the average.
  """

  size: int
  reduces: bool = False
  hidden: int = 512
  dropout: float = 0.5

  @nn.compact
  def __call__(self, maps: jax.Array, train: bool = False) -> jax.Array:
    """Map `[B, H, W, C]` to `[B, size]`."""
    x = maps
    if self.reduces:
      for i in range(2):
        x = models.Conv(
          2 * x.shape[-1],
          (3, 3),
          strides=2,
          padding=1,
          use_bias=False,
          kernel_init=kernel_init,
          name=f"conv{i}",
        )(x)
        x = nn.relu(batch_norm(train, name=f"conv_norm{i}")(x))
    x = models.global_average(x)
    if self.reduces:
      x = nn.relu(nn.Dense(self.hidden, name="reduced")(x))
    x = nn.Dense(self.hidden, name="hidden")(x)
    x = nn.relu(batch_norm(train, name="norm")(x))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(self.size, name="output")(x)


class Outcome(NamedTuple):
  """What one training gave.

  Attributes:
    errors: on the test set, as `measure`; None where training diverged.
    minutes: that training took, compilation included.
    failure: why training ended early, or None.
  """

  errors: dict[str, float] | None
  minutes: float
  failure: str | None = None


class CellTrainer(Trainer):
  """Trains one cell, of which nothing is compiled where its outcomes are on disk."""

  def __init__(
    self,
    config: PropertyConfig,
    parts: data.PropertySplits,
    folder: pathlib.Path,
    cell: Cell,
    num_experts: int,
  ):
    """As `Trainer`, for one cell; `config` must name this cell only, so that it identifies it."""
    super().__init__(config, parts, folder)
    self.cell, self._num_experts, self._home = cell, num_experts, folder

  def build_model(self, sizes: Mapping[str, int]) -> nn.Module:
    """The cell's architecture with its decoders."""
    config, steps = self.config, self.config.epochs * self.steps
    return self.cell.build(config.build_backbone(), sizes, self._num_experts, steps)

  def build_step(self, losses_fn: Callable[..., Any], num_tasks: int) -> training.TrainStep:
    """The cell's method on what the architecture shares."""
    weighting, aggregator = self.cell.combine().build(num_tasks, self.steps)
    return training.train_step(
      losses_fn,
      make_optimizer(self.config, self.steps),
      num_tasks,
      weighting=weighting,
      aggregator=aggregator,
      shared=models.shared_mask,
    )

  def outcome(self, targets: Targets, seed: int) -> Outcome:
    """Trains with one seed, or goes on, or reads what was found before.

    Where a loss or gradient stops being finite, the outcome says so: one cell that diverges must
    not stop the others.

    Raises:
      ValueError: if the folder holds a training of another configuration.
    """
    run = f"{self.cell}_seed{seed}"
    identity = json.loads(json.dumps(dataclasses.asdict(self.config) | {"run": run}))
    identity = {k: v for k, v in identity.items() if k not in ("workdir", "data_dir", "preset")}
    path = self._home / run / "outcome.json"
    if path.exists():
      found = json.loads(path.read_text())
      if found["identity"] == identity:
        return Outcome(**found["outcome"])
    outcome = self._train(run, targets, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"identity": identity, "outcome": outcome._asdict()}, indent=2))
    return outcome

  def _train(self, run: str, targets: Targets, seed: int) -> Outcome:
    try:
      state, history = self.train(run, targets, seed)
    except training.TrainingDiverged as error:
      print(f"{run} diverged: {error}")
      rows = read_rows(self._home / run / "metrics.jsonl")
      return Outcome(None, sum(row["seconds"] for row in rows) / 60, str(error))
    test = self.parts.test  # looked at here, once
    found = targets.decode(self.outputs(state, targets, test.images))
    return Outcome(measure(test, *found), sum(row["seconds"] for row in history) / 60)
