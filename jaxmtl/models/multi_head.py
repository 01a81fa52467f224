"""One backbone, one head a task."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxmtl.models.architecture import Architecture

BACKBONE = "backbone"


class MultiHead(Architecture):
  """Hard parameter sharing (HPS): every task's head reads the same backbone's features.

  Parameters (and batch statistics) lie under `backbone`, which is shared, and `heads_<task>`.

  Args:
    backbone: module called as `backbone(images, train=...)`, giving features.
    heads: head modules by task name; their outputs may have any shape.
    on_maps: as in `Architecture`, which also says how it is called.

  Returns:
    When called with `(images, train=False)`, a dict from task name to the head's output.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> backbone = models.create("convnet4", width=8)
    >>> model = models.MultiHead(backbone, {"digit": nn.Dense(10), "parity": nn.Dense(2)})
    >>> images = jnp.ones((2, 8, 8, 1))
    >>> variables = jax.jit(model.init)(jax.random.key(0), images)
    >>> apply = jax.jit(model.apply, static_argnames="method")
    >>> {name: output.shape for name, output in apply(variables, images).items()}
    {'digit': (2, 10), 'parity': (2, 2)}
    >>> features = apply(variables, images, method="encode")
    >>> apply(variables, features, method="decode")["digit"].shape
    (2, 10)

  Reference: Caruana, "Multitask Learning", 1997, section 2.
  """

  def features(
    self, images: jax.Array, tasks: Sequence[str], train: bool = False
  ) -> dict[str, jax.Array]:
    """Compute the features once, for all tasks."""
    return dict.fromkeys(tasks, self.encode(images, train))

  def encode(self, images: jax.Array, train: bool = False) -> Any:
    """Compute the features of images: `[B, D]` for the bundled backbones."""
    return self.encode_with(self.backbone, images, train)

  def decode(self, features: Any, train: bool = False) -> dict[str, Any]:
    """Compute every head's output for the backbone's features, by task name."""
    return {task: self.head(task, features, train) for task in self.heads}
