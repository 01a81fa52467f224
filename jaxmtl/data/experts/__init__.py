"""What expert networks say about images: files of labels, features, augmentation, and experts.

Names of the labels: depth, normal, edge, seg (classes of one's own), seg_coco, seg_ade,
obj_detection, ocr_detection.
"""

from jaxmtl.data.experts.augment import augment, resize
from jaxmtl.data.experts.features import CLIP_MEAN, CLIP_STD, check_classes, model_inputs
from jaxmtl.data.experts.files import ExpertFiles
from jaxmtl.data.experts.layout import KINDS, label_path
from jaxmtl.data.experts.spoil import coarsen, corrupt, noise_like
from jaxmtl.data.experts.tables import (
  encode_letters,
  encode_names,
  orthogonal_features,
  read_features,
  with_background,
)

__all__ = [
  "CLIP_MEAN",
  "CLIP_STD",
  "KINDS",
  "ExpertFiles",
  "augment",
  "check_classes",
  "coarsen",
  "corrupt",
  "encode_letters",
  "encode_names",
  "label_path",
  "model_inputs",
  "noise_like",
  "orthogonal_features",
  "read_features",
  "resize",
  "with_background",
]
