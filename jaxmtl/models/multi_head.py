"""One backbone, one head a task."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxmtl.aggregation import graddrop_layer
from jaxmtl.models.architecture import Architecture

BACKBONE = "backbone"


class MultiHead(Architecture):
  """Hard parameter sharing (HPS): every task's head reads the same backbone's features.

  Parameters (and batch statistics) lie under `backbone`, which is shared, and `heads_<task>`.

  Args:
    backbone: module called as `backbone(images, train=...)`, giving features.
    heads: head modules by task name; their outputs may have any shape.
    on_maps: as in `Architecture`, which also says how it is called.
    graddrop: whether gradients lose signs on their way back from the heads to the backbone, as
      GradDrop's authors have it (`jaxmtl.graddrop_layer`): in each feature only the positive or
      only the negative parts of the tasks' gradients go on, so that tasks that disagree about a
      feature do not cancel, and the backbone learns from fewer of them. Add the losses up then,
      without an aggregator. Calls with `train=True` take the random stream `dropout`; it needs the
      same images for all tasks, and `encode` and `decode` leave it out.

  Returns:
    When called with `(images, train=False)`, a dict from task name to the head's output.

  Raises:
    ValueError: when called, if images are given by task and `graddrop` is True.

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

  References: Caruana, "Multitask Learning", 1997, section 2; for `graddrop` Chen et al., "Just Pick
  a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", 2020.
  """

  graddrop: bool = False

  def features(
    self, images: jax.Array, tasks: Sequence[str], train: bool = False
  ) -> dict[str, jax.Array]:
    """Compute the features once, for all tasks."""
    features = self.encode(images, train)
    if not (self.graddrop and train):
      return dict.fromkeys(tasks, features)
    if len(tasks) < len(self.heads):
      raise ValueError(
        "graddrop=True needs the same images for all tasks, whose gradients meet in their features,"
        f" got images of {', '.join(tasks)} alone; without it, take jaxmtl.graddrop"
      )
    copies = graddrop_layer(features, len(tasks), self.make_rng("dropout"))
    return dict(zip(tasks, copies, strict=True))

  def encode(self, images: jax.Array, train: bool = False) -> Any:
    """Compute the features of images: `[B, D]` for the bundled backbones."""
    return self.encode_with(self.backbone, images, train)

  def decode(self, features: Any, train: bool = False) -> dict[str, Any]:
    """Compute every head's output for the backbone's features, by task name."""
    return {task: self.head(task, features, train) for task in self.heads}
