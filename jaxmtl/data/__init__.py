"""Data: sources by name, stratified subsets, augmentation on the device, batches."""

from jaxmtl.data import experts, language
from jaxmtl.data.augment import (
  CIFAR_MEAN,
  CIFAR_STD,
  IMAGENET_MEAN,
  IMAGENET_STD,
  channel_statistics,
  normalize,
  random_crop,
  random_dihedral,
  random_flip,
)
from jaxmtl.data.captioned_scenes import (
  SCENE_EXPERTS,
  CaptionedScenes,
  captioned_scenes,
  scene_features,
)
from jaxmtl.data.cityscapes import CITYSCAPES_CLASSES, CITYSCAPES_PARTS, read_cityscapes
from jaxmtl.data.cityscapes_ids import (
  cityscapes_disparity,
  cityscapes_parts,
  cityscapes_train_ids,
)
from jaxmtl.data.dataset import ImageDataset, Splits, TaskImages, TaskSplits, arrays
from jaxmtl.data.dense_files import DenseFiles, DenseSplits, MapFiles
from jaxmtl.data.dense_folder import CAMVID_CLASSES, read_camvid, read_dense_folder
from jaxmtl.data.dense_writers import (
  write_cityscapes,
  write_dense_folder,
  write_nyuv2,
  write_pascal_context,
)
from jaxmtl.data.digit_scenes import DIGIT_CLASSES, digit_scenes
from jaxmtl.data.digits_ink import digits_ink
from jaxmtl.data.domains import DomainImages, by_domain
from jaxmtl.data.few_labels import balanced_images, classes_present, partial_labels
from jaxmtl.data.furnished_room import ROOM_CLASSES
from jaxmtl.data.hierarchies import class_levels
from jaxmtl.data.image_files import Form, ImageFiles, common_form, find_images, read_image
from jaxmtl.data.image_folder import read_image_folder
from jaxmtl.data.joint_augment import joint_augment, signed_image
from jaxmtl.data.labelled_files import LabelledFiles
from jaxmtl.data.loader import EvalBatches, batches, epoch_indices, eval_batches
from jaxmtl.data.manifest import read_manifest
from jaxmtl.data.mixing import PseudoLabelled, classmix, cutmix, cutout
from jaxmtl.data.multi_digits import multi_digits
from jaxmtl.data.nyuv2 import read_nyuv2
from jaxmtl.data.own_files import FileSplits, load_files
from jaxmtl.data.pascal_context import read_pascal_context
from jaxmtl.data.pascal_maps import HUMAN_PARTS
from jaxmtl.data.photometric import color_jitter, gaussian_blur
from jaxmtl.data.properties import PropertyImages, PropertySplits
from jaxmtl.data.rooms import RoomImages, rooms
from jaxmtl.data.scene_files import write_captioned_scenes
from jaxmtl.data.scene_sentences import Question
from jaxmtl.data.segmentation_sets import (
  PASCAL_CLASSES,
  SUN_CLASSES,
  read_cityscapes_images,
  read_pascal_voc,
  read_sun_rgbd,
)
from jaxmtl.data.sources import load, load_tasks
from jaxmtl.data.splits import labelled_fraction, stratified_split
from jaxmtl.data.steel import load_steel
from jaxmtl.data.ucf101 import load_ucf101
from jaxmtl.data.utkface import UTKFACE_CLASSES, FaceSplits, load_utkface

__all__ = [
  "CAMVID_CLASSES",
  "CIFAR_MEAN",
  "CIFAR_STD",
  "CITYSCAPES_CLASSES",
  "CITYSCAPES_PARTS",
  "DIGIT_CLASSES",
  "HUMAN_PARTS",
  "IMAGENET_MEAN",
  "IMAGENET_STD",
  "PASCAL_CLASSES",
  "ROOM_CLASSES",
  "SCENE_EXPERTS",
  "SUN_CLASSES",
  "UTKFACE_CLASSES",
  "CaptionedScenes",
  "DenseFiles",
  "DenseSplits",
  "DomainImages",
  "EvalBatches",
  "FaceSplits",
  "FileSplits",
  "Form",
  "ImageDataset",
  "ImageFiles",
  "LabelledFiles",
  "MapFiles",
  "PropertyImages",
  "PropertySplits",
  "PseudoLabelled",
  "Question",
  "RoomImages",
  "Splits",
  "TaskImages",
  "TaskSplits",
  "arrays",
  "balanced_images",
  "batches",
  "by_domain",
  "captioned_scenes",
  "channel_statistics",
  "cityscapes_disparity",
  "cityscapes_parts",
  "cityscapes_train_ids",
  "class_levels",
  "classes_present",
  "classmix",
  "color_jitter",
  "common_form",
  "cutmix",
  "cutout",
  "digit_scenes",
  "digits_ink",
  "epoch_indices",
  "eval_batches",
  "experts",
  "find_images",
  "gaussian_blur",
  "joint_augment",
  "labelled_fraction",
  "language",
  "load",
  "load_files",
  "load_steel",
  "load_tasks",
  "load_ucf101",
  "load_utkface",
  "multi_digits",
  "normalize",
  "partial_labels",
  "random_crop",
  "random_dihedral",
  "random_flip",
  "read_camvid",
  "read_cityscapes",
  "read_cityscapes_images",
  "read_dense_folder",
  "read_image",
  "read_image_folder",
  "read_manifest",
  "read_nyuv2",
  "read_pascal_context",
  "read_pascal_voc",
  "read_sun_rgbd",
  "rooms",
  "scene_features",
  "signed_image",
  "stratified_split",
  "write_captioned_scenes",
  "write_cityscapes",
  "write_dense_folder",
  "write_nyuv2",
  "write_pascal_context",
]
