"""Errors of real maps: depth and disparity, unit normals."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl.losses.validity import accumulation, counted, same_shape

SHARES = (11.25, 22.5, 30.0)
"""Degrees within which the field counts normals as right."""


def absolute_error(
  outputs: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  valid: Any = None,
  *,
  ignore: float | None = None,
) -> jax.Array:
  r"""The absolute error, summed over channels, averaged over valid pixels.

  .. math:: \frac{1}{|V|} \sum_{p \in V} \sum_c |\hat y_{pc} - y_{pc}|

  Papers average this over batches, weighted by their number of images; over all pixels of a split
  it is another number, where batches have unlike numbers of valid pixels.

  Args:
    outputs: float `[..., C]`.
    targets: the same shape.
    valid: validity `[...]` or over the leading axes; None: all are.
    ignore: target of pixels that have none, in all channels, such as 0 for depth.

  Returns:
    A scalar, in the units of the targets; NaN if nothing is valid.

  Raises:
    ValueError: if the shapes differ, or, where values are known, a valid target is not finite.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.metrics import absolute_error
    >>> depth = jnp.array([[2.0], [4.0], [0.0]])
    >>> float(absolute_error(depth + 0.5, depth, ignore=0))
    0.5
  """
  outputs, targets = same_shape("outputs", outputs, targets)
  finite = jnp.isfinite(targets).all(-1)
  found = ("targets", targets, finite, "finite numbers")
  takes_part = counted(targets.shape[:-1], found, valid, None, ignore, "valid")
  errors = jnp.abs(takes_part.replace(outputs) - takes_part.replace(targets)).sum(-1)
  return _or_nan(takes_part, errors)


def angles(outputs: jax.typing.ArrayLike, targets: jax.typing.ArrayLike) -> jax.Array:
  r"""Angles between vectors, in degrees.

  .. math:: \arccos \frac{\langle a, b \rangle}{\|a\| \|b\|}

  Args:
    outputs: float `[..., C]`, of any length but 0, to which every angle is 90.
    targets: the same shape.

  Returns:
    Float `[...]` from 0 to 180.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.metrics import angles
    >>> angles(jnp.array([[0.0, 0.0, 2.0]]), jnp.array([[0.0, 1.0, 0.0]])).tolist()
    [90.0]
  """
  outputs, targets = same_shape("outputs", outputs, targets)
  cosine = (_unit(outputs) * _unit(targets)).sum(-1)
  return jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1)))


def angular_error(
  outputs: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  valid: Any = None,
  *,
  ignore: float | None = None,
) -> dict[str, jax.Array]:
  """Angles of unit normals to their labels, as the field reports them.

  Args:
    outputs: float `[..., 3]`.
    targets: the same shape.
    valid: validity `[...]` or over the leading axes; None: all are.
    ignore: target of pixels that have none, in all channels: 0 for normals.

  Returns:
    By name: `mean` and `median` in degrees, and the shares `within_11.25`, `within_22.5` and
    `within_30`; NaN if nothing is valid.

  Raises:
    ValueError: if the shapes differ, or, where values are known, a valid target is not finite.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.metrics import angular_error
    >>> up = jnp.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> found = angular_error(up, up[jnp.array([0, 0, 2])])
    >>> float(found["mean"]), float(found["median"]), round(float(found["within_30"]), 3)
    (30.0, 0.0, 0.667)
  """
  outputs, targets = same_shape("outputs", outputs, targets)
  finite = jnp.isfinite(targets).all(-1)
  found = ("targets", targets, finite, "finite numbers")
  takes_part = counted(targets.shape[:-1], found, valid, None, ignore, "valid")
  degrees = angles(takes_part.replace(outputs), takes_part.replace(targets))
  counts = takes_part.mean(jnp.ones_like(degrees)) > 0
  mean = _or_nan(takes_part, degrees)
  # The median of numbers alone would not show that there are others among the valid.
  median = jnp.where(jnp.isnan(mean), jnp.nan, jnp.nanmedian(takes_part.replace(degrees, jnp.nan)))
  measured = {"mean": mean, "median": median}
  for limit in SHARES:
    share = takes_part.mean((degrees < limit).astype(degrees.dtype))
    measured[f"within_{limit:g}"] = jnp.where(counts, share, jnp.nan)
  return measured


def _unit(vectors: jax.Array) -> jax.Array:
  vectors = accumulation(vectors)
  length = jnp.sqrt((vectors**2).sum(-1, keepdims=True))
  return vectors / jnp.where(length > 0, length, 1)


def _or_nan(takes_part: Any, values: jax.Array) -> jax.Array:
  """The mean, which the losses have as 0 where nothing counts."""
  return jnp.where(takes_part.mean(jnp.ones_like(values)) > 0, takes_part.mean(values), jnp.nan)
