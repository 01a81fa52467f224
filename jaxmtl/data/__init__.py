"""Data: sources by name, stratified subsets, augmentation on the device, batches."""

from jaxmtl.data.augment import (
  CIFAR_MEAN,
  CIFAR_STD,
  channel_statistics,
  normalize,
  random_crop,
  random_flip,
)
from jaxmtl.data.dataset import ImageDataset, Splits, arrays
from jaxmtl.data.loader import EvalBatches, batches, epoch_indices, eval_batches
from jaxmtl.data.sources import load
from jaxmtl.data.splits import labelled_fraction, stratified_split

__all__ = [
  "CIFAR_MEAN",
  "CIFAR_STD",
  "EvalBatches",
  "ImageDataset",
  "Splits",
  "arrays",
  "batches",
  "channel_statistics",
  "epoch_indices",
  "eval_batches",
  "labelled_fraction",
  "load",
  "normalize",
  "random_crop",
  "random_flip",
  "stratified_split",
]
