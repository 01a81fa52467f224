"""Measures of label maps, from one matrix of counts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.losses.validity import as_classes, counted


def confusion_matrix(
  predictions: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_classes: int,
  mask: Any = None,
  *,
  ignore: int | None = -1,
) -> jax.Array:
  r"""How often each class was predicted where each class is right.

  .. math:: C_{ij} = |\{ n : y_n = i, \hat y_n = j \}|

  Matrices of several batches add up to that of all, exactly, and those of a sharded batch too.

  Args:
    predictions: integers `[...]` in `0 .. num_classes - 1`, such as `logits.argmax(-1)`.
    labels: integers `[...]`. Where masked or ignored they may hold anything.
    num_classes: K.
    mask: validity over the leading axes, boolean or 0/1.
    ignore: label of void pixels; None: there are none.

  Returns:
    int32 `[K, K]`, rows by label, columns by prediction. Sum what may exceed 2**31 on the host.

  Raises:
    ValueError: if shapes differ, or, where values are known, a label that takes part or a
      prediction is no class. Under `jax.jit` such a pixel is not counted.
    TypeError: if either are not integers.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.metrics import confusion_matrix
    >>> confusion_matrix(jnp.array([0, 1, 1, 0]), jnp.array([0, 1, 0, -1]), 2).tolist()
    [[1, 1], [0, 1]]
  """
  predictions, labels = jnp.asarray(predictions), jnp.asarray(labels)
  if predictions.shape != labels.shape:
    raise ValueError(
      f"predictions and labels must have one shape, got {predictions.shape} and {labels.shape}; "
      "of logits take argmax(-1)."
    )
  predictions, labels = as_classes("predictions", predictions), as_classes("labels", labels)
  wanted = f"classes from 0 to {num_classes - 1}"

  def valid(name: str, values: jax.Array, mask: Any, ignore: int | None) -> jax.Array:
    sound = (values >= 0) & (values < num_classes)
    found = counted(values.shape, (name, values, sound, wanted), mask, None, ignore)
    # Numbers that are not known to be 0 or 1 would be weights.
    where = jnp.ones(values.shape, bool) if found.where is None else found.where
    return where if found.weights is None else where & (found.weights > 0)

  where = valid("labels", labels, mask, ignore) & valid("predictions", predictions, None, None)
  place = jnp.where(where, labels * num_classes + predictions, 0)
  counts = (
    jnp.zeros(num_classes**2, jnp.int32).at[place.ravel()].add(where.ravel().astype(jnp.int32))
  )
  return counts.reshape(num_classes, num_classes)


def class_iou(confusion: Any) -> jax.Array:
  r"""Intersection over union of every class.

  .. math:: \mathrm{IoU}_k = \frac{C_{kk}}{\sum_j C_{kj} + \sum_i C_{ik} - C_{kk}}

  Args:
    confusion: `[K, K]`, as of `confusion_matrix`, of the whole split.

  Returns:
    Float `[K]`, NaN for classes that are neither in labels nor in predictions.

  Example:
    >>> from jaxmtl.metrics import class_iou
    >>> class_iou([[3, 1], [0, 3]]).tolist()
    [0.75, 0.75]
  """
  counts = _square(confusion)
  right = jnp.diagonal(counts)
  union = counts.sum(0) + counts.sum(1) - right
  return jnp.where(union > 0, right / jnp.maximum(union, 1), jnp.nan)


def mean_iou(confusion: Any) -> jax.Array:
  """The mean of `class_iou` over the classes that are in labels or predictions.

  Args:
    confusion: `[K, K]`, as of `confusion_matrix`, of the whole split: the mean of batches' values
      is another number.

  Returns:
    A float scalar; NaN if nothing was counted.

  Example:
    >>> from jaxmtl.metrics import mean_iou
    >>> float(mean_iou([[3, 1, 0], [0, 3, 0], [0, 0, 0]]))
    0.75
  """
  return jnp.nanmean(class_iou(confusion))


def pixel_accuracy(confusion: Any) -> jax.Array:
  """The share of right predictions.

  Args:
    confusion: `[K, K]`, as of `confusion_matrix`.

  Returns:
    A float scalar; NaN if nothing was counted.

  Example:
    >>> from jaxmtl.metrics import pixel_accuracy
    >>> float(pixel_accuracy([[3, 1], [0, 4]]))
    0.875
  """
  counts = _square(confusion)
  total = counts.sum()
  return jnp.where(total > 0, jnp.trace(counts) / jnp.maximum(total, 1), jnp.nan)


def _square(confusion: Any) -> jax.Array:
  if not isinstance(confusion, jax.Array):
    # A sum on the host may be above 2**31, which JAX would cut.
    confusion = np.asarray(confusion, float)
  counts = jnp.asarray(confusion)
  if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
    raise ValueError(f"confusion must be [K, K], as of confusion_matrix, got {counts.shape}.")
  # Counts above 2**24 are no float32 numbers, but their ratios are as good.
  return counts.astype(jnp.promote_types(jnp.float32, jax.dtypes.canonicalize_dtype(float)))
