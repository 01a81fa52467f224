"""The models of the grid: an architecture, a method, and a decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.runner.methods import Method
from jaxmtl import models
from jaxmtl.models.normalization import batch_norm

# The paper's names of its weighting schemes, in the convention of LibMTL, which it ran.
METHODS = {
  "EW": Method("equal"),
  "GradNorm": Method.parse("gradnorm:learning_rate=None,equal_steps=1 epoch"),
  "MGDA-loss": Method.parse("mgda:normalization=loss,combine=normalized"),
  "MGDA-loss+": Method.parse("mgda:normalization=loss+,combine=normalized"),
  "MGDA-l2": Method.parse("mgda:normalization=l2,combine=normalized"),
  "UW": Method.parse("uncertainty:init=-0.5"),
  "DWA": Method("dwa"),
  "GLS": Method("gls"),
  "GradDrop": Method(aggregator="graddrop"),
  "PCGrad": Method(aggregator="pcgrad"),
  "GradVac": Method.parse("gradvac:always_update=False"),
  "IMTL": Method("imtl_l", "imtl_g"),
  "CAGrad": Method(aggregator="cagrad"),
  "Nash-MTL": Method(aggregator="nash_mtl"),
  "RLW": Method.parse("rlw:total=1.0"),
  "MoCo": Method(aggregator="moco"),
  "Aligned-MTL": Method(aggregator="aligned_mtl"),
}
_WITH_EXPERTS = ("mmoe", "dselect_k")
# What LibMTL, with which the paper's models were trained, does otherwise than ours by default.
_LIBMTL: dict[str, dict[str, Any]] = {
  "cross_stitch": {"own_weight": 1.0, "other_weight": 1.0},
  **{name: {"gates_see_all": True} for name in ("mmoe", "cgc", "ple", "dselect_k")},
  "ltb": {"joins_stems": True, "draws_always": True},
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

  @property
  def title(self) -> str:
    """For a row of a table."""
    return f"{self.architecture}, {self.method}, decoder {self.decoder}"

  def combine(self) -> Method:
    """How its tasks are combined: by sums, where signs are dropped behind the backbone."""
    if self.drops_signs:
      return METHODS["EW"]
    return METHODS[self.method] if self.method in METHODS else Method.parse(self.method)

  def identity(self, num_experts: int) -> dict[str, Any]:
    """What its training depends on, of all that tells models apart."""
    given = {"architecture": self.architecture, "decoder": self.decoder}
    return {**given, **self.options(num_experts), **self.combine().identity}

  def options(self, num_experts: int) -> dict[str, Any]:
    """Of its architecture, but for what depends on how long it is trained."""
    experts = {"num_experts": num_experts} if self.architecture in _WITH_EXPERTS else {}
    graddrop = {"graddrop": True} if self.drops_signs else {}
    return {**experts, **graddrop, **_LIBMTL.get(self.architecture, {})}

  @property
  def drops_signs(self) -> bool:
    """Whether it is GradDrop on the representation, which hard parameter sharing has in common."""
    return (self.architecture, self.method) == ("hps", "GradDrop")

  @property
  def looks_at_the_end(self) -> bool:
    """Whether the network itself depends on how long it is trained: learning to branch does."""
    return self.architecture == "ltb"


def network(
  cell: Cell,
  backbone: nn.Module,
  sizes: Mapping[str, int],
  num_experts: int,
  epochs: int,
  steps_per_epoch: int,
  initializer: str | None = None,
) -> nn.Module:
  """A model's network, decoders of so many outputs by head, for so long a training."""
  heads: dict[str, nn.Module] = {
    head: Decoder(size, cell.decoder == 2, initializer=initializer) for head, size in sizes.items()
  }
  options = cell.options(num_experts)
  if cell.architecture == "ltb":
    options["temperature"] = lambda step: epochs / 20 / jnp.sqrt(step // steps_per_epoch + 1)
    options["warm_up_steps"] = math.ceil(epochs / 100) * steps_per_epoch
  return models.multi_task(cell.architecture, backbone, heads, on_maps=True, **options)


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
  initializer: str | None = None

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
          kernel_init=models.INITIALIZERS[self.initializer or "he_fan_out"],
          name=f"conv{i}",
        )(x)
        x = nn.relu(batch_norm(train, name=f"conv_norm{i}")(x))
    x = models.global_average(x)
    if self.reduces:
      x = nn.relu(models.dense(self.hidden, self.initializer, "reduced")(x))
    x = models.dense(self.hidden, self.initializer, "hidden")(x)
    x = nn.relu(batch_norm(train, name="norm")(x))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return models.dense(self.size, self.initializer, "output")(x)
