"""What a Prismer is made of: sizes, experts, and how it computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax.core import FrozenDict

EXPERTS = {
  "depth": 1,
  "normal": 3,
  "seg": 64,
  "edge": 1,
  "obj_detection": 64,
  "ocr_detection": 64,
}
"""The published experts and the channels of their labels."""


@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes of a Prismer, or of a PrismerZ: the same without experts.

  Attributes:
    image_size: height and width of the images, in pixels, for which there are position embeddings.
    patch_size: height and width of the vision transformer's patches, in pixels.
    vision_width: channels of the vision encoder.
    vision_layers: its blocks.
    vision_heads: its attention heads.
    experts: channels of every expert's labels by its name; `{}` for PrismerZ. Labels of up to three
      channels are pictures, others are features that are constant over regions.
    resampler_layers: blocks of the experts resampler.
    resampler_heads: its attention heads.
    resampler_latents: tokens into which it turns the labels of all experts.
    num_instances: rows of the table from which detected objects take theirs.
    vocab_size: tokens that the text decoder knows.
    text_width: its channels.
    text_layers: its layers with cross-attention; one without follows.
    text_heads: its attention heads.
    text_mlp_width: hidden units of its perceptrons.
    max_positions: rows of its position table; texts have at most `max_positions - pad_token - 1`
      tokens.
    pad_token: token that fills texts up; positions count from the one after it.
    end_token: token that ends a text.
    adaptors: whether blocks and layers have adaptors; False for an ablation alone.
    dropout: rate in the text decoder in training.
    dtype: type of the computation, such as `jnp.bfloat16`; None for that of the variables.
    remat: whether to compute the blocks a second time for the gradient instead of keeping what is
      in them: less memory, about a third more time.
    attention: implementation of `jax.nn.dot_product_attention`: None for its choice, `"xla"`, or
      `"cudnn"` for flash attention on a GPU, in half precision.

  Raises:
    ValueError: if a size is not positive, heads do not divide their channels, or an expert's name
      or an option is unknown.

  Example:
    >>> from jaxmtl.models.prismer import Config
    >>> Config.large(image_size=480).num_patches
    1156
    >>> dict(Config.base(experts={"depth": 1}).experts)
    {'depth': 1}

  Reference: Liu, "Converging Pathways", 2024, table 6.2.
  """

  image_size: int
  patch_size: int
  vision_width: int
  vision_layers: int
  vision_heads: int
  text_width: int
  text_layers: int
  text_heads: int
  text_mlp_width: int
  experts: Mapping[str, int] = dataclasses.field(default_factory=lambda: EXPERTS)
  resampler_layers: int = 4
  resampler_heads: int = 8
  resampler_latents: int = 64
  num_instances: int = 128
  vocab_size: int = 50265
  max_positions: int = 514
  pad_token: int = 1
  end_token: int = 2
  adaptors: bool = True
  dropout: float = 0.1
  dtype: Any = None
  remat: bool = False
  attention: str | None = None

  def __post_init__(self) -> None:
    """Check the sizes; an immutable mapping makes the whole hashable, as `jax.jit` needs it."""
    object.__setattr__(self, "experts", FrozenDict(self.experts))
    for field in dataclasses.fields(self):
      least = 0 if field.name in ("pad_token", "end_token") else 1
      if field.type == "int" and getattr(self, field.name) < least:
        value = getattr(self, field.name)
        raise ValueError(f"{field.name} must be at least {least}, got {value}.")
    for part, width in (
      ("vision", self.vision_width),
      ("text", self.text_width),
      ("resampler", self.vision_width),
    ):
      heads = getattr(self, f"{part}_heads")
      if width % heads:
        raise ValueError(f"{part}_heads must divide the {width} channels, got {heads}")
    if self.image_size < self.patch_size:
      raise ValueError(
        f"image_size must be at least patch_size={self.patch_size}, got {self.image_size}"
      )
    for name, channels in self.experts.items():
      if name == "rgb" or channels < 1:
        raise ValueError(
          "experts must map names to numbers of channels, and the image itself, rgb, is none; got"
          f" {name!r}: {channels}"
        )
    if self.experts and self.vision_width % 8:
      raise ValueError(f"vision_width must be a multiple of 8 for stems, got {self.vision_width}")
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
    if self.attention not in (None, "xla", "cudnn"):
      raise ValueError(f"attention must be None, 'xla' or 'cudnn', got {self.attention!r}")

  @property
  def num_patches(self) -> int:
    """Number of the image's tokens; what is left of a row or column of patches is cut off."""
    return (self.image_size // self.patch_size) ** 2

  @property
  def max_length(self) -> int:
    """Most tokens of a text, for each of which there is a position."""
    return self.max_positions - self.pad_token - 1

  @classmethod
  def tiny(cls, **changes: Any) -> Config:
    """A few thousand parameters, for tests: 32 x 32 pixels, width 32, 60 words.

    Args:
      **changes: attributes with other values.

    Returns:
      The configuration.

    Example:
      >>> from jaxmtl.models.prismer import Config
      >>> Config.tiny(text_layers=1).text_layers
      1
    """
    sizes = {
      **{"image_size": 32, "patch_size": 8, "vision_width": 32, "vision_layers": 2},
      **{"vision_heads": 4, "resampler_layers": 2, "resampler_heads": 4, "resampler_latents": 6},
      **{"vocab_size": 60, "text_width": 32, "text_layers": 2, "text_heads": 4},
      **{"text_mlp_width": 64, "max_positions": 40},
    }
    experts = {"depth": 1, "normal": 3, "obj_detection": 64}
    return cls(**{**sizes, "experts": experts, **changes})

  @classmethod
  def base(cls, **changes: Any) -> Config:
    """ViT-B/16 of CLIP and RoBERTa base.

    Args:
      **changes: attributes with other values.

    Returns:
      The configuration.

    Example:
      >>> from jaxmtl.models.prismer import Config
      >>> Config.base(image_size=480).num_patches
      900
    """
    sizes = {
      **{"image_size": 224, "patch_size": 16, "vision_width": 768, "vision_layers": 12},
      **{"vision_heads": 12, "text_width": 768, "text_layers": 12, "text_heads": 12},
      **{"text_mlp_width": 3072},
    }
    return cls(**{**sizes, **changes})

  @classmethod
  def large(cls, **changes: Any) -> Config:
    """ViT-L/14 of CLIP and RoBERTa large.

    Args:
      **changes: attributes with other values.

    Returns:
      The configuration.

    Example:
      >>> from jaxmtl.models.prismer import Config
      >>> Config.large(experts={}).vision_heads
      16
    """
    sizes = {
      **{"image_size": 224, "patch_size": 14, "vision_width": 1024, "vision_layers": 24},
      **{"vision_heads": 16, "text_width": 1024, "text_layers": 24, "text_heads": 16},
      **{"text_mlp_width": 4096},
    }
    return cls(**{**sizes, **changes})
