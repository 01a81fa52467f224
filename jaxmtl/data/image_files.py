"""Image files with labels: read one by one when they are asked for, or all at once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import operator
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.data.pixels import (
  check_mode,
  check_opaque,
  eight_bit,
  is_gray,
  is_on_its_side,
  may_be_turned,
)
from jaxmtl.data.resize import pixels_of

if TYPE_CHECKING:
  import PIL
  from PIL import Image, ImageOps
else:
  PIL = Optional("PIL", "data", __name__)
  Image = Optional("PIL.Image", "data", __name__)
  ImageOps = Optional("PIL.ImageOps", "data", __name__)

# What files of these formats end with; one with more behind it is decoded to see that it is whole.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}
_LAST = 64
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


class Form(NamedTuple):
  """What all images of a data set have in common.

  Attributes:
    channels: 1 where none has colours, else 3.
    size: side in pixels to which they are brought, or None where they keep their own.
  """

  channels: int
  size: int | None


class ImageFiles:
  """Images in files, with labels: a source of examples, of which only what is asked for is read.

  `data.batches`, `training.predict` and `training.evaluator` take it in place of arrays.

  Args:
    paths: of the files.
    labels: by task, arrays `[num_examples]`.
    form: channels and size; see `common_form`.
    rows: where each file is named, for messages; its path where None.

  Example:
    >>> import tempfile, numpy as np
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   Image.fromarray(np.full((6, 9), 7, np.uint8)).save(f"{folder}/a.png")
    ...   files = ImageFiles([f"{folder}/a.png"], {"kind": np.array([2])}, Form(1, 4))
    ...   example = files[0]
    >>> example["image"].shape, int(example["kind"])
    ((4, 4, 1), 2)
  """

  def __init__(
    self,
    paths: Iterable[str | os.PathLike],
    labels: Mapping[str, np.ndarray],
    form: Form,
    rows: Sequence[str] | None = None,
  ):
    self.paths = tuple(pathlib.Path(path) for path in paths)
    self.labels = {task: np.asarray(values) for task, values in labels.items()}
    self.form = form
    self._rows = tuple(rows) if rows is not None else ("",) * len(self.paths)

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, index: Any) -> dict[str, Any]:
    i = operator.index(index)
    labels = {task: values[i] for task, values in self.labels.items()}
    return {"image": read_image(self.paths[i], self.form, self._rows[i]), **labels}

  def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
    """Several examples, read by threads."""
    return by_threads(self.__getitem__, indices)

  def with_labels(self, labels: Mapping[str, np.ndarray]) -> ImageFiles:
    """The same images with other labels."""
    return ImageFiles(self.paths, labels, self.form, self._rows)

  def subset(self, indices: Sequence[int] | np.ndarray) -> ImageFiles:
    """Some of the files, in this order."""
    rows = [operator.index(i) for i in indices]
    labels = {task: values[rows] for task, values in self.labels.items()}
    return ImageFiles(
      [self.paths[i] for i in rows], labels, self.form, [self._rows[i] for i in rows]
    )

  def load(self) -> dict[str, np.ndarray]:
    """All in memory: uint8 `image` `[num_examples, height, width, channels]`, and the labels."""
    images: np.ndarray | None = None
    # In portions, so that images are not in memory twice.
    for first in range(0, len(self), 256):
      rows = range(first, min(first + 256, len(self)))
      found = by_threads(lambda i: read_image(self.paths[i], self.form, self._rows[i]), rows)
      if images is None:
        images = np.empty((len(self), *found[0].shape), np.uint8)
      images[rows.start : rows.stop] = found
    if images is None:
      raise ValueError("there is no image to load; name at least one file.")
    return {"image": images, **self.labels}


def read_image(path: pathlib.Path, form: Form, row: str = "") -> np.ndarray:
  """Read a file as uint8 `[height, width, channels]`; photographs upright as EXIF data say.

  Args:
    path: of the file.
    form: channels; side in pixels (the shorter side is scaled, then the centre is cut out).
    row: where it is named, for the message.

  Raises:
    ValueError: naming row and file, if it is no image, has transparent pixels, or a mode without a
      range; 16-bit images are scaled.

  Example:
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   Image.new("RGB", (30, 20), "red").save(f"{folder}/a.png")
    ...   image = read_image(pathlib.Path(folder) / "a.png", Form(3, 8))
    >>> image.shape, image[0, 0].tolist()
    ((8, 8, 3), [255, 0, 0])
  """

  def read(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image) if may_be_turned(image) else image
    check_opaque(image)
    return pixels_of(eight_bit(image, form.channels), form.size)

  return _opened(path, row, read)


def common_form(
  paths: Sequence[pathlib.Path], rows: Sequence[str], image_size: int | None = None
) -> Form:
  """Look at the head of every file, and at its end, and say what they have in common.

  JPEG, PNG and GIF files that end too early are decoded, and so found here; what else is wrong with
  pixels is found where these are read.

  Args:
    paths: of the files.
    rows: where they are named, for messages.
    image_size: side in pixels to which they are to be brought; None where they have one size.

  Returns:
    The `Form`.

  Raises:
    FileNotFoundError: naming row and file, if one is not there.
    ValueError: naming row and file, if one is no image, or sizes differ without an `image_size`.
  """
  if image_size is not None and image_size < 1:
    raise ValueError(f"image_size must be at least 1 pixel, got {image_size}.")

  def look(i: int) -> tuple[bool, tuple[int, int]]:
    def seen(image: Image.Image) -> tuple[bool, tuple[int, int]]:
      check_mode(image)
      if not _ends(image):
        image.load()
      width, height = image.size
      return is_gray(image), (height, width) if is_on_its_side(image) else (width, height)

    return _opened(paths[i], rows[i], seen)

  found = by_threads(look, range(len(paths)))
  sizes = [size for _, size in found]
  other = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
  if image_size is None and other is not None:
    (width, height), (first_width, first_height) = sizes[other], sizes[0]
    raise ValueError(
      f"{rows[other]}: image {str(paths[other])!r} is {width}x{height}, the first one "
      f"{first_width}x{first_height}; give an image_size, such as --image-size 64."
    )
  return Form(1 if all(gray for gray, _ in found) else 3, image_size)


def _ends(image: Image.Image) -> bool:
  """Whether the file has the end of its format, where that has one; few bytes are read."""
  mark, file = _ENDS.get(image.format or ""), getattr(image, "fp", None)
  if mark is None or file is None:
    return True
  place, size = file.tell(), file.seek(0, os.SEEK_END)
  file.seek(max(0, size - _LAST))
  found = file.read().rstrip(b"\0").endswith(mark)
  file.seek(place)
  return found


def find_images(folder: pathlib.Path) -> list[pathlib.Path]:
  """The image files under a folder at any depth, sorted; hidden ones apart."""
  found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
  hidden = (".", "__MACOSX")
  return sorted(
    path
    for path in found
    if path.is_file() and not any(p.startswith(hidden) for p in path.relative_to(folder).parts)
  )


def _opened(path: pathlib.Path, row: str, look: Callable[[Image.Image], Any]) -> Any:
  """What a function makes of an opened image; errors name where it stands."""
  where = f"{row}: " if row else ""
  try:
    with naming(f"{where}{str(path)!r}"), Image.open(path) as image:
      return look(image)
  except FileNotFoundError:
    raise FileNotFoundError(f"{where}there is no image {str(path)!r}.") from None


@contextlib.contextmanager
def naming(image: str) -> Iterator[None]:
  """Lets errors of reading an image name it: one among thousands is found by nothing else."""
  try:
    yield
  except FileNotFoundError:
    raise
  except PIL.UnidentifiedImageError:
    raise ValueError(f"{image} is no image, or of no known format.") from None
  except (Image.DecompressionBombError, OSError, SyntaxError) as error:
    raise ValueError(f"{image} cannot be read: {error}.") from None
  except ValueError as error:
    raise ValueError(f"{image} cannot be taken: {error}.") from None


def by_threads(function: Callable[[int], Any], indices: Iterable[int]) -> list[Any]:
  """What a function that reads gives for each index, in their order."""
  # PIL lets other threads run while it decodes.
  with concurrent.futures.ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
    return list(pool.map(function, indices))
