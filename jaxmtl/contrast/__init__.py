"""Contrast between the pixels of classes: ReCo."""

from jaxmtl.contrast.bank import FeatureBank, feature_bank, update_bank
from jaxmtl.contrast.classes import class_means, class_relations
from jaxmtl.contrast.reco import reco_loss

__all__ = [
  "FeatureBank",
  "class_means",
  "class_relations",
  "feature_bank",
  "reco_loss",
  "update_bank",
]
