"""Backbones, heads and decoders in Flax Linen, and `create`, which builds backbones by name."""

import dataclasses
from typing import Any

import flax.linen as nn

from jaxmtl.models.auto_encoder import AutoEncoder
from jaxmtl.models.conv import Conv, conv2d
from jaxmtl.models.conv_transpose import ConvTranspose, conv_transpose2d
from jaxmtl.models.convnet import ConvNet4
from jaxmtl.models.decoder import DenseLabelDecoder
from jaxmtl.models.multi_head import MultiHead, drop_heads, shared_mask
from jaxmtl.models.pool import global_average, max_pool
from jaxmtl.models.resnet import CifarResNet
from jaxmtl.models.vgg import STAGES, VGG

__all__ = [
  "STAGES",
  "VGG",
  "AutoEncoder",
  "CifarResNet",
  "Conv",
  "ConvNet4",
  "ConvTranspose",
  "DenseLabelDecoder",
  "MultiHead",
  "conv2d",
  "conv_transpose2d",
  "create",
  "drop_heads",
  "global_average",
  "max_pool",
  "shared_mask",
]

_BACKBONES: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
  "convnet4": (ConvNet4, {}),
  "vgg16": (VGG, {"stages": STAGES[16]}),
  "vgg19": (VGG, {"stages": STAGES[19]}),
  "resnet32": (CifarResNet, {"depth": 32}),
  "resnet110": (CifarResNet, {"depth": 110}),
}


def create(name: str, **options: Any) -> nn.Module:
  """Build a backbone by name: images `[B, H, W, C]` in, features `[B, D]` out.

  Every backbone is called as `backbone(images, train=False)` and takes the options `width`, `dtype`
  (compute dtype) and `axis_name` (mapped axis for batch statistics over devices).

  Args:
    name: One of convnet4 (D = 64), vgg16, vgg19 (D = 512), resnet32, resnet110 (D = 64).
    **options: Fields of the module that replace the named architecture's defaults.

  Returns:
    The Linen module.

  Raises:
    ValueError: If the name or an option is unknown.

  Example:
    >>> from jaxmtl import models
    >>> models.create("vgg16", width=0.5).width
    0.5
  """
  if name not in _BACKBONES:
    raise ValueError(f"unknown backbone {name!r}; known: {', '.join(_BACKBONES)}")
  module, defaults = _BACKBONES[name]
  known = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
  if unknown := sorted(set(options) - set(known)):
    raise ValueError(
      f"unknown options {unknown} of backbone {name!r}; it takes: {', '.join(known)}"
    )
  return module(**{**defaults, **options})
