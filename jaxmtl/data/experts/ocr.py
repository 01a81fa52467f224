"""An expert of written words, whose networks come with a package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional, require
from jaxmtl.data.experts.layout import BACKGROUND
from jaxmtl.data.experts.side_files import CHANNELS, MOST
from jaxmtl.data.experts.tables import Encoder, encode_letters
from jaxmtl.data.experts.writing import Label

if TYPE_CHECKING:
  from PIL import Image, ImageDraw
else:
  Image = Optional("PIL.Image", "data", __name__)
  ImageDraw = Optional("PIL.ImageDraw", "data", __name__)

Found = tuple[np.ndarray, str, float]


def ocr_expert(
  encode: Encoder = encode_letters, *, min_score: float = 0.5, **options: Any
) -> Callable[[np.ndarray], Label]:
  """An expert of written words: PP-OCR's networks by rapidocr-onnxruntime, in its wheel.

  Args:
    encode: `texts -> [texts, 64]`, features of the words, which are given in small letters: by
      default of their letters alone, which a published network does not know.
    min_score: words of less confidence are left out.
    **options: of `rapidocr_onnxruntime.RapidOCR`.

  Returns:
    The expert: uint8 `[H, W, 3]` to a `Label`. Where words overlap, the smaller one is in front.

  Raises:
    ImportError: if rapidocr-onnxruntime is not installed (extra `ocr`).

  Example:
    >>> from jaxmtl.data import experts
    >>> words = experts.ocr_expert()  # doctest: +SKIP
    >>> [word["text"] for word in words(image).side.values()]  # doctest: +SKIP
    ['stop']
  """
  engine = require("rapidocr_onnxruntime", "ocr", "experts.ocr_expert").RapidOCR(**options)

  def expert(image: np.ndarray) -> Label:
    # Like OpenCV, it has blue first.
    found, _ = engine(np.ascontiguousarray(image[..., ::-1]))
    lines = [(np.asarray(corners), text, float(score)) for corners, text, score in found or ()]
    return words_label([line for line in lines if line[2] >= min_score], image.shape[:2], encode)

  return expert


def words_label(found: list[Found], size: tuple[int, int], encode: Encoder) -> Label:
  """The label of words at places.

  Args:
    found: of each its corners `[4, 2]`, column and row, its text and its confidence.
    size: height and width of the image.
    encode: `texts -> [texts, 64]`.

  Returns:
    The label; of more than 255 words the most confident ones.

  Raises:
    ValueError: if features have another shape.
  """
  kept = sorted(found, key=lambda line: -line[2])[:MOST]
  if not kept:
    return Label(np.full(size, BACKGROUND, np.uint8), {})
  texts = [text.lower() for _, text, _ in kept]
  features = np.asarray(encode(texts), np.float32)
  if features.shape != (len(texts), CHANNELS):
    raise ValueError(f"encode must give [{len(texts)}, {CHANNELS}], got shape {features.shape}.")
  canvas = Image.new("L", size[::-1], BACKGROUND)
  draw = ImageDraw.Draw(canvas)
  for i in sorted(range(len(kept)), key=lambda i: -_area(kept[i][0])):
    draw.polygon([tuple(map(float, corner)) for corner in kept[i][0]], fill=i)
  words = {i: {"text": text, "features": features[i]} for i, text in enumerate(texts)}
  return Label(np.asarray(canvas), words)


def _area(corners: np.ndarray) -> float:
  x, y = corners[:, 0], corners[:, 1]
  return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
