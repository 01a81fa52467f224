"""Label representations: what an auxiliary head can be asked to predict."""

from jaxmtl.labels.binary import binary_labels
from jaxmtl.labels.describe import LabelReport, describe_labels
from jaxmtl.labels.divisions import all_divisions
from jaxmtl.labels.fastcar import FastCAR
from jaxmtl.labels.mask_softmax import mask_softmax
from jaxmtl.labels.nearest import nearest_label
from jaxmtl.labels.subclasses import balanced_psi, kmeans_subclasses, random_subclasses
from jaxmtl.labels.trials import Trial, mean_magnitude, one_epoch_test
from jaxmtl.labels.uniform import uniform_labels

__all__ = [
  "FastCAR",
  "LabelReport",
  "Trial",
  "all_divisions",
  "balanced_psi",
  "binary_labels",
  "describe_labels",
  "kmeans_subclasses",
  "mask_softmax",
  "mean_magnitude",
  "nearest_label",
  "one_epoch_test",
  "random_subclasses",
  "uniform_labels",
]
