"""Lines one pixel wide: morphological thinning of masks, of NumPy and of JAX arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def thinned(mask: Any) -> Any:
  """Lines of a mask to a width of one pixel, what hangs together still doing so.

  Args:
    mask: bool `[..., H, W]`; of a JAX array, also within `jax.jit`.

  Returns:
    bool, the same shape and kind of array.

  Example:
    >>> import numpy as np
    >>> from jaxmtl._thinning import thinned
    >>> thinned(np.ones((3, 5), bool)).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]

  Reference: Guo and Hall, "Parallel Thinning with Two-Subiteration Algorithms", 1989, algorithm A1,
  as Lam, Lee and Suen, "Thinning Methodologies: A Comprehensive Survey", 1992, have it.
  """
  if isinstance(mask, np.ndarray):
    before = None
    while before is None or (before != mask).any():
      before, mask = mask, _peeled(mask, np)
    return mask

  def further(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    new = _peeled(state[0], jnp)
    return new, (new != state[0]).any()

  return jax.lax.while_loop(lambda state: state[1], further, (mask, jnp.asarray(True)))[0]


def _peeled(mask: Any, xp: Any) -> Any:
  """Without the pixels that the two halves of one iteration take away."""
  height, width = mask.shape[-2:]
  for turn in (0, 4):
    around = xp.pad(mask, [(0, 0)] * (mask.ndim - 2) + [(1, 1), (1, 1)])
    # Counter-clockwise from the right, where the second half begins on the left.
    p = [
      around[..., 1 + row : 1 + row + height, 1 + column : 1 + column + width]
      for row, column in _AROUND[turn:] + _AROUND[:turn]
    ]
    p.append(p[0])
    crossings = sum((~p[i] & (p[i + 1] | p[i + 2])).astype(np.int8) for i in (0, 2, 4, 6))
    one, other = (
      sum((p[i] | p[i + 1]).astype(np.int8) for i in (first, first + 2, first + 4, first + 6))
      for first in (0, 1)
    )
    fewer = xp.minimum(one, other)
    edge = ~((p[1] | p[2] | ~p[7]) & p[0])
    mask = mask & ~((crossings == 1) & (fewer >= 2) & (fewer <= 3) & edge)
  return mask


_AROUND = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]
