"""Backbones, heads, decoders and multi-task architectures in Flax Linen, and by name.

`create` builds a backbone by its name, `multi_task` an architecture around it.
"""

from jaxmtl._extras import require

require("flax.linen", "models", __name__)

import dataclasses
from typing import Any

import flax.linen as nn

from jaxmtl.models import prismer
from jaxmtl.models.architecture import (
  PENALTIES,
  Architecture,
  drop_heads,
  shared_mask,
  task_penalties,
)
from jaxmtl.models.architectures import (
  ARCHITECTURES,
  CGC,
  LTB,
  MTAN,
  PLE,
  CrossStitch,
  DSelectK,
  MMoE,
  multi_task,
)
from jaxmtl.models.auto_encoder import AutoEncoder
from jaxmtl.models.backbone import Backbone
from jaxmtl.models.conv import Conv, conv2d
from jaxmtl.models.conv_transpose import ConvTranspose, conv_transpose2d
from jaxmtl.models.convnet import ConvNet4
from jaxmtl.models.decoder import DenseLabelDecoder
from jaxmtl.models.deeplab import ASPP, DeepLabHead, deeplab
from jaxmtl.models.deeplab_plus import DeepLabV3Plus
from jaxmtl.models.domains import MultiDomain, multi_domain
from jaxmtl.models.initializers import INITIALIZERS, dense, initializer
from jaxmtl.models.mixer import Mixer
from jaxmtl.models.multi_head import MultiHead
from jaxmtl.models.pool import global_average, max_pool
from jaxmtl.models.pretrained import load_pretrained, to_torch
from jaxmtl.models.resize import resize_aligned
from jaxmtl.models.resnet import CifarResNet, ResNet
from jaxmtl.models.swin import Swin
from jaxmtl.models.vgg import STAGES, VGG
from jaxmtl.models.vit import BEiT, ViT

__all__ = [
  "ARCHITECTURES",
  "ASPP",
  "CGC",
  "INITIALIZERS",
  "LTB",
  "MTAN",
  "PENALTIES",
  "PLE",
  "STAGES",
  "VGG",
  "Architecture",
  "AutoEncoder",
  "BEiT",
  "Backbone",
  "CifarResNet",
  "Conv",
  "ConvNet4",
  "ConvTranspose",
  "CrossStitch",
  "DSelectK",
  "DeepLabHead",
  "DeepLabV3Plus",
  "DenseLabelDecoder",
  "MMoE",
  "Mixer",
  "MultiDomain",
  "MultiHead",
  "ResNet",
  "Swin",
  "ViT",
  "conv2d",
  "conv_transpose2d",
  "create",
  "deeplab",
  "dense",
  "drop_heads",
  "global_average",
  "load_pretrained",
  "max_pool",
  "multi_domain",
  "multi_task",
  "prismer",
  "resize_aligned",
  "shared_mask",
  "task_penalties",
  "to_torch",
]

_BACKBONES: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
  "convnet4": (ConvNet4, {}),
  "vgg16": (VGG, {"stages": STAGES[16]}),
  "vgg19": (VGG, {"stages": STAGES[19]}),
  "resnet18": (ResNet, {"sizes": (2, 2, 2, 2), "bottleneck": False}),
  "resnet18_small": (
    ResNet,
    {"sizes": (2, 2, 2, 2), "bottleneck": False, "small_images": True, "pool": 4},
  ),
  "resnet32": (CifarResNet, {"depth": 32}),
  "resnet50": (ResNet, {"sizes": (3, 4, 6, 3)}),
  "resnet101": (ResNet, {"sizes": (3, 4, 23, 3)}),
  "resnet110": (CifarResNet, {"depth": 110}),
  "resnext50": (ResNet, {"sizes": (3, 4, 6, 3), "groups": 32, "group_width": 4}),
  "vit_b16": (ViT, {}),
  "beit_b16": (BEiT, {}),
  "mixer_b16": (Mixer, {}),
  "swin_t": (Swin, {}),
}


def create(name: str, **options: Any) -> nn.Module:
  """Build a backbone by name: images `[B, H, W, C]` in, features `[B, D]` out.

  Every backbone is called as `backbone(images, train=False)`, offers its stem, stages and readout
  one by one (`Backbone`), and takes the options `width` and `dtype` (compute dtype); those with
  batch normalization take `axis_name` (mapped axis for batch statistics over devices) and
  `kernel_init`, an initialiser of the convolutions' kernels or a name in `models.INITIALIZERS`.
  Behind batch normalization the length of a kernel does not change what is computed, but how far a
  step turns it, which goes as the learning rate over the squared length: kernels half as long take
  a quarter of the rate, or learn, and diverge, as with four times as much.

  Args:
    name: one of convnet4 (D = 64), vgg16, vgg19 (512), resnet32, resnet110 (64) and resnet18_small
      (512 for each 32 x 32 pixels), for small images; resnet18 (512), resnet50, resnet101,
      resnext50 (2048), vit_b16, beit_b16, mixer_b16, swin_t (768).
    **options: fields of the module that replace the named architecture's defaults, among them
      `output_stride` (resnet18, 50, 101, resnext50), `dropout` (resnet18, resnet18_small,
      transformers and mixer) and `drop_path` (transformers and mixer).

  Returns:
    The Linen module.

  Raises:
    ValueError: if the name, an option, or an initialiser's name is unknown.

  Example:
    >>> from jaxmtl import models
    >>> models.create("vgg16", width=0.5, kernel_init="torch").width
    0.5
  """
  if name not in _BACKBONES:
    raise ValueError(f"unknown backbone {name!r}; known: {', '.join(_BACKBONES)}")
  module, defaults = _BACKBONES[name]
  if "kernel_init" in options:
    options["kernel_init"] = initializer(options["kernel_init"])
  known = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
  if unknown := sorted(set(options) - set(known)):
    raise ValueError(
      f"unknown options {unknown} of backbone {name!r}; it takes: {', '.join(known)}"
    )
  return module(**{**defaults, **options})
