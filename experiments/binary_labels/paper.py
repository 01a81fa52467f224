"""What the paper reports: test accuracy of the main task in per cent, mean of three runs."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from experiments.binary_labels.config import Config, Variant

Figures = Mapping[str, float]

# Tables 1 and 2, by data set and network: the better of two pairs of task weights. Where the table
# cannot be read (the ResNeXt's baseline on aircraft) there is no figure.
SCRATCH: dict[tuple[str, str], Figures] = {
  ("cifar100", "vgg19"): {"none": 70.765, "binary": 71.57},
  ("cifar100", "resnet32"): {"none": 69.375, "binary": 69.7975},
  ("cifar100", "resnet110"): {"none": 71.72, "binary": 72.36},
  ("cars196", "resnet50"): {"none": 13.27, "binary": 27.11},
  ("caltech101", "resnet50"): {"none": 63.95, "binary": 72.63},
  ("sun397", "resnet50"): {"none": 27.74, "binary": 39.26},
  ("fgvc_aircraft", "resnet50"): {"none": 56.38, "binary": 63.52},
  ("cars196", "resnext50"): {"none": 6.38, "binary": 41.15},
  ("caltech101", "resnext50"): {"none": 67.37, "binary": 71.03},
  ("sun397", "resnext50"): {"none": 30.5, "binary": 39.86},
  ("fgvc_aircraft", "resnext50"): {"binary": 54.55},
  ("cars196", "resnet101"): {"none": 17.29, "binary": 31.9},
  ("caltech101", "resnet101"): {"none": 68.55, "binary": 72.98},
  ("sun397", "resnet101"): {"none": 30.58, "binary": 37.42},
  ("fgvc_aircraft", "resnet101"): {"none": 52.66, "binary": 68.26},
}
# Table 3, pre-trained on ImageNet.
TRANSFER: dict[tuple[str, str], Figures] = {
  ("caltech101", "resnet50"): {"none": 95.6, "binary": 96.17},
  ("caltech101", "resnet101"): {"none": 96.5, "binary": 96.9},
  ("caltech101", "vit_b16"): {"none": 96.62, "binary": 96.5},
  ("caltech101", "beit_b16"): {"none": 96.94, "binary": 97.07},
  ("caltech101", "mixer_b16"): {"none": 82.39, "binary": 83.91},
  ("fgvc_aircraft", "resnet50"): {"none": 71.99, "binary": 75.14},
  ("fgvc_aircraft", "resnet101"): {"none": 71.52, "binary": 76.45},
  ("fgvc_aircraft", "vit_b16"): {"none": 82.97, "binary": 83.86},
  ("fgvc_aircraft", "beit_b16"): {"none": 84.79, "binary": 85.9},
  ("fgvc_aircraft", "mixer_b16"): {"none": 27.67, "binary": 24.82},
}
# Table 4, by network and fraction of CIFAR-100.
FEW: dict[tuple[str, float], Figures] = {
  ("vgg19", 0.01): {"none": 1.86, "binary": 9.24, "uniform": 7.93},
  ("vgg19", 0.02): {"none": 4.4, "binary": 13.03, "uniform": 12.39},
  ("vgg19", 0.04): {"none": 9.4, "binary": 18.36, "uniform": 18.03},
  ("vgg19", 0.08): {"none": 17.4, "binary": 30.0, "uniform": 22.23},
  ("resnet110", 0.01): {"none": 4.3, "binary": 6.32, "uniform": 6.11},
  ("resnet110", 0.02): {"none": 8.5, "binary": 9.25, "uniform": 8.83},
}
BETTER_OF = ((0.5, 0.5), (0.9, 0.1))
FEW_WEIGHTS = (0.1, 0.9)


def published(config: Config, variant: Variant) -> float | None:
  """The figure beside a row: of its data, network and task weights, or None."""
  if config.network.width is not None:
    return None
  # A data set that TFDS does not have comes as a file of its name.
  dataset, backbone = pathlib.Path(config.images.dataset).stem, config.network.backbone
  if config.images.fraction < 1:
    known = dataset == "cifar100" and config.network.pretrained is None
    figures = FEW.get((backbone, config.images.fraction), {}) if known else {}
    weights: tuple[tuple[float, float], ...] = (FEW_WEIGHTS,)
  else:
    table = SCRATCH if config.network.pretrained is None else TRANSFER
    figures, weights = table.get((dataset, backbone), {}), BETTER_OF
  comparable = variant.kind == "none" or variant.weights in weights
  return figures.get(variant.kind) if comparable else None
