"""Multi-task architectures, and `multi_task`, which builds them by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jaxmtl.models.architecture import Architecture
from jaxmtl.models.architectures.cgc import CGC
from jaxmtl.models.architectures.cross_stitch import CrossStitch
from jaxmtl.models.architectures.dselect_k import DSelectK
from jaxmtl.models.architectures.ltb import LTB
from jaxmtl.models.architectures.mmoe import MMoE
from jaxmtl.models.architectures.mtan import MTAN
from jaxmtl.models.architectures.ple import PLE
from jaxmtl.models.multi_head import MultiHead

__all__ = [
  "ARCHITECTURES",
  "CGC",
  "LTB",
  "MTAN",
  "PLE",
  "CrossStitch",
  "DSelectK",
  "MMoE",
  "multi_task",
]

ARCHITECTURES: dict[str, type[Architecture]] = {
  "hps": MultiHead,
  "cross_stitch": CrossStitch,
  "mmoe": MMoE,
  "cgc": CGC,
  "ple": PLE,
  "dselect_k": DSelectK,
  "mtan": MTAN,
  "ltb": LTB,
}


def multi_task(
  name: str, backbone: nn.Module, heads: Mapping[str, nn.Module], **options: Any
) -> Architecture:
  """Build a multi-task architecture by name, for any backbone and any heads.

  It is called as `architecture(images, train=False)`, with images `[B, H, W, C]`, or with a dict of
  images by task, and gives outputs by task; see `Architecture`. `models.shared_mask` tells its
  shared parameters.

  Args:
    name: one of hps, cross_stitch, mmoe, cgc, ple, dselect_k, mtan, ltb.
    backbone: the pattern of its networks; all but hps, mmoe, cgc and dselect_k need a `Backbone`.
    heads: head modules by task name.
    **options: fields of the module, among them `on_maps`, `graddrop` (hps), `num_experts` (mmoe,
      cgc, ple, dselect_k), `gates_see_all` (the same), `num_own` (cgc, ple), `num_selected`
      (dselect_k), `own_weight` (cross_stitch), `temperature` (ltb).

  Returns:
    The Linen module.

  Raises:
    ValueError: if the name or an option is unknown, or the backbone lacks the stages it needs.

  Example:
    >>> import flax.linen as nn
    >>> from jaxmtl import models
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> models.multi_task("mmoe", models.create("resnet18"), heads, num_experts=2).num_experts
    2
  """
  if name not in ARCHITECTURES:
    raise ValueError(f"unknown architecture {name!r}; known: {', '.join(ARCHITECTURES)}")
  module = ARCHITECTURES[name]
  given = ("backbone", "heads", "parent", "name")
  known = [f.name for f in dataclasses.fields(module) if f.name not in given]
  if unknown := sorted(set(options) - set(known)):
    raise ValueError(
      f"unknown options {unknown} of architecture {name!r}; it takes: {', '.join(known)}"
    )
  return module(backbone, heads, **options)
