"""Label representations: what an auxiliary head can be asked to predict."""

from jaxmtl.labels.binary import binary_labels
from jaxmtl.labels.describe import LabelReport, describe_labels
from jaxmtl.labels.divisions import all_divisions
from jaxmtl.labels.mask_softmax import mask_softmax
from jaxmtl.labels.nearest import nearest_label
from jaxmtl.labels.uniform import uniform_labels

__all__ = [
  "LabelReport",
  "all_divisions",
  "binary_labels",
  "describe_labels",
  "mask_softmax",
  "nearest_label",
  "uniform_labels",
]
