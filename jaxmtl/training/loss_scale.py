"""What a train step multiplies losses by."""

from __future__ import annotations

import math
from typing import Any

import jax

from jaxmtl.transforms.loss_scale import LossScaleState

DYNAMIC = "dynamic"


def check_loss_scale(loss_scale: Any) -> None:
  """Raises ValueError for what is no scale."""
  number = isinstance(loss_scale, int | float) and not isinstance(loss_scale, bool)
  if loss_scale != DYNAMIC and not (number and 0 < loss_scale < math.inf):
    raise ValueError(
      f'loss_scale must be positive or "dynamic", got {loss_scale!r}; 1 leaves losses alone.'
    )


def scale_of(loss_scale: Any, optimizer_state: Any) -> Any:
  """The number, or that of the optimiser's state.

  Raises:
    ValueError: if the state should have a scale and has none or several; or if it has one that
      nobody would multiply losses by.
  """
  nodes = jax.tree.leaves(optimizer_state, is_leaf=lambda node: isinstance(node, LossScaleState))
  scales = [node.loss_scale for node in nodes if isinstance(node, LossScaleState)]
  if loss_scale != DYNAMIC:
    if scales:
      raise ValueError(
        f"loss_scale is {loss_scale}, but the optimizer adapts one: pass "
        'loss_scale="dynamic", or leave jaxmtl.dynamic_loss_scale out.'
      )
    return loss_scale
  if len(scales) != 1:
    raise ValueError(
      f'loss_scale="dynamic" needs one scale in the optimizer\'s state, which has {len(scales)}: '
      "jaxmtl.dynamic_loss_scale(optimizer)."
    )
  return scales[0]
