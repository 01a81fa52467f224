"""A trained network from its folder alone: its description, its weights, its answers."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import data
from jaxmtl._extras import Optional
from jaxmtl.training.evaluation import predict
from jaxmtl.training.weights import load_weights

if TYPE_CHECKING:
  import flax.linen as nn

  from jaxmtl import models
else:
  nn = Optional("flax.linen", "models", __name__)
  models = Optional("jaxmtl.models", "models", __name__)

DESCRIPTION, WEIGHTS = "network.json", "weights.safetensors"
# All else in a description is an option of the backbone.
_KNOWN = ("backbone", "architecture", "hidden", "shape", "statistics", "tasks")


@dataclasses.dataclass(frozen=True)
class Trained:
  """A network of images with tasks, of one or more training runs (seeds).

  Attributes:
    tasks: by name: names of the classes, or their numbers as text; none for a number.
    shape: of an image, `[height, width, channels]`.
    runs: how many seeds there are.
  """

  tasks: Mapping[str, tuple[str, ...]]
  shape: tuple[int, int, int]
  runs: int
  _model: nn.Module
  _variables: Any
  _description: Mapping[str, Any]

  def predict(self, images: Any, *, batch_size: int = 250) -> dict[str, np.ndarray]:
    """What the network says, mean over its runs.

    Args:
      images: uint8 `[N, height, width, channels]`, or a source of examples with an `image`, such as
        `data.ImageFiles`, of which a batch at a time is in memory.
      batch_size: images at a time.

    Returns:
      By task: probabilities of the classes `[N, classes]`, the mean of the runs' probabilities; or
      numbers `[N]` in the unit of the training data, the mean of the runs' numbers.

    Raises:
      ValueError: if images have another shape, or are not uint8.
    """
    one = images[0]["image"] if not hasattr(images, "dtype") else images[0]
    if tuple(one.shape) != tuple(self.shape) or one.dtype != np.uint8:
      raise ValueError(
        f"images must be uint8 of shape {tuple(self.shape)}, got {one.dtype} of {one.shape}."
      )
    mean, std = (np.asarray(x, np.float32) for x in self._description["statistics"])

    def answers(variables: Any, image: jax.Array) -> Any:
      outputs: Any = self._model.apply(variables, data.normalize(image, mean, std))
      return {task: self._answer(task, outputs[task]) for task in self.tasks}

    def apply(variables: Any, batch: Any) -> Any:
      found = jax.vmap(answers, (0, None))(variables, batch["image"])
      return jax.tree.map(lambda x: x.mean(0), found)

    examples = {"image": images} if hasattr(images, "dtype") else images
    return predict(apply, self._variables, examples, batch_size=batch_size)

  def _answer(self, task: str, output: jax.Array) -> jax.Array:
    if self.tasks[task]:
      return jax.nn.softmax(output, axis=-1)
    kind = self._description["tasks"][task]
    return output[..., 0] * kind["scale"] + kind["mean"]


def finished_run(folder: str | pathlib.Path) -> pathlib.Path:
  """The folder, in which there is a network that can be rebuilt.

  Raises:
    FileNotFoundError: naming the file that is not there.
  """
  folder = pathlib.Path(folder).expanduser()
  for name in (DESCRIPTION, WEIGHTS):
    if not (folder / name).is_file():
      raise FileNotFoundError(
        f"{folder} has no {name}: it is no finished run of a network that can be rebuilt."
      )
  return folder


def load_trained(folder: str | pathlib.Path) -> Trained:
  """Rebuilds a network that an experiment trained; no training data are needed.

  Args:
    folder: of a finished run, with `network.json` and `weights.safetensors`.

  Returns:
    The network.

  Raises:
    FileNotFoundError: if one of the files is not there.
    ValueError: if they do not fit together; it names the folder.

  Example:
    >>> network = load_trained("runs/benchmark/equal")  # doctest: +SKIP
    >>> images = data.ImageFiles(paths, {}, data.Form(3, 64))  # doctest: +SKIP
    >>> network.predict(images)["kind"].argmax(-1)  # doctest: +SKIP
  """
  folder = finished_run(folder)
  try:
    description = json.loads((folder / DESCRIPTION).read_text())
    if "kinds" in description:
      raise ValueError(
        f"{folder} has a network of maps, not of one answer an image: training.load_trained_maps."
      )
    kinds = description["tasks"]
    tasks = {t: _names(kind) for t, kind in kinds.items()}
    options = {k: v for k, v in description.items() if k not in _KNOWN and v is not None}
    backbone = models.create(description["backbone"], **whole_numbers(options))
    hidden = description.get("hidden", 0)
    heads = {t: task_head(kind["classes"] or 1, hidden) for t, kind in kinds.items()}
    model = models.multi_task(description["architecture"], backbone, heads)
    shape = tuple(description["shape"])
  except (KeyError, TypeError, json.JSONDecodeError) as error:
    raise ValueError(f"{folder / DESCRIPTION} does not describe a network ({error!r}).") from None
  variables = load_weights(folder / WEIGHTS)
  image = jnp.zeros((1, *shape), jnp.float32)
  wanted = jax.eval_shape(model.init, jax.random.key(0), image)
  check_weights(folder, wanted, variables)
  runs = len(jax.tree.leaves(variables)[0])
  return Trained(tasks, shape, runs, model, variables, description)


def task_head(
  outputs: int, hidden: int = 0, dense: Callable[[int], nn.Module] | None = None
) -> nn.Module:
  """A head of one linear layer, or of two with so many units between, each made by `dense`."""
  layer = dense or nn.Dense
  if not hidden:
    return layer(outputs)
  return nn.Sequential([layer(hidden), nn.relu, layer(outputs)])


def whole_numbers(options: Mapping[str, Any]) -> dict[str, Any]:
  """Options with integers where JSON and a command line have 16.0 for 16 channels."""
  return {k: int(v) if isinstance(v, float) and v == int(v) else v for k, v in options.items()}


def _names(kind: Mapping[str, Any]) -> tuple[str, ...]:
  names: Sequence[str] = kind["names"] or [str(i) for i in range(kind["classes"])]
  return tuple(names)


def check_weights(folder: pathlib.Path, wanted: Any, found: Any) -> None:
  """Raises ValueError where weights are missing or of another shape."""
  flat = {jax.tree_util.keystr(k): x for k, x in jax.tree_util.tree_leaves_with_path(found)}
  for key, leaf in jax.tree_util.tree_leaves_with_path(wanted):
    name = jax.tree_util.keystr(key)
    if models.PENALTIES in name:
      continue
    shape = flat[name].shape[1:] if name in flat else None
    if shape != leaf.shape:
      raise ValueError(
        f"{folder}: the network of {DESCRIPTION} has {name} of shape {leaf.shape}, {WEIGHTS} has "
        f"{'none' if shape is None else shape}."
      )
