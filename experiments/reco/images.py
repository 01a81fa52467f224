"""What ReCo learns from: digits, rooms, Pascal VOC, Cityscapes, SUN RGB-D, CamVid, or a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from experiments.problems.map_sources import (
  DIGITS,
  ROOMS,
  EmbeddedOptions,
  FolderOptions,
  check_dataset,
  digit_images,
  open_files,
  parts_of,
  refuse_void,
  room_images,
)
from experiments.problems.maps import MapImages, MapTask
from experiments.reco.methods import SEGMENTATION
from experiments.runner.config import identity_of
from jaxmtl import data
from jaxmtl.data.dense_files import DenseSplits

READERS: dict[str, Callable[..., DenseSplits]] = {
  "pascal": data.read_pascal_voc,
  "cityscapes": data.read_cityscapes_images,
  "sun": data.read_sun_rgbd,
  "camvid": data.read_camvid,
}
EMBEDDED = (ROOMS, DIGITS)
# Bytes of all parts that are kept in memory, and on the devices; larger sets are read in turn.
_IN_MEMORY = 2**29


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """The images."""

  dataset: str = ROOMS
  """rooms or digits on textured ground, both made up; pascal, cityscapes, sun (all as the ReCo
  program has them) or camvid, found under data_dir; or a folder of one's own with images and label
  maps matched by name, see jaxmtl.data.read_dense_folder."""
  data_dir: str | None = None
  """The folder of pascal, cityscapes, sun or camvid."""
  embedded: EmbeddedOptions = EmbeddedOptions()
  folder: FolderOptions = FolderOptions()

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    self.embedded.check()
    self.folder.check()
    check_dataset(self.dataset, self.data_dir, EMBEDDED, READERS)

  def describe(self) -> str:
    """For the title of a table."""
    made = self.embedded
    if self.dataset not in EMBEDDED:
      return f"Images of {self.dataset}"
    size = f"{made.height}x{made.width_in_pixels}"
    return f"{made.train_images} images of {self.dataset}, {size}"


def load(options: DataOptions, seed: int) -> MapImages:
  """The images with their maps of classes; small sets in memory.

  Args:
    options: which ones.
    seed: of images that are made up.
  """
  if options.dataset == DIGITS:
    return digit_images(options.embedded, seed)
  if options.dataset == ROOMS:
    found = room_images(options.embedded, seed)
    parts: dict[str, Any] = {
      name: {key: part[key] for key in ("image", SEGMENTATION)}
      for name, part in found.parts.items()
    }
    return MapImages(parts, {SEGMENTATION: found.tasks[SEGMENTATION]}, found.identity)
  folder = options.folder
  splits = open_files(options.dataset, options.data_dir, folder, READERS)
  names = splits.classes[SEGMENTATION]
  if len(names) < 2:
    raise ValueError(f"{options.dataset} has one class, {names[0]!r}; two are needed to be told.")
  files = parts_of(options.dataset, splits)
  shown = {name: part.only(SEGMENTATION) for name, part in files.items()}
  for part in shown.values():
    refuse_void(part, SEGMENTATION)
  of_one = sum(values.nbytes for values in shown["train"][0].values())
  small = of_one * sum(map(len, shown.values())) <= _IN_MEMORY
  identity = {"dataset": options.dataset, "data_seed": seed}
  if folder != FolderOptions():
    identity |= identity_of(folder)
  return MapImages(
    {name: part.load() if small else part for name, part in shown.items()},
    {SEGMENTATION: MapTask("classes", len(names), names)},
    identity,
  )
