"""Where images with maps come from: rooms and digits, made up, and folders of one's own."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.problems.maps import MapImages, MapTask
from experiments.runner.config import check_positive, identity_of
from experiments.runner.mesh import say
from jaxmtl import data
from jaxmtl.data.dense_files import DenseSplits

ROOMS, DIGITS = "rooms", "digits"
# Pixels a side of an image in which there is something to see.
_LEAST = 16
# Data sets whose readers take an image size.
_RESIZED = ("camvid", "pascal_context")
# Label maps that tell whether there are labels at all.
_LOOKED_AT = 8


@dataclasses.dataclass(frozen=True)
class EmbeddedOptions:
  """Of images that are made up."""

  train_images: int = 400
  """Learned from."""
  test_images: int = 100
  """Measured at the end."""
  validation_images: int = 50
  """For curves and for choosing options; none of them is learned from."""
  height: int = 96
  """In pixels."""
  width_in_pixels: int = 128
  """In pixels."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "train_images", "test_images")
    for name in ("height", "width_in_pixels"):
      if getattr(self, name) < _LEAST:
        raise ValueError(f"{name} must be at least {_LEAST}, got {getattr(self, name)}.")
    if self.validation_images < 0:
      raise ValueError(f"validation_images must not be negative, got {self.validation_images}.")


@dataclasses.dataclass(frozen=True)
class FolderOptions:
  """Of a folder of one's own."""

  void: int | tuple[int, int, int] | None = 255
  """Number, or colour, of pixels without a label; None: all have one."""
  first_class: int = 0
  """Number of the first class; 1 where 0 is void."""
  image_size: tuple[int, int] | None = None
  """Height and width to which images and maps are brought, those of camvid and pascal_context too;
  None: they have one."""
  depth_scale: float = 0.001
  """Metres a unit of a PNG file of depth."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    if self.image_size is not None and min(self.image_size) < 1:
      raise ValueError(f"image_size must be at least 1 pixel each way, got {self.image_size}.")
    if not self.depth_scale > 0:
      raise ValueError(f"depth_scale must be above 0, got {self.depth_scale}.")


def check_dataset(
  dataset: str, data_dir: str | None, made_up: Sequence[str], readers: Mapping[str, Any]
) -> None:
  """Raises ValueError, naming the option, where there is no such data set, or no folder for it."""
  if dataset in readers and data_dir is None:
    raise ValueError(f"data_dir must name the folder of {dataset}, got None.")
  if dataset not in (*made_up, *readers) and not pathlib.Path(dataset).is_dir():
    known = ", ".join((*made_up, *readers))
    raise ValueError(
      f"dataset must be {known}, or the path of a folder of one's own, got {dataset!r}."
    )


def note_unused(
  dataset: str,
  data_dir: str | None,
  folder: FolderOptions,
  made_up: Sequence[str],
  readers: Mapping[str, Any],
) -> None:
  """Says which options were given that mean nothing to the data set."""
  if dataset not in readers and data_dir is not None:
    say(f"Note: {dataset} has no use for --data-dir; it is for {', '.join(readers)}.")
  if dataset not in (*made_up, *readers):
    return
  for field in dataclasses.fields(folder):
    used = dataset in _RESIZED and field.name == "image_size"
    if getattr(folder, field.name) != field.default and not used:
      option = f"--{field.name.replace('_', '-')}"
      say(f"Note: {dataset} has no use for {option}; it is for folders of one's own.")


def open_files(
  dataset: str,
  data_dir: str | None,
  folder: FolderOptions,
  readers: Mapping[str, Callable[..., DenseSplits]],
) -> DenseSplits:
  """A data set by its reader, or a folder of one's own."""
  if dataset not in readers:
    return data.read_dense_folder(dataset, **dataclasses.asdict(folder))
  size = {"image_size": folder.image_size} if dataset in _RESIZED else {}
  return readers[dataset](data_dir, **size)


def parts_of(dataset: str, splits: DenseSplits) -> dict[str, data.DenseFiles]:
  """Parts by what is done with them; raises ValueError where there is none to measure on.

  The papers report on the part that is called val, for want of a test part.
  """
  found = {"train": splits.train, "validation": splits.val, "test": splits.test}
  if splits.test is None:
    found = {"train": splits.train, "test": splits.val}
  if found["test"] is None:
    raise ValueError(f"{dataset} has neither a part test nor a part val to measure on.")
  return {name: part for name, part in found.items() if part is not None}


def room_images(rooms: EmbeddedOptions, seed: int) -> MapImages:
  """Rooms with classes, depth and normals.

  Args:
    rooms: how many, and how large.
    seed: of what is in them.
  """
  first, held_out = rooms.train_images, rooms.train_images + rooms.test_images
  count, size = held_out + rooms.validation_images, (rooms.height, rooms.width_in_pixels)
  tasks = {
    "segmentation": MapTask("classes", len(data.ROOM_CLASSES), data.ROOM_CLASSES),
    "depth": MapTask("depth", 1),
    "normal": MapTask("normal", 3),
  }
  arrays = data.rooms(count, size, seed)._asdict()
  cut = {"train": slice(0, first), "test": slice(first, held_out)}
  if rooms.validation_images:
    cut["validation"] = slice(held_out, None)
  parts = {name: {k: v[rows] for k, v in arrays.items()} for name, rows in cut.items()}
  return MapImages(parts, tasks, identity_of(rooms) | {"dataset": ROOMS, "data_seed": seed})


def digit_images(options: EmbeddedOptions, seed: int) -> MapImages:
  """Scenes of digits with classes; no digit of one part is in another.

  Args:
    options: how many, and how large.
    seed: of what is in them.
  """
  counts = {"train": options.train_images, "test": options.test_images}
  if options.validation_images:
    counts["validation"] = options.validation_images
  size = options.height, options.width_in_pixels
  parts = {}
  for part, count in counts.items():
    made = data.digit_scenes(count, size, seed, part=part)  # type: ignore[arg-type]
    parts[part] = {"image": made.image, "segmentation": made.segmentation}
  tasks = {"segmentation": MapTask("classes", len(data.DIGIT_CLASSES), data.DIGIT_CLASSES)}
  return MapImages(parts, tasks, identity_of(options) | {"dataset": DIGITS, "data_seed": seed})


def refuse_void(part: data.DenseFiles, name: str) -> None:
  """Raises ValueError where a part has no label, as far as its first images show."""
  first = range(min(_LOOKED_AT, len(part)))
  if all((example[name] < 0).all() for example in part.only(name).__getitems__(first)):
    raise ValueError(
      f"no pixel of the first {len(first)} maps of {name} has a label, such as "
      f"{str(part.maps[name].paths[0])!r}; is void what it should be? It is a number that "
      "--void gives, and --first-class the number of the first class."
    )
