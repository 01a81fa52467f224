"""Measures of outputs against labels, and what several tasks gained or lost, in one number.

Those of arrays run inside `jax.jit`, and most take masks; their counts are whole numbers, so that
those of several batches or devices add up exactly. `ods_f`, `delta_mtl`, and measures of captions
and answers, run on the host.
"""

from jaxmtl.metrics.answers import normalize_answer as normalize_answer
from jaxmtl.metrics.answers import vqa_accuracy as vqa_accuracy
from jaxmtl.metrics.caption_words import caption_words as caption_words
from jaxmtl.metrics.captions import bleu as bleu
from jaxmtl.metrics.captions import cider_d as cider_d
from jaxmtl.metrics.classification import accuracy as accuracy
from jaxmtl.metrics.coco_captions import coco_scores as coco_scores
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
