"""Relative positions of the patches in a window, as rows of a table of biases."""

import functools
from typing import NamedTuple

import flax.linen as nn
import numpy as np


class Positions(NamedTuple):
  """Where each pair of tokens finds its bias.

  Attributes:
    pairs: int `[N, N]`, the table's row for each query and key.
    rows: number of rows of the table.
  """

  pairs: np.ndarray
  rows: int


@functools.cache
def relative_positions(
  height: int, width: int, *, reach: tuple[int, int] | None = None, class_token: bool = False
) -> Positions:
  """Rows for the pairs of patches of a window, whose row-major order is that of the tokens.

  The pair of query (i, j) and key (k, l) has row `(i - k + R - 1) (2 S - 1) + j - l + S - 1`. A
  class token in front takes three more rows: it to patches, patches to it, and it to itself.

  Args:
    height: number of the window's rows of patches.
    width: number of its columns.
    reach: largest window (R, S) that the table serves; None for this one.
    class_token: whether a class token stands in front.

  Returns:
    The rows for `N = height width` tokens, or one more.

  Example:
    >>> from jaxmtl.models.relative import relative_positions
    >>> relative_positions(1, 2).pairs.tolist(), relative_positions(1, 2).rows
    ([[1, 0], [2, 1]], 3)

  References: Liu et al., "Swin Transformer", 2021, section 3.2; Bao et al., "BEiT", 2022.
  """
  rows, columns = (height, width) if reach is None else reach
  i, j = (n.reshape(-1) for n in np.indices((height, width)))
  down = i[:, None] - i[None, :] + rows - 1
  index = down * (2 * columns - 1) + j[:, None] - j[None, :] + columns - 1
  total = (2 * rows - 1) * (2 * columns - 1)
  if not class_token:
    return Positions(index, total)
  index = np.pad(index, ((1, 0), (1, 0)))
  index[0, :], index[:, 0], index[0, 0] = total, total + 1, total + 2
  return Positions(index, total + 3)


def check_positions(module: nn.Module, name: str, shape: tuple[int, ...]) -> None:
  """Raise if the variables hold position parameters for images of another size."""
  if not module.has_variable("params", name):
    return
  found: tuple[int, ...] = module.get_variable("params", name).shape
  if found != shape:
    raise ValueError(
      f"the variables' {name} has shape {found}, images of this size need {shape}: initialise the"
      " variables with such images (load_pretrained then resizes pre-trained positions)"
    )
