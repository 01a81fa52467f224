"""Pre-trained weights of torchvision and timm, from files that the user has, and back."""

from jaxmtl.models.pretrained.convert import load_pretrained, to_torch
from jaxmtl.models.pretrained.files import read_checkpoint

__all__ = ["load_pretrained", "read_checkpoint", "to_torch"]
