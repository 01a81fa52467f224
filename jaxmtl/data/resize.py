"""Images of any size to squares of one size, with PIL."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.data.pixels import eight_bit

if TYPE_CHECKING:
  from PIL import Image
else:
  Image = Optional("PIL.Image", "data", __name__)


def decode(encoded: bytes, channels: int, size: int | None = None) -> np.ndarray:
  """Decode a JPEG, PNG, ... file to uint8 `[height, width, channels]`, 1 or 3 channels."""
  with Image.open(io.BytesIO(encoded)) as file:
    return pixels_of(eight_bit(file, channels), size)


def pixels_of(image: Image.Image, size: int | None = None) -> np.ndarray:
  """An image of mode `L` or `RGB` as uint8 `[height, width, channels]`, square where resized."""
  pixels = np.asarray(image if size is None else _square(image, size))
  return pixels[..., None] if pixels.ndim == 2 else pixels


def resize_all(images: np.ndarray, size: int) -> np.ndarray:
  """Resize uint8 `[N, H, W, C]`, 1 or 3 channels, to `[N, size, size, C]`."""
  count, height, width, channels = images.shape
  if (height, width) == (size, size):
    return images
  if channels not in (1, 3):
    raise ValueError(f"images must have 1 or 3 channels to be resized, got {channels}.")
  out = np.empty((count, size, size, channels), np.uint8)
  for i, image in enumerate(images):
    pil = Image.fromarray(image[..., 0] if channels == 1 else image)
    out[i] = np.asarray(_square(pil, size)).reshape(size, size, channels)
  return out


def _square(image: Image.Image, size: int) -> Image.Image:
  """Scale the shorter side to `size`, then cut out the centre."""
  if image.size == (size, size):
    return image
  scale = size / min(image.size)
  width, height = (max(size, round(side * scale)) for side in image.size)
  image = image.resize((width, height), Image.Resampling.BILINEAR)
  left, top = (width - size) // 2, (height - size) // 2
  return image.crop((left, top, left + size, top + size))
