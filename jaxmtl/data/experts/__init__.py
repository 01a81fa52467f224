"""What expert networks say about images: files of labels, features, augmentation, and experts.

Names of the labels: depth, normal, edge, seg (classes of one's own), seg_coco, seg_ade,
obj_detection, ocr_detection.
"""

from jaxmtl.data.experts.augment import augment, resize
from jaxmtl.data.experts.edges import edges
from jaxmtl.data.experts.features import CLIP_MEAN, CLIP_STD, check_classes, model_inputs
from jaxmtl.data.experts.files import ExpertFiles
from jaxmtl.data.experts.fill import Fault, fill, load_function
from jaxmtl.data.experts.layout import KINDS, label_path
from jaxmtl.data.experts.maps import MAP_KINDS, class_label, depth_label, map_label, normal_label
from jaxmtl.data.experts.ocr import ocr_expert
from jaxmtl.data.experts.onnx import onnx_expert
from jaxmtl.data.experts.spoil import coarsen, corrupt, noise_like
from jaxmtl.data.experts.tables import (
  encode_letters,
  encode_names,
  orthogonal_features,
  read_features,
  with_background,
)
from jaxmtl.data.experts.writing import Label, write_label

__all__ = [
  "CLIP_MEAN",
  "CLIP_STD",
  "KINDS",
  "MAP_KINDS",
  "ExpertFiles",
  "Fault",
  "Label",
  "augment",
  "check_classes",
  "class_label",
  "coarsen",
  "corrupt",
  "depth_label",
  "edges",
  "encode_letters",
  "encode_names",
  "fill",
  "label_path",
  "load_function",
  "map_label",
  "model_inputs",
  "noise_like",
  "normal_label",
  "ocr_expert",
  "onnx_expert",
  "orthogonal_features",
  "read_features",
  "resize",
  "with_background",
  "write_label",
]
