"""Measures of outputs against labels, and what several tasks gained or lost, in one number.

All but `ods_f` and the last run inside `jax.jit`, and most take masks. Counts are whole numbers, so
that those of several batches or devices add up exactly.
"""

from jaxmtl.metrics.classification import accuracy as accuracy
from jaxmtl.metrics.edges import EdgeCounts as EdgeCounts
from jaxmtl.metrics.edges import edge_counts as edge_counts
from jaxmtl.metrics.edges import ods_f as ods_f
from jaxmtl.metrics.regression import absolute_error as absolute_error
from jaxmtl.metrics.regression import angles as angles
from jaxmtl.metrics.regression import angular_error as angular_error
from jaxmtl.metrics.relative import delta_mtl as delta_mtl
from jaxmtl.metrics.relative import relative_change as relative_change
from jaxmtl.metrics.segmentation import class_iou as class_iou
from jaxmtl.metrics.segmentation import confusion_matrix as confusion_matrix
from jaxmtl.metrics.segmentation import mean_iou as mean_iou
from jaxmtl.metrics.segmentation import pixel_accuracy as pixel_accuracy
