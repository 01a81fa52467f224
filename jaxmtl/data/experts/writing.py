"""One label to files: its pixels, and what is said about the objects or words in it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl._files import replacing
from jaxmtl.data.experts.layout import BACKGROUND, KINDS
from jaxmtl.data.experts.side_files import CHANNELS, write_classes, write_words

if TYPE_CHECKING:
  from PIL import Image
else:
  Image = Optional("PIL.Image", "data", __name__)


class Label(NamedTuple):
  """What an expert says about an image.

  Attributes:
    pixels: uint8 `[H, W]`, or `[H, W, 3]` for normals; of the image's height and width.
    side: of `obj_detection` the class of every object by its number; of `ocr_detection` for every
      word `{"text": str, "features": [64]}`; nothing for other experts.
  """

  pixels: np.ndarray
  side: Mapping[int, Any] | None = None


def check_label(name: str, label: Any, size: tuple[int, int]) -> Label:
  """What an expert gave, once it is known to fit.

  Args:
    name: of the expert.
    label: a `Label`, or its pixels alone.
    size: height and width of the image.

  Returns:
    The label, without an axis of one channel.

  Raises:
    ValueError: saying what does not fit.
  """
  kind = KINDS[name]
  pixels, side = label if isinstance(label, Label) else (label, None)
  pixels = np.asarray(pixels)
  if pixels.ndim == 3 and pixels.shape[2] == 1:
    pixels = pixels[..., 0]
  wanted = (*size, 3) if kind.channels == 3 else size
  if pixels.dtype != np.uint8 or pixels.shape != wanted:
    raise ValueError(
      f"{name} must give uint8 of shape {wanted}, got {pixels.dtype} of {pixels.shape}."
    )
  if not kind.side:
    if side is not None:
      raise ValueError(f"{name} has no side file, but got one of {len(side)} entries.")
    return Label(pixels)
  if side is None:
    raise ValueError(f"{name} must give a Label with what is known of its numbers, got pixels.")
  numbers = {int(n) for n in np.unique(pixels)} - {BACKGROUND}
  if unknown := sorted(numbers - set(side)):
    raise ValueError(f"{name} has number {unknown[0]}, of which its side table says nothing.")
  if kind.side == "features":
    for number, word in side.items():
      if np.shape(word["features"]) != (CHANNELS,):
        shape = np.shape(word["features"])
        raise ValueError(f"{name}: word {number} needs {CHANNELS} features, got shape {shape}.")
  return Label(pixels, side)


def write_label(path: str | pathlib.Path, name: str, label: Label) -> None:
  """Writes a PNG file and what belongs beside it; the PNG file last, which says that all is there.

  Args:
    path: of the PNG file.
    name: of the expert.
    label: its pixels and side table.

  Raises:
    OSError: if it cannot be written.

  Example:
    >>> import pathlib, tempfile, numpy as np
    >>> from jaxmtl.data import experts
    >>> label = experts.Label(np.zeros((4, 6), np.uint8), {0: 17})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   experts.write_label(f"{folder}/a.png", "obj_detection", label)
    ...   pathlib.Path(f"{folder}/a.json").read_text()
    '{"0": 17}'
  """
  path = pathlib.Path(path)
  if label.side is not None:
    (write_classes if KINDS[name].side == "classes" else write_words)(path, label.side)
  with replacing(path) as draft:
    Image.fromarray(label.pixels).save(draft, "PNG")
