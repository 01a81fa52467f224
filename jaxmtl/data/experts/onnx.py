"""Experts in ONNX files: depths, normals, edges or classes by networks that the user has."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from jaxmtl._extras import Optional, require
from jaxmtl.data.augment import IMAGENET_MEAN, IMAGENET_STD
from jaxmtl.data.experts.maps import MAP_KINDS, map_label

if TYPE_CHECKING:
  from PIL import Image
else:
  Image = Optional("PIL.Image", "data", __name__)


def onnx_expert(
  path: str | os.PathLike,
  kind: str,
  *,
  size: tuple[int, int] | None = None,
  mean: tuple[float, ...] = IMAGENET_MEAN,
  std: tuple[float, ...] = IMAGENET_STD,
  output: int = 0,
) -> Callable[[np.ndarray], np.ndarray]:
  """An expert of a network in an ONNX file with one input, an image, and maps as output.

  Args:
    path: of the file.
    kind: of the output, one of `nearness`, `depth`, `normal`, `edge` and `classes`.
    size: height and width to which images are brought; None: those that the file names, or where it
      leaves them open those of each image.
    mean: of the channels that the network was trained with, for images in 0 .. 1.
    std: of the channels.
    output: which one, if there are several.

  Returns:
    The expert: uint8 `[H, W, 3]` to uint8 `[H, W]`, or `[H, W, 3]` for normals.

  Raises:
    ImportError: if onnxruntime is not installed (extra `onnx`).
    FileNotFoundError: if there is no such file.
    ValueError: if the kind is not known, or the file is no network of images.

  Example:
    >>> from jaxmtl.data import experts
    >>> depth = experts.onnx_expert("midas.onnx", "nearness")  # doctest: +SKIP
    >>> experts.fill(names, paths, "labels", {"depth": depth})  # doctest: +SKIP
  """
  file = pathlib.Path(path).expanduser()
  if kind not in MAP_KINDS:
    raise ValueError(f"kind must be one of {', '.join(MAP_KINDS)}, got {kind!r}.")
  if not file.is_file():
    raise FileNotFoundError(f"there is no network {file}.")
  onnxruntime = require("onnxruntime", "onnx", "experts.onnx_expert")
  try:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
  except Exception as error:  # onnxruntime has a class of its own for each fault
    raise ValueError(f"{file} is no network that onnxruntime runs: {error}") from None
  inputs, outputs = session.get_inputs(), session.get_outputs()
  shape = inputs[0].shape
  if len(inputs) != 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
    raise ValueError(
      f"{file} must have one input of images [1, 3, H, W] or [1, H, W, 3], got"
      f" {[(i.name, i.shape) for i in inputs]}."
    )
  if not 0 <= output < len(outputs):
    raise ValueError(f"output must be from 0 to {len(outputs) - 1}, got {output}.")
  channels_first = shape[1] == 3
  named = shape[2:] if channels_first else shape[1:3]
  wanted = size or (tuple(named) if all(isinstance(n, int) for n in named) else None)
  half = inputs[0].type == "tensor(float16)"
  raw = inputs[0].type == "tensor(uint8)"

  def expert(image: np.ndarray) -> np.ndarray:
    there = image
    if wanted is not None and image.shape[:2] != wanted:
      pil = Image.fromarray(image).resize(wanted[::-1], Image.Resampling.BICUBIC)
      there = np.asarray(pil)
    if not raw:
      scaled = (there / 255 - np.array(mean)) / np.array(std)
      there = scaled.astype(np.float16 if half else np.float32)
    batch = there[None].transpose(0, 3, 1, 2) if channels_first else there[None]
    found = session.run([outputs[output].name], {inputs[0].name: np.ascontiguousarray(batch)})[0]
    return map_label(kind, _last(np.asarray(found), channels_first), image.shape[:2])

  return expert


def _last(values: np.ndarray, channels_first: bool) -> np.ndarray:
  """An output without its batch axis, channels last."""
  values = values[0] if values.ndim > 2 and values.shape[0] == 1 else values
  if values.ndim == 3 and channels_first:
    values = values.transpose(1, 2, 0)
  if values.ndim not in (2, 3):
    raise ValueError(f"an output of maps was expected, got shape {values.shape}.")
  return values
