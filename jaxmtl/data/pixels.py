"""PIL images of any mode to 8 bits a channel: by the range of their mode, never clipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxmtl._extras import Optional

if TYPE_CHECKING:
  from PIL import Image
else:
  Image = Optional("PIL.Image", "data", __name__)

_PLAIN = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
_GRAY = ("1", "L", "LA", "La")
_TURNED = ("JPEG", "MPO")  # Asking other formats for EXIF may decode the whole image.
_ORIENTATION = 0x0112


def eight_bit(image: Image.Image, channels: int) -> Image.Image:
  """Bring an image to mode `L` (1 channel) or `RGB` (3), what lies under an alpha channel as it is.

  16 bits are scaled by 1/257, so that the whole range is kept and nothing is clipped.

  Raises:
    ValueError: if the mode has no range of its own: 32-bit integers or floats.
  """
  check_mode(image)
  if is_deep(image):
    deep = np.asarray(image).astype(np.int64)
    image = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
  elif image.mode == "P" and "transparency" in image.info:
    image = image.convert("RGBA")  # on the way to RGB, PIL warns otherwise
  return image.convert("L" if channels == 1 else "RGB")


def check_mode(image: Image.Image) -> None:
  """Raise ValueError where a mode has no range of its own; pixels are not looked at."""
  if image.mode not in _PLAIN and not is_deep(image):
    raise ValueError(
      f"it is of mode {image.mode!r}, whose range is not known; save it with 8 or 16 bits a channel"
    )


def is_deep(image: Image.Image) -> bool:
  """Whether an image has 16 bits a pixel; PIL once opened such PNG files as mode `I`."""
  return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


def is_gray(image: Image.Image) -> bool:
  """Whether an image has no colours."""
  return image.mode in _GRAY or is_deep(image)


def check_opaque(image: Image.Image) -> None:
  """Raise ValueError where pixels are transparent: what lies under them is arbitrary."""
  if not image.has_transparency_data:
    return
  if np.asarray(image.convert("RGBA").getchannel("A")).min() < 255:
    raise ValueError("it has transparent pixels; put it on a background first")


def is_on_its_side(image: Image.Image) -> bool:
  """Whether a photograph's EXIF data say that its rows are columns."""
  return image.format in _TURNED and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)


def may_be_turned(image: Image.Image) -> bool:
  """Whether EXIF data are looked at."""
  return image.format in _TURNED
