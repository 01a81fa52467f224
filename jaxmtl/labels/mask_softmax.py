"""Mask SoftMax: probabilities over the auxiliary classes of an example's primary class."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def mask_softmax(
  logits: jax.typing.ArrayLike, primary: jax.typing.ArrayLike, psi: Sequence[int] | jax.Array
) -> jax.Array:
  r"""Soft auxiliary labels that are zero outside the block of the primary class.

  .. math:: p_k = \frac{M_k e^{z_k}}{\sum_j M_j e^{z_j}}, \qquad M_k = 1
            \text{ where auxiliary class } k \text{ belongs to the primary class, else } 0

  The blocks lie one after another: the first `psi[0]` auxiliary classes belong to primary class 0,
  the next `psi[1]` to primary class 1. The mask applies to the exponentials, so that no weight
  leaks to other blocks (the paper's formula, read by the letter, masks the logits).

  Several hierarchies run together under `jax.vmap` over `psi` as a JAX array, with logits as wide
  as the largest needs: classes beyond the sum are padding, of probability 0.

  Args:
    logits: float `[batch, sum(psi)]`, or wider where `psi` is a JAX array.
    primary: integers `[batch]` in `0 .. len(psi) - 1`.
    psi: auxiliary classes of each primary class: static integers >= 1, or a JAX array `[P]` of
      them, possibly traced. The values of an array are not checked.

  Returns:
    Probabilities of the shape of `logits`, rows summing to 1; float32 or wider.

  Raises:
    ValueError: if `psi` does not fit the logits, or a shape is wrong.
    TypeError: if `primary` are not integers.

  Example:
    >>> import jax.numpy as jnp
    >>> labels = mask_softmax(jnp.zeros((2, 5)), jnp.array([0, 1]), (2, 3))
    >>> [[round(float(p), 2) for p in row] for row in labels]
    [[0.5, 0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.33, 0.33, 0.33]]

  Reference:
    Liu, Davison and Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning", 2019,
    section 3.3.
  """
  logits, primary = jnp.asarray(logits), jnp.asarray(primary)
  block_of = _blocks(logits.shape, psi)
  if primary.shape != logits.shape[:1]:
    raise ValueError(
      f"primary must hold one class an example, shape {logits.shape[:1]}, got {primary.shape}."
    )
  if not jnp.issubdtype(primary.dtype, jnp.integer):
    raise TypeError(f"primary must be integer classes, got dtype {primary.dtype}.")
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  return jax.nn.softmax(logits, axis=-1, where=primary[:, None] == block_of)


def check_psi(psi: Sequence[int]) -> np.ndarray:
  """Static psi as an array, or a ValueError."""
  sizes = np.asarray(psi)
  if sizes.ndim != 1 or not len(sizes) or sizes.dtype.kind not in "iu" or sizes.min() < 1:
    raise ValueError(f"psi must hold one integer of at least 1 a primary class, got {psi!r}.")
  return sizes


def _blocks(shape: tuple[int, ...], psi: Sequence[int] | jax.Array) -> Any:
  """The primary class of every auxiliary class, or one that does not exist for padding."""
  if isinstance(psi, jax.Array):
    if psi.ndim != 1 or not jnp.issubdtype(psi.dtype, jnp.integer) or len(shape) != 2:
      raise ValueError(
        "psi must be integers [P] and logits [batch, classes], got psi of shape "
        f"{psi.shape} and dtype {psi.dtype}, and logits of shape {shape}."
      )
    return jnp.searchsorted(jnp.cumsum(psi), jnp.arange(shape[1]), side="right")
  sizes = check_psi(psi)
  if len(shape) != 2 or shape[1] != sizes.sum():
    raise ValueError(
      f"psi={tuple(psi)} has {sizes.sum()} auxiliary classes in all, so logits must have shape "
      f"[batch, {sizes.sum()}], got {shape}."
    )
  return np.repeat(np.arange(len(sizes)), sizes)
