"""A trained network of maps from its folder alone, as an expert of others."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import data
from jaxmtl._extras import Optional
from jaxmtl.training.trained import (
  DESCRIPTION,
  WEIGHTS,
  check_weights,
  finished_run,
  whole_numbers,
)
from jaxmtl.training.weights import load_weights

if TYPE_CHECKING:
  import flax.linen as nn
  from PIL import Image

  from jaxmtl import models
else:
  nn = Optional("flax.linen", "models", __name__)
  models = Optional("jaxmtl.models", "models", __name__)
  Image = Optional("PIL.Image", "data", __name__)

# How an expert's label is made of a task's kind.
_KINDS = {"classes": "classes", "depth": "depth", "disparity": "nearness", "normal": "normal"}


@dataclasses.dataclass(frozen=True)
class TrainedMaps:
  """A network that says something about every pixel, of one or more training runs (seeds).

  Attributes:
    tasks: kind by name: classes, depth, disparity, normal or noise.
    classes: names of the classes by task, where it has classes.
    shape: of an image, `[height, width, channels]`.
    runs: how many seeds there are; the first one is asked.
  """

  tasks: Mapping[str, str]
  classes: Mapping[str, tuple[str, ...]]
  shape: tuple[int, int, int]
  runs: int
  _model: nn.Module
  _variables: Any

  def predict(self, images: jax.Array | np.ndarray, task: str) -> jax.Array:
    """What the network says of a task.

    Args:
      images: uint8 `[N, H, W, channels]`, of the training's height and width or any other.
      task: its name.

    Returns:
      float `[N, H, W, outputs]`: scores of the classes, numbers in the unit of the training data,
      or vectors of any length.

    Raises:
      KeyError: if there is no such task.
    """
    if task not in self.tasks:
      raise KeyError(f"there is no task {task!r}; there are {', '.join(self.tasks)}")
    outputs: Any = self._model.apply(self._variables, data.signed_image(jnp.asarray(images)))
    return outputs[task]

  def expert(self, task: str) -> Callable[[np.ndarray], np.ndarray]:
    """The network as an expert of `data.experts.fill`.

    Images are brought to the training's height and width, so that one program answers for all.

    Args:
      task: of which labels are made.

    Returns:
      The expert: uint8 `[H, W, 3]` to uint8 `[H, W]`, or `[H, W, 3]` for normals.

    Raises:
      KeyError: if there is no such task.
      ValueError: if no expert has labels of its kind.
    """
    kind = _KINDS.get(self.tasks.get(task, "depth"))
    if kind is None:
      raise ValueError(f"{task!r} is of kind {self.tasks[task]!r}, of which no label is made.")
    size = self.shape[:2]
    ask = jax.jit(functools.partial(self.predict, task=task))
    jax.eval_shape(ask, jnp.zeros((1, *self.shape), jnp.uint8))  # raises where there is no task

    def answer(image: np.ndarray) -> np.ndarray:
      there = image
      if image.shape[:2] != size:
        pil = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
        there = np.asarray(pil)
      return data.experts.map_label(kind, np.asarray(ask(there[None])[0]), image.shape[:2])

    return answer


def load_trained_maps(folder: str | pathlib.Path) -> TrainedMaps:
  """Rebuilds a network of maps that an experiment trained; no training data are needed.

  Args:
    folder: of a finished run, with `network.json` and `weights.safetensors`.

  Returns:
    The network.

  Raises:
    FileNotFoundError: if one of the files is not there.
    ValueError: if they do not fit together, or the network has no maps; it names the folder.

  Example:
    >>> network = load_trained_maps("runs/rooms/multi-task_equal")  # doctest: +SKIP
    >>> depth = network.expert("depth")  # doctest: +SKIP
    >>> data.experts.fill(names, paths, "labels", {"depth": depth})  # doctest: +SKIP
  """
  folder = finished_run(folder)
  try:
    described = json.loads((folder / DESCRIPTION).read_text())
    kinds = described["kinds"]
    backbone = models.create(described["backbone"], **whole_numbers(described["options"]))
    model = models.deeplab(
      backbone,
      {task: outputs for task, (_, outputs, _) in kinds.items()},
      described["architecture"],
      features=described["features"],
      rates=described["rates"],
    )
    shape = tuple(described["shape"])
  except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
    raise ValueError(f"{folder / DESCRIPTION} describes no network of maps ({error!r}).") from None
  found = load_weights(folder / WEIGHTS)
  wanted = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape), jnp.float32))
  check_weights(folder, wanted, found)
  return TrainedMaps(
    {task: kind for task, (kind, _, _) in kinds.items()},
    {task: tuple(names) for task, (kind, _, names) in kinds.items() if kind == "classes"},
    shape,
    len(jax.tree.leaves(found)[0]),
    model,
    jax.tree.map(lambda leaf: leaf[0], found),
  )
