"""What the pixels of a class have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import guards
from jaxmtl.losses.validity import validity

# As small as a length may be before it is no direction.
_EPS = 1e-8


class Pixels(NamedTuple):
  """Pixels of a batch in a row.

  Attributes:
    features: float `[P, D]`, zero where there is no class.
    classes: int32 `[P]`, the number of classes where there is none.
    num_classes: C.
  """

  features: jax.Array
  classes: jax.Array
  num_classes: int

  @property
  def counts(self) -> jax.Array:
    """How many pixels each class has, int32 `[C]`."""
    return self.one_hot.sum(0, dtype=jnp.int32)

  @property
  def one_hot(self) -> jax.Array:
    """Bool `[P, C]`."""
    return self.classes[:, None] == jnp.arange(self.num_classes)


def class_means(
  representations: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_classes: int,
  valid: Any = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Mean representation of each class, ReCo's positive keys.

  .. math:: r_c = \frac{1}{|P_c|} \sum_{p \in P_c} r_p

  Args:
    representations: float `[..., D]`, e.g. `[batch, height, width, D]`.
    labels: integer classes `[...]`; negative ones have none.
    num_classes: C.
    valid: bool or 0/1 `[...]`; None: all pixels with a class are.

  Returns:
    Float `[C, D]`, zeros for a class without pixels, and how many pixels each has, int32 `[C]`.

  Raises:
    ValueError: if shapes do not fit, or a valid label is no class and values are known.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.contrast import class_means
    >>> means, counts = class_means(jnp.array([[1.0], [3.0], [9.0]]), jnp.array([0, 0, -1]), 2)
    >>> means.tolist(), counts.tolist()
    ([[2.0], [0.0]], [2, 0])

  Reference: Liu, Zhi, Johns and Davison, "Bootstrapping Semantic Segmentation with Regional
  Contrast", 2022, eq. 3.
  """
  return means_of(pixels_of(representations, labels, num_classes, valid))


def class_relations(means: jax.typing.ArrayLike) -> jax.Array:
  r"""Cosine between the mean representations of all pairs of classes: ReCo's graph.

  .. math:: G_{pq} = \cos(r_p, r_q)

  Args:
    means: float `[C, D]`, as of `class_means`.

  Returns:
    Float `[C, C]`; 0 with a class without pixels.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.contrast import class_relations
    >>> class_relations(jnp.array([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]])).tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]

  Reference: the same, eq. 4.
  """
  directions = unit(jnp.asarray(means))
  return jnp.matmul(directions, directions.T, precision=jax.lax.Precision.HIGHEST)


def pixels_of(
  representations: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_classes: int,
  valid: Any = None,
) -> Pixels:
  """Checks, and puts all pixels in a row; arguments as `class_means`'."""
  features, classes = jnp.asarray(representations), jnp.asarray(labels)
  if features.shape[:-1] != classes.shape or not classes.ndim:
    raise ValueError(
      f"labels must have the shape of representations without the last axis, "
      f"{features.shape[:-1]}, got {classes.shape}: bring labels to their resolution, each the "
      "nearest."
    )
  if not jnp.issubdtype(classes.dtype, jnp.integer):
    raise TypeError(f"labels must be integer classes, got dtype {classes.dtype}.")
  if num_classes < 2:
    raise ValueError(f"num_classes must be at least 2 to be told apart, got {num_classes}.")
  takes_part = classes >= 0
  if valid is not None:
    if jnp.shape(valid) != classes.shape:
      raise ValueError(
        f"valid must have the shape of labels, {classes.shape}, got {jnp.shape(valid)}."
      )
    where, soft = validity(valid, classes.shape, "valid")
    takes_part &= where if soft is None else soft > 0  # type: ignore[operator]
  if not guards.is_traced(classes) and not guards.is_traced(takes_part):
    wrong = np.asarray(classes)[np.asarray(takes_part & (classes >= num_classes))]
    if wrong.size:
      raise ValueError(
        f"labels must be classes from 0 to {num_classes - 1} where valid, got {wrong.flat[0]}; "
        "void is below 0."
      )
  takes_part &= classes < num_classes
  classes = jnp.where(takes_part, classes, num_classes).astype(jnp.int32).reshape(-1)
  features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
  # Beneath the mask there may be anything, NaN too.
  features = jnp.where(takes_part[..., None], features, 0)
  return Pixels(features.reshape(-1, features.shape[-1]), classes, num_classes)


def means_of(pixels: Pixels) -> tuple[jax.Array, jax.Array]:
  """As `class_means`."""
  counts = pixels.counts
  sums = jnp.matmul(
    pixels.one_hot.T.astype(pixels.features.dtype),
    pixels.features,
    precision=jax.lax.Precision.HIGHEST,
  )
  return sums / jnp.maximum(counts, 1)[:, None], counts


def unit(vectors: jax.Array) -> jax.Array:
  """Of length 1, those of length 0 as they are; differentiable there."""
  square = (vectors**2).sum(-1, keepdims=True)
  return vectors * jax.lax.rsqrt(jnp.maximum(square, _EPS**2))
