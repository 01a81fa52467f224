"""Losses of maps: depth, disparity and normals, and pseudo-labels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmtl.losses.validity import (
  Counted,
  accumulation,
  as_classes,
  check_share,
  counted,
  same_shape,
)


def pixel_l1(
  outputs: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  valid: Any = None,
  *,
  weights: Any = None,
  ignore: float | None = None,
) -> jax.Array:
  r"""Absolute error, summed over channels, averaged over valid pixels.

  .. math:: L = \frac{\sum_p u_p \sum_c |\hat y_{pc} - y_{pc}|}{\sum_p u_p}

  The loss of depth, disparity, normals and noise in the Auto-lambda paper.

  Args:
    outputs: float `[..., C]`, e.g. `[batch, height, width, C]`.
    targets: the same shape. Where not valid they may hold anything.
    valid: validity `[...]`, or over its leading axes, boolean or 0/1; None: all are. Numbers under
      `jax.jit` count as `weights` do.
    weights: u, not negative, of the same shapes.
    ignore: target of pixels that have none, in all channels: 0 for depth and normals, -1 for
      disparity, or NaN.

  Returns:
    A scalar, float32 (float64 for float64 outputs); 0 if nothing is valid.

  Raises:
    ValueError: if the shapes do not fit, or, where values are known, a valid target is not finite.
      Under `jax.jit` such a pixel takes no part.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import pixel_l1
    >>> depth = jnp.array([[2.0], [4.0], [0.0]])
    >>> float(pixel_l1(depth + 0.5, depth, ignore=0))
    0.5

  Reference:
    Liu, James, Davison and Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships", 2022,
    section 5.1.
  """
  found, wanted, takes_part = _of_pixels(outputs, targets, valid, weights, ignore)
  return takes_part.mean(jnp.abs(found - wanted).sum(-1))


def cosine_distance(
  outputs: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  valid: Any = None,
  *,
  weights: Any = None,
  ignore: float | None = None,
) -> jax.Array:
  r"""One less the cosine of the angle to the label, averaged over valid pixels.

  .. math:: L = 1 - \frac{\sum_p u_p \cos(\hat y_p, y_p)}{\sum_p u_p}

  The other usual loss of normals; vectors of length 0 count as orthogonal, without a gradient.

  Args:
    outputs: float `[..., C]`.
    targets: the same shape. Where not valid they may hold anything.
    valid: as of `jaxmtl.losses.pixel_l1`.
    weights: the same.
    ignore: the same.

  Returns:
    A scalar in [0, 2], float32 (float64 for float64 outputs); 0 if nothing is valid.

  Raises:
    ValueError: as `jaxmtl.losses.pixel_l1`.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import cosine_distance
    >>> float(cosine_distance(jnp.array([[0.0, 0.0, 2.0]]), jnp.array([[0.0, 1.0, 0.0]])))
    1.0
  """
  found, wanted, takes_part = _of_pixels(outputs, targets, valid, weights, ignore)
  return takes_part.mean(1 - _cosine(found, wanted))


def pseudo_label_cross_entropy(
  logits: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  confidence: jax.typing.ArrayLike,
  *,
  threshold: float = 0.97,
  ignore: int | None = -1,
) -> jax.Array:
  r"""Cross-entropy of a teacher's labels; each image counts by how sure the teacher is of it.

  .. math:: L = \frac{\sum_{n,p : y_{np} \ne \text{void}} \eta_n \ell_{np}}
                     {|\{n, p : y_{np} \ne \text{void}\}|}, \qquad
            \eta_n = \frac{|\{p : q_{np} \ge \tau\}|}{|\{p : y_{np} \ne \text{void}\}|}

  Args:
    logits: float `[batch, ..., num_classes]`.
    labels: the teacher's classes, integers `[batch, ...]`.
    confidence: q, its probabilities of them, float `[batch, ...]`.
    threshold: tau in [0, 1]; the higher, the less unsure images count.
    ignore: label of void pixels, such as those that CutOut made; they count in eta's numerator.

  Returns:
    A scalar, float32 (float64 for float64 logits); 0 if every pixel is void.

  Raises:
    ValueError: if the shapes do not fit, `threshold` is not in [0, 1], or, where values are known,
      a label is neither void nor a class.
    TypeError: if `labels` are not integers.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import pseudo_label_cross_entropy
    >>> logits, labels = jnp.zeros((1, 2, 4)), jnp.array([[1, 3]])
    >>> round(float(pseudo_label_cross_entropy(logits, labels, jnp.array([[0.99, 0.5]]))), 4)
    0.6931

  Reference:
    Liu, Zhi, Johns and Davison, "Bootstrapping Semantic Segmentation with Regional Contrast", 2022,
    section 3.
  """
  check_share("threshold", threshold)
  logits, confidence = accumulation(logits), accumulation(confidence)
  labels = as_classes("labels", labels)
  if logits.shape[:-1] != labels.shape or confidence.shape != labels.shape:
    raise ValueError(
      "labels and confidence must have the shape of logits without the class axis, "
      f"{logits.shape[:-1]}, got {labels.shape} and {confidence.shape}."
    )
  classes = logits.shape[-1]
  sound = (labels >= 0) & (labels < classes)
  found = ("labels", labels, sound, f"classes from 0 to {classes - 1}")
  takes_part = counted(labels.shape, found, None, None, ignore, "")
  logits, labels = takes_part.replace(logits), takes_part.replace(labels)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  pixels = tuple(range(1, labels.ndim))
  labelled = takes_part.replace(jnp.ones_like(losses)).sum(pixels)
  sure = (confidence >= threshold).sum(pixels)
  eta = jax.lax.stop_gradient(sure / jnp.maximum(labelled, 1)).astype(losses.dtype)
  return takes_part.mean(eta.reshape(-1, *(1 for _ in pixels)) * losses)


def _of_pixels(
  outputs: Any, targets: Any, valid: Any, weights: Any, ignore: Any
) -> tuple[jax.Array, jax.Array, Counted]:
  """Outputs and targets without what takes no part, pixel by pixel."""
  outputs, targets = same_shape("outputs", outputs, targets)
  if outputs.ndim < 1:
    raise ValueError("outputs must have channels as their last axis, got a scalar.")
  found = ("targets", targets, jnp.isfinite(targets).all(-1), "finite numbers")
  takes_part = counted(targets.shape[:-1], found, valid, weights, ignore, "valid")
  return takes_part.replace(outputs), takes_part.replace(targets), takes_part


def _cosine(first: jax.Array, second: jax.Array) -> jax.Array:
  """0 where a vector is 0, with a gradient of 0."""
  squares = (first**2).sum(-1) * (second**2).sum(-1)
  known = squares > 0
  return jnp.where(known, (first * second).sum(-1) * jax.lax.rsqrt(jnp.where(known, squares, 1)), 0)
