"""One map in a file, an image or what is known of its pixels: its header, and what it holds."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.data.image_files import Form, naming, read_image
from jaxmtl.data.pixels import check_mode, is_on_its_side

if TYPE_CHECKING:
  from PIL import Image
else:
  Image = Optional("PIL.Image", "data", __name__)

VOID = -1
_NPY = ".npy"
_CHANNELS = {
  "image": ((3,),),
  "label": ((),),
  "depth": ((), (1,)),
  "disparity": ((), (1,)),
  "normal": ((3,),),
}
_DEEP = ("I", "I;16", "I;16B", "I;16L")
_MODES = {
  "label": ("1", "L", "P", *_DEEP),
  "depth": _DEEP,
  "disparity": _DEEP,
  "normal": ("RGB",),
}
_COLOURS = ("RGB", "RGBA")
# Unit vectors in 8 bits a channel are off by less than .01.
_UNIT = 0.1


def size_of(path: pathlib.Path, kind: str, coloured: bool = False) -> tuple[int, int]:
  """Height and width by the header of a file; pixels are not read.

  Args:
    path: of a `.npy` file or an image.
    kind: `image`, `label`, `depth`, `disparity` or `normal`.
    coloured: whether classes are told by colours.

  Raises:
    ValueError: naming the file, if it cannot be read, or cannot hold a map of this kind.
  """
  where = repr(str(path))
  with naming(where):
    if path.suffix == _NPY:
      values = _mapped(path)
      shape = values.shape
      if values.dtype.kind not in "biuf":
        raise ValueError(f"it is of dtype {values.dtype}, where {kind} is numbers")
      if len(shape) < 2 or shape[2:] not in _CHANNELS[kind]:
        wanted = " or ".join(str(["H", "W", *more]).replace("'", "") for more in _CHANNELS[kind])
        raise ValueError(f"its shape is {shape}, where {kind} is {wanted}; channels come last")
      return shape[0], shape[1]
    with Image.open(path) as image:
      modes = _COLOURS if coloured else _MODES.get(kind)
      if modes is None:
        check_mode(image)
      elif image.mode not in modes:
        raise ValueError(
          f"it is of mode {image.mode!r}, where {kind} needs {_MEND[kind, coloured]}"
        )
      width, height = image.size
      # Photographs alone are turned as their EXIF data say.
      return (width, height) if kind == "image" and is_on_its_side(image) else (height, width)


_MEND = {
  ("label", False): "one number a pixel; for colours name the colour of each class by palette",
  ("label", True): "colours as the palette has them; leave the palette out for numbers of classes",
  ("depth", False): "16 bits or a .npy file; 8 bits are too coarse, and often a picture for people",
  ("disparity", False): "16 bits as the data set has them",
  ("normal", False): "8 bits of red, green and blue, or a .npy file",
}


def read_numbers(path: pathlib.Path) -> np.ndarray:
  """A file as it is: a `.npy` file mapped to memory; an image decoded, palettes by their indices.

  Raises:
    ValueError: naming the file, if it cannot be read.
  """
  with naming(repr(str(path))):
    if path.suffix == _NPY:
      return _mapped(path)
    with Image.open(path) as image:
      return np.asarray(image)


def read_photo(path: pathlib.Path) -> np.ndarray:
  """An image file as uint8 `[H, W, 3]`."""
  return read_image(path, Form(3, None))


def read_unit_image(path: pathlib.Path) -> np.ndarray:
  """A `.npy` file of an image in 0 .. 1 as float32 `[H, W, 3]`; uint8 stays as it is.

  Raises:
    ValueError: naming file and value, for one that is out of range.
  """
  values = read_numbers(path)
  if values.dtype == np.uint8:
    return np.array(values)
  image = np.array(values, np.float32)
  if (bad := first(~((image >= 0) & (image <= 1)))) is not None:
    raise ValueError(
      f"{str(path)!r} has the value {image[bad]:g} {place(bad)}, where an image is in 0 .. 1; "
      "divide by 255, or save it as uint8."
    )
  return image


def read_labels(
  path: pathlib.Path,
  num_classes: int,
  void: int | None = VOID,
  first_class: int = 0,
) -> np.ndarray:
  """Numbers of classes as int32 `[H, W]`, -1 where void.

  Args:
    path: of a `.npy` file, or an image of one number a pixel, a palette's index being one.
    num_classes: how many there are.
    void: number in the file of pixels without a label; None: there are none.
    first_class: number in the file of class 0.

  Raises:
    ValueError: naming file and value, for one that is no class and not void.
  """
  raw = read_numbers(path)
  if raw.dtype == bool:
    raw = raw.astype(np.int32)
  if not np.issubdtype(raw.dtype, np.integer) and (bad := first(raw != np.round(raw))) is not None:
    raise ValueError(
      f"{str(path)!r} has the label {raw[bad]:g} {place(bad)}, which is no whole number; is it "
      "a map of something else?"
    )
  last = first_class + num_classes - 1
  is_void = np.zeros(raw.shape, bool) if void is None else raw == void
  if (bad := first(~is_void & ~((raw >= first_class) & (raw <= last)))) is not None:
    no_void = "no void is known" if void is None else f"void is {void}"
    raise ValueError(
      f"{str(path)!r} has the label {raw[bad]:.12g} {place(bad)}, where classes are "
      f"{first_class} to {last} and {no_void}; correct the file, or name all classes and the void "
      "value."
    )
  # Where void, the subtraction may run over.
  return np.where(is_void, VOID, np.where(is_void, 0, raw).astype(np.int64) - first_class).astype(
    np.int32
  )


def read_colours(
  path: pathlib.Path, palette: Sequence[tuple[int, int, int]], void: Any = None
) -> np.ndarray:
  """Classes told by colours as int32 `[H, W]`, -1 where void.

  Args:
    path: of an image.
    palette: red, green and blue of each class, 0 .. 255.
    void: colour of pixels without a label; None: there are none.

  Raises:
    ValueError: naming file and colour, for one that is no class's and not void's.
  """
  colours = [*palette] if void is None else [*palette, void]
  codes = np.array([_code(np.array(colour, np.int64)) for colour in colours])
  found = _code(read_numbers(path)[..., :3].astype(np.int64))
  order = np.argsort(codes)
  at = np.minimum(np.searchsorted(codes[order], found), len(codes) - 1)
  if (bad := first(codes[order][at] != found)) is not None:
    code = int(found[bad])
    colour = code >> 16, code >> 8 & 255, code & 255
    raise ValueError(
      f"{str(path)!r} has the colour {colour} {place(bad)}, which is neither in the palette nor "
      "void; name it as one, and save label maps without loss (PNG, no smoothing)."
    )
  labels = order[at]
  return np.where(labels == len(palette), VOID, labels).astype(np.int32)


def read_depth(path: pathlib.Path, scale: float = 1.0) -> np.ndarray:
  """Depth as float32 `[H, W, 1]`, 0 where there is none.

  Args:
    path: of a `.npy` file, in metres, or an image of 16 bits, in units of `scale`.
    scale: metres a unit of an image.

  Raises:
    ValueError: naming file and value, for one that is not finite.
  """
  raw = read_numbers(path)
  depth = np.array(raw, np.float32) * np.float32(1 if path.suffix == _NPY else scale)
  _check_finite(depth, path, "depth")
  return depth.reshape(*depth.shape[:2], 1)


def read_normal(path: pathlib.Path) -> np.ndarray:
  """Normals as float32 `[H, W, 3]`, 0 where there is none.

  Args:
    path: of a `.npy` file; or an image of 8 bits a channel, 0 to 255 being -1 to 1, where vectors
      that are not of length 1, such as black or gray, say that there is none.

  Raises:
    ValueError: naming file and value, for one that is not finite.
  """
  raw = read_numbers(path)
  if path.suffix == _NPY:
    normal = np.array(raw, np.float32)
    _check_finite(normal, path, "normal")
    return normal
  normal = np.asarray(raw, np.float32) / 127.5 - 1
  length = np.linalg.norm(normal, axis=-1, keepdims=True)
  return np.where(np.abs(length - 1) < _UNIT, normal / np.maximum(length, _UNIT), 0)


def resized(values: np.ndarray, size: tuple[int, int], kind: str) -> np.ndarray:
  """A map at another height and width: photographs smoothly, all else by the nearest pixel."""
  if kind == "image":
    # A channel at a time, which PIL can do of floats too.
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(values, -1, 0)]
    smooth = [band.resize(size[::-1], Image.Resampling.BILINEAR) for band in bands]
    return np.stack([np.asarray(band) for band in smooth], axis=-1)
  rows, columns = (
    ((2 * np.arange(new) + 1) * old) // (2 * new)
    for new, old in zip(size, values.shape[:2], strict=True)
  )
  return values[rows[:, None], columns]


def first(wrong: np.ndarray) -> tuple[int, ...] | None:
  """Index of the first pixel that is wrong, or None."""
  return tuple(map(int, np.unravel_index(wrong.argmax(), wrong.shape))) if wrong.any() else None


def place(index: tuple[int, ...]) -> str:
  """An index for a message."""
  return f"at row {index[0]}, column {index[1]}"


def _mapped(path: pathlib.Path) -> np.ndarray:
  try:
    return np.load(path, mmap_mode="r")
  except EOFError:
    raise ValueError("it is empty") from None


def _check_finite(values: np.ndarray, path: pathlib.Path, name: str) -> None:
  if (bad := first(~np.isfinite(values))) is not None:
    raise ValueError(
      f"{str(path)!r} has the {name} {values[bad]} {place(bad)}; write 0 where it is not known."
    )


def _code(colours: np.ndarray) -> np.ndarray:
  return colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
