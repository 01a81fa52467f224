"""Cross-entropies of classes and of bits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmtl.losses.validity import (
  accumulation,
  as_classes,
  check_share,
  check_vector,
  counted,
  same_shape,
)


def cross_entropy(
  logits: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  mask: Any = None,
  *,
  weights: Any = None,
  class_weights: Any = None,
  label_smoothing: float = 0.0,
  ignore: int | None = None,
) -> jax.Array:
  r"""Softmax cross-entropy of integer labels, averaged over the labelled examples.

  .. math:: L = \frac{\sum_i u_i c_{y_i} \ell_i}{\sum_i u_i c_{y_i}}, \qquad
            \ell_i = -(1 - \epsilon) \log p_{i, y_i}
            - \frac{\epsilon}{K c_{y_i}} \sum_k c_k \log p_{ik}

  with p the softmax of the logits, K classes, weights u of examples and c of classes; 0 if no
  example is labelled.

  Args:
    logits: float `[..., num_classes]`, e.g. `[batch, num_classes]`, or
      `[batch, height, width, num_classes]` for dense prediction.
    labels: integers `[...]` in `0 .. num_classes - 1`. Where masked or ignored they may hold
      anything.
    mask: validity `[...]` (or its leading axes), boolean or 0/1; None means that all are valid.
      Numbers under `jax.jit` count as `weights` do.
    weights: u, not negative, of the same shapes; 0 leaves an example out.
    class_weights: c `[num_classes]`, not negative; larger ones pull the network towards a rare
      class.
    label_smoothing: epsilon in [0, 1], the share of each label that is spread over all classes.
    ignore: label of examples that have none, such as 255 or -1.

  Returns:
    A scalar, float32 (float64 for float64 logits).

  Raises:
    ValueError: if the shapes do not fit, an option is out of range, or, where values are known, a
      label that takes part is no class. Under `jax.jit` such a label takes no part.
    TypeError: if `labels` are not integers.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import cross_entropy
    >>> logits = jnp.array([[0.0, 0.0], [3.0, jnp.nan]])
    >>> round(float(cross_entropy(logits, jnp.array([1, 0]), mask=jnp.array([True, False]))), 4)
    0.6931
    >>> round(float(cross_entropy(logits, jnp.array([1, 255]), ignore=255)), 4)
    0.6931
  """
  logits, labels = accumulation(logits), as_classes("labels", labels)
  if logits.shape[:-1] != labels.shape:
    raise ValueError(
      f"labels must have the shape of logits without the class axis, {logits.shape[:-1]}, "
      f"got {labels.shape}."
    )
  check_share("label_smoothing", label_smoothing)
  num_classes = logits.shape[-1]
  sound = (labels >= 0) & (labels < num_classes)
  found = (
    "labels",
    labels,
    sound,
    f"classes from 0 to {num_classes - 1}, as the logits have {num_classes}",
  )
  takes_part = counted(labels.shape, found, mask, weights, ignore)
  logits, labels = takes_part.replace(logits), takes_part.replace(labels)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  if class_weights is None:
    if isinstance(label_smoothing, jax.Array) or label_smoothing:
      losses += label_smoothing * (-jax.nn.log_softmax(logits).mean(-1) - losses)
    return takes_part.mean(losses)
  by_class = check_vector("class_weights", class_weights, num_classes).astype(logits.dtype)
  of_label = by_class[labels]
  losses = of_label * losses
  if isinstance(label_smoothing, jax.Array) or label_smoothing:
    losses += label_smoothing * (-(by_class * jax.nn.log_softmax(logits)).mean(-1) - losses)
  total = takes_part.mean(of_label)
  return takes_part.mean(losses) / jnp.where(total > 0, total, 1)


def binary_cross_entropy(
  logits: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  mask: Any = None,
  *,
  weights: Any = None,
  pos_weight: Any = None,
  label_smoothing: float = 0.0,
  ignore: float | None = None,
) -> jax.Array:
  r"""Sigmoid cross-entropy, averaged over bits and labelled examples.

  .. math:: \ell = -p \, t \log \sigma(z) - (1 - t) \log \sigma(-z)

  averaged with the weights, or 0 if nothing is labelled. Computed from the logits, hence finite for
  every finite logit.

  Args:
    logits: float `[batch, ..., bits]`.
    targets: the same shape, values in `[0, 1]` (bits, or probabilities). Where masked or ignored
      they may hold anything.
    mask: validity over the leading axes of `logits` (`[batch]`: whole examples; the full shape:
      single bits), boolean or 0/1; None means that all are valid. Numbers under `jax.jit` count as
      `weights` do.
    weights: not negative, of the same shapes; the mean is weighted by them.
    pos_weight: p, a number or one a bit, not negative; larger ones make the network miss fewer of
      the rare ones.
    label_smoothing: epsilon in [0, 1]: targets become `(1 - epsilon) t + epsilon / 2`.
    ignore: target of what has no label, such as 255, -1 or NaN.

  Returns:
    A scalar, float32 (float64 for float64 logits).

  Raises:
    ValueError: if the shapes do not fit, an option is out of range, or, where values are known, a
      target that takes part is not in [0, 1]. Under `jax.jit` such a target takes no part.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import binary_cross_entropy
    >>> round(float(binary_cross_entropy(jnp.zeros((2, 8)), jnp.ones((2, 8)))), 4)
    0.6931
    >>> targets = jnp.array([1, 0, 255], jnp.uint8)
    >>> round(float(binary_cross_entropy(jnp.zeros(3), targets, pos_weight=3.0, ignore=255)), 4)
    1.3863

  Reference:
    Binary Labels, section 5.4: the loss of the auxiliary head.
  """
  logits, targets = same_shape("logits", logits, targets)
  check_share("label_smoothing", label_smoothing)
  sound = (targets >= 0) & (targets <= 1)
  found = ("targets", targets, sound, "probabilities in [0, 1]")
  takes_part = counted(targets.shape, found, mask, weights, ignore)
  logits, targets = takes_part.replace(logits), takes_part.replace(targets)
  targets = (1 - label_smoothing) * targets + label_smoothing / 2
  if pos_weight is None:
    return takes_part.mean(optax.sigmoid_binary_cross_entropy(logits, targets))
  if jnp.ndim(pos_weight):
    pos_weight = check_vector("pos_weight", pos_weight, logits.shape[-1])
  else:
    pos_weight = check_vector("pos_weight", jnp.reshape(pos_weight, 1), 1)[0]
  positive = pos_weight * targets * jax.nn.softplus(-logits)
  return takes_part.mean(positive + (1 - targets) * jax.nn.softplus(logits))
