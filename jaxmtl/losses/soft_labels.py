"""Losses of and on soft labels, as generated ones are."""

import jax
import jax.numpy as jnp

from jaxmtl.losses.validity import accumulation, check_probabilities


def focal(
  logits: jax.typing.ArrayLike, soft_labels: jax.typing.ArrayLike, gamma: float = 2.0
) -> jax.Array:
  """Focal loss of soft labels, one value an example.

  `-sum_k y_k (1 - p_k)^gamma log p_k` with `p = softmax(logits)`: what is right already counts
  little. Differentiable in the labels too.

  Args:
    logits: float `[..., num_classes]`.
    soft_labels: probabilities of the same shape; integer labels as `jax.nn.one_hot`.
    gamma: focus, 0 (cross-entropy) or at least 1.

  Returns:
    `[...]`, not averaged; float32 (float64 for float64 logits).

  Raises:
    ValueError: if the shapes differ, for another `gamma`, or, where values are known, for labels
      that are no probabilities.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import focal
    >>> round(float(focal(jnp.zeros(2), jnp.array([1.0, 0.0]))), 4)  # log(2) / 4
    0.1733

  Reference:
    Lin et al., "Focal Loss for Dense Object Detection", 2017; soft labels as in Liu, Davison and
    Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning", 2019, section 3.1.
  """
  if gamma != 0 and not gamma >= 1:
    raise ValueError(f"gamma must be 0 or at least 1, got {gamma}; below 1 gradients are infinite.")
  logits, soft_labels = accumulation(logits), accumulation(soft_labels)
  if logits.shape != soft_labels.shape:
    raise ValueError(
      f"soft_labels must have the shape of logits, {logits.shape}, got {soft_labels.shape}; "
      "integer labels as jax.nn.one_hot."
    )
  check_probabilities("soft_labels", soft_labels)
  log_p = jax.nn.log_softmax(logits, axis=-1)
  focus = jnp.maximum(-jnp.expm1(log_p), 0) ** gamma if gamma else 1.0
  return -(soft_labels * focus * log_p).sum(-1)


def label_entropy(labels: jax.typing.ArrayLike) -> jax.Array:
  """Negative entropy of the batch's mean label: low where all classes are in use.

  `sum_k q_k log q_k` with `q = mean over the batch of p`. As a term of an outer loss it keeps
  generated labels from collapsing to few classes.

  Args:
    labels: probabilities `[batch, num_classes]`.

  Returns:
    A scalar in `[-log(num_classes), 0]`, float32 or wider.

  Raises:
    ValueError: if the labels are not `[batch, num_classes]`, or, where values are known, no
      probabilities.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import label_entropy
    >>> round(float(label_entropy(jnp.eye(2))), 4)
    -0.6931

  Reference:
    Liu, Davison and Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning", 2019,
    section 3.3.
  """
  labels = accumulation(labels)
  if labels.ndim != 2:
    raise ValueError(f"labels must have shape [batch, num_classes], got {labels.shape}.")
  check_probabilities("labels", labels)
  mean = labels.mean(axis=0)
  # The inner condition keeps the gradient of a class that is never used finite.
  return jnp.where(mean > 0, mean * jnp.log(jnp.where(mean > 0, mean, 1)), 0).sum()
