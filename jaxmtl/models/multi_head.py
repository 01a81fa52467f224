"""One backbone, one head a task."""

import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

BACKBONE = "backbone"
_HEAD = "heads_"


class MultiHead(nn.Module):
  """Hard parameter sharing: every task's head reads the same backbone's features.

  Parameters (and batch statistics) lie under `backbone` and `heads_<name>`. A head is any Linen
  module; one whose `__call__` has a parameter `train` gets it.

  Args:
    backbone: Module called as `backbone(images, train=...)`, giving features.
    heads: Head modules by task name; their outputs may have any shape.

  Returns:
    When called with `(images, train=False)`, a dict from task name to the head's output.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> backbone = models.create("convnet4", width=8)
    >>> model = models.MultiHead(backbone, {"digit": nn.Dense(10), "parity": nn.Dense(2)})
    >>> images = jnp.ones((2, 8, 8, 1))
    >>> variables = jax.jit(model.init)(jax.random.key(0), images)
    >>> {name: output.shape for name, output in model.apply(variables, images).items()}
    {'digit': (2, 10), 'parity': (2, 2)}
    >>> features = model.apply(variables, images, method="encode")
    >>> model.apply(variables, features, method="decode")["digit"].shape
    (2, 10)

  Reference: Caruana, "Multitask Learning", 1997, section 2.
  """

  backbone: nn.Module
  heads: Mapping[str, nn.Module]

  def __call__(self, images: jax.Array, train: bool = False) -> dict[str, Any]:
    """Compute every head's output for images `[B, H, W, C]`, by task name."""
    return self.decode(self.encode(images, train), train)

  def encode(self, images: jax.Array, train: bool = False) -> Any:
    """Compute the features of images: `[B, D]` for the bundled backbones."""
    return self.backbone(images, train=train)

  def decode(self, features: Any, train: bool = False) -> dict[str, Any]:
    """Compute every head's output for the backbone's features, by task name."""
    return {
      name: head(features, train=train) if _takes_train(head) else head(features)
      for name, head in self.heads.items()
    }


def shared_mask(params: Any) -> Any:
  """Tell the backbone's parameters from the heads'.

  Args:
    params: The `params` collection of a `MultiHead`.

  Returns:
    A pytree of its structure with True for leaves under `backbone`.

  Raises:
    ValueError: If `params` has no `backbone` at its top.

  Example:
    >>> from jaxmtl.models import shared_mask
    >>> shared_mask({"backbone": {"kernel": 1.0}, "heads_digit": {"bias": 2.0}})
    {'backbone': {'kernel': True}, 'heads_digit': {'bias': False}}
  """
  if BACKBONE not in params:
    raise ValueError(
      f"params must be a MultiHead's 'params' collection, with '{BACKBONE}' at its top, got"
      f" {sorted(params)}"
    )
  return {
    name: jax.tree.map(lambda _, shared=name == BACKBONE: shared, subtree)
    for name, subtree in params.items()
  }


def drop_heads(variables: Mapping[str, Any], *names: str) -> dict[str, Any]:
  """Remove heads from a `MultiHead`'s variables, as auxiliary heads are after training.

  Args:
    variables: Collections (`params`, `batch_stats`, ...) of a `MultiHead`.
    *names: Names of the heads to remove.

  Returns:
    The variables of a `MultiHead` built without these heads: its other predictions are the same.

  Raises:
    ValueError: If there is no such head.

  Example:
    >>> from jaxmtl.models import drop_heads
    >>> params = {"backbone": {"a": 1.0}, "heads_main": {"b": 2.0}, "heads_aux": {"c": 3.0}}
    >>> drop_heads({"params": params}, "aux")
    {'params': {'backbone': {'a': 1.0}, 'heads_main': {'b': 2.0}}}
  """
  known = [key.removeprefix(_HEAD) for key in variables["params"] if key.startswith(_HEAD)]
  if unknown := [name for name in names if name not in known]:
    raise ValueError(f"no head named {unknown}; the variables hold heads {known}")
  dropped = {_HEAD + name for name in names}
  return {
    collection: {key: value for key, value in tree.items() if key not in dropped}
    for collection, tree in variables.items()
  }


def _takes_train(head: nn.Module) -> bool:
  """Whether the head's `__call__` names a parameter `train`."""
  return "train" in inspect.signature(type(head).__call__).parameters
