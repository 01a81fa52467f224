"""DGR on maps: dummy heads that read what a task's own head reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.dgr.regularize import FURTHER
from experiments.problems.maps import MapTask, map_loss
from jaxmtl import models, regularization
from jaxmtl.models.architecture import Architecture


class MapHead(NamedTuple):
  """A head whose output has the size of the images, as DGR's dummies are called.

  Attributes:
    head: the task's.
    size: height and width.
  """

  head: Any
  size: tuple[int, int]

  def init(self, key: jax.Array, features: jax.Array) -> Any:
    """Draw its variables."""
    return self.head.init(key, features)

  def apply(self, variables: Any, features: jax.Array) -> jax.Array:
    """Map `[B, h, w, C]` to `[B, H, W, K]`."""
    return models.resize_aligned(self.head.apply(variables, features), self.size)


class MapHeads(NamedTuple):
  """What DGR needs of a network for maps, whose tasks may read different features (MTAN).

  Attributes:
    model: the network.
    tasks: by name.
    shape: of an image.
    normal_loss: as in `map_problem`.
  """

  model: Architecture
  tasks: Mapping[str, MapTask]
  shape: tuple[int, ...]
  normal_loss: str

  def draw(self, key: jax.Array, variables: Any, count: int) -> dict[str, Any]:
    """So many dummies a task."""
    key = jax.random.fold_in(key, FURTHER)
    images = jnp.zeros((2, *self.shape))
    _, features = self.model.apply(variables, images, method="with_features")
    keys = jax.random.split(key, len(self.tasks))
    return {
      task: regularization.dummy_heads(one, self._head(task), features[task], count)[task]
      for one, task in zip(keys, self.tasks, strict=True)
    }

  def norms(self, dummies: Any, features: Any, batch: Any, **options: Any) -> dict[str, jax.Array]:
    """DGR's penalty of weight 1, by task; `options` as those of `regularization.dgr`."""

    def of(task: str) -> jax.Array:
      def loss(output: Any, target: Any) -> Any:
        return map_loss(self.tasks[task], output, target, self.normal_loss)

      found = regularization.dgr(
        self._head(task), dummies, features[task], batch, weight=1.0, loss_fns=loss, **options
      )
      return found[task]

    return {task: of(task) for task in self.tasks}

  def _head(self, task: str) -> dict[str, MapHead]:
    return {task: MapHead(self.model.heads[task], (self.shape[0], self.shape[1]))}
