"""What dense prediction learns from: rooms, NYUv2, Cityscapes, CamVid, PASCAL-Context, folders."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from experiments.problems.map_sources import (
  ROOMS,
  EmbeddedOptions,
  FolderOptions,
  check_dataset,
  open_files,
  parts_of,
  refuse_void,
  room_images,
)
from experiments.problems.maps import MapImages, MapTask
from experiments.runner.config import identity_of
from jaxmtl import data
from jaxmtl.data.dense_files import DenseSplits

NOISE, DISTANCE = "noise", "distance"
PASCAL = "pascal_context"
# In pixels: beyond it, how far a border is says nothing of the pixel.
_FARTHEST = 20.0
READERS: dict[str, Callable[..., DenseSplits]] = {
  "nyuv2": data.read_nyuv2,
  "cityscapes": data.read_cityscapes,
  "camvid": data.read_camvid,
  PASCAL: data.read_pascal_context,
}
_SHOWN: dict[str, tuple[str, ...]] = {
  "nyuv2": ("segmentation", "depth", "normal"),
  "cityscapes": ("segmentation", "part", "disparity"),
  "camvid": ("segmentation", DISTANCE),
  PASCAL: ("segmentation", "part", "normal", "saliency", "edge"),
}
_KINDS = {
  **{"depth": ("depth", 1), "disparity": ("disparity", 1), "normal": ("normal", 3)},
  **{"saliency": ("saliency", 1), "edge": ("edge", 1)},
}
# What losses are multiplied by where a set's tables are made: of PASCAL in the survey of
# Vandenhende et al., 2021, where that of normals is a mean over three channels instead of a sum.
_FACTORS = {PASCAL: {"part": 2.0, "normal": 10 / 3, "saliency": 5.0, "edge": 50.0}}


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """The images."""

  dataset: str = ROOMS
  """rooms, made up; nyuv2, cityscapes (both as the Auto-lambda program has them), camvid or
  pascal_context (as ASTMT has it), found under data_dir; or a folder of one's own with images and
  maps matched by name, see jaxmtl.data.read_dense_folder."""
  data_dir: str | None = None
  """The folder of nyuv2, cityscapes, camvid or pascal_context."""
  loss_factors: bool = True
  """Whether losses of pascal_context are multiplied as where its tables are made, for every method
  alike: segmentation by 1, part 2, normal 10/3, saliency 5, edge 50. Other sets have no factors."""
  noise: bool = False
  """Whether a map of noise, another one for each image, is among the tasks."""
  rooms: EmbeddedOptions = EmbeddedOptions()
  folder: FolderOptions = FolderOptions()

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    self.rooms.check()
    self.folder.check()
    check_dataset(self.dataset, self.data_dir, (ROOMS,), READERS)

  def describe(self) -> str:
    """For the title of a table."""
    rooms = self.rooms
    if self.dataset != ROOMS:
      return f"Images of {self.dataset}"
    size = f"{rooms.height}x{rooms.width_in_pixels}"
    return f"{rooms.train_images} rooms of {size} ({rooms.test_images} for the test)"


def load(options: DataOptions, seed: int) -> MapImages:
  """The images and their maps.

  Args:
    options: which ones.
    seed: of rooms and noise.
  """
  if options.dataset == ROOMS:
    images = room_images(options.rooms, seed)
    identity = {**images.identity, "noise": options.noise}
    return (_with_noise_in(images, seed) if options.noise else images)._replace(identity=identity)
  folder = options.folder
  splits = open_files(options.dataset, options.data_dir, folder, READERS)
  parts: dict[str, Any] = parts_of(options.dataset, splits)
  tasks: dict[str, MapTask] = {}
  shown = _SHOWN.get(options.dataset, tuple(n for n in splits.train.maps if n != "image"))
  for name in shown:
    if name in splits.classes:
      tasks[name] = MapTask("classes", len(splits.classes[name]), splits.classes[name])
    elif name in _KINDS:
      tasks[name] = MapTask(*_KINDS[name])
  for part in parts.values():
    refuse_void(part, "segmentation")  # of the maps of classes none else has void as an option
  factors = _FACTORS.get(options.dataset, {}) if options.loss_factors else {}
  tasks = {t: kind._replace(factor=factors.get(t, 1.0)) for t, kind in tasks.items()}
  if DISTANCE in shown:
    tasks[DISTANCE] = MapTask("disparity", 1)
    parts = {name: _with_distance(part.load()) for name, part in parts.items()}
  if options.noise:
    tasks[NOISE] = MapTask("noise", 1)
    parts = {name: _with_noise(part, seed, i) for i, (name, part) in enumerate(parts.items())}
  identity = {"dataset": options.dataset, "noise": options.noise, "data_seed": seed}
  if factors:
    identity["loss_factors"] = factors
  if folder != FolderOptions():
    identity |= identity_of(folder)
  return MapImages(parts, tasks, identity)


def _with_distance(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """A second task where there are classes alone: pixels from the nearest border of a class."""
  found = []
  for labels in arrays["segmentation"]:
    border = np.zeros(labels.shape, bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    far = ndimage.distance_transform_edt(~border) if border.any() else np.full(labels.shape, np.inf)
    found.append(np.where(labels < 0, -1, np.minimum(far, _FARTHEST)))
  return arrays | {DISTANCE: np.stack(found).astype(np.float32)[..., None]}


def _with_noise_in(images: MapImages, seed: int) -> MapImages:
  """Rooms with a map of noise each, drawn for all parts at once."""
  sizes = [len(part["image"]) for part in images.parts.values()]
  shape = (sum(sizes), *images.shape[:2], 1)
  drawn = np.split(
    np.random.default_rng([seed, 2]).random(shape, np.float32), np.cumsum(sizes[:-1])
  )
  parts = {
    name: {**part, NOISE: noise}
    for (name, part), noise in zip(images.parts.items(), drawn, strict=True)
  }
  return MapImages(parts, {**images.tasks, NOISE: MapTask("noise", 1)}, images.identity)


def _with_noise(part: Any, seed: int, number: int) -> Any:
  if isinstance(part, dict):
    shape = (*part["image"].shape[:3], 1)
    noise = np.random.default_rng([seed, 2, number]).random(shape, np.float32)
    return part | {NOISE: noise}
  return WithNoise(part, seed, number)


class WithNoise:
  """A source of examples with a map of noise, always the same one for an image."""

  def __init__(self, source: Any, seed: int, number: int):
    """Takes the source, and what tells the noise of parts and seeds apart."""
    self._source, self._seed = source, (seed, 2, number)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: Any) -> dict[str, np.ndarray]:
    return self.__getitems__([index])[0]

  def __getitems__(self, indices: Sequence[Any]) -> list[dict[str, np.ndarray]]:
    """Several examples."""
    rows = [operator.index(i) % len(self) for i in indices]
    found = self._source.__getitems__(rows)
    return [
      example | {NOISE: self._noise(i, example)} for i, example in zip(rows, found, strict=True)
    ]

  def fingerprint(self) -> str:
    """The source's: the noise follows from it and the seeds."""
    return self._source.fingerprint()

  def _noise(self, row: int, example: dict[str, np.ndarray]) -> np.ndarray:
    rng = np.random.default_rng([*self._seed, row])
    return rng.random((*example["image"].shape[:2], 1), np.float32)
