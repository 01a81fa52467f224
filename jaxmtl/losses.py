"""Task losses with validity masks: a task without labels has loss 0 and zero gradient."""

import jax
import jax.numpy as jnp
import optax

__all__ = [
  "binary_cross_entropy",
  "cross_entropy",
  "focal",
  "label_entropy",
  "mean_squared_error",
  "smooth_l1",
]


def cross_entropy(
  logits: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  mask: jax.typing.ArrayLike | None = None,
) -> jax.Array:
  """Softmax cross-entropy of integer labels, averaged over the valid examples.

  `mean over valid i of -log softmax(logits_i)[labels_i]`, or 0 if no example is valid.

  Args:
    logits: float `[..., num_classes]`, e.g. `[batch, num_classes]`, or
      `[batch, height, width, num_classes]` for dense prediction.
    labels: integers `[...]` in `0 .. num_classes - 1`. Masked ones may hold anything.
    mask: validity `[...]` (or its leading axes), boolean or 0/1; None means that all are valid.

  Returns:
    A scalar, float32 (float64 for float64 logits).

  Raises:
    ValueError: if the shapes do not fit.
    TypeError: if `labels` are not integers.

  Example:
    >>> import jax.numpy as jnp
    >>> logits = jnp.array([[0.0, 0.0], [3.0, jnp.nan]])
    >>> round(float(cross_entropy(logits, jnp.array([1, 0]), mask=jnp.array([True, False]))), 4)
    0.6931
  """
  logits, labels = _accumulation(logits), jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise TypeError(
      f"labels must be integer class indices, got dtype {labels.dtype}; "
      "take argmax(-1) of one-hot labels."
    )
  if logits.shape[:-1] != labels.shape:
    raise ValueError(
      f"labels must have the shape of logits without the class axis, {logits.shape[:-1]}, "
      f"got {labels.shape}."
    )
  valid = _validity(mask, labels.shape)
  # Inputs are replaced before the loss: masking its value alone lets 0 * NaN into the gradient.
  if valid is not None:
    logits = jnp.where(valid[..., None], logits, 0.0)
    labels = jnp.where(valid, labels, 0)
  return _masked_mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels), valid)


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
    ValueError: if the shapes differ, or for another `gamma`.

  Example:
    >>> import jax.numpy as jnp
    >>> round(float(focal(jnp.zeros(2), jnp.array([1.0, 0.0]))), 4)  # log(2) / 4
    0.1733

  Reference:
    Lin et al., "Focal Loss for Dense Object Detection", 2017; soft labels as in Liu, Davison and
    Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning", 2019, section 3.1.
  """
  if gamma != 0 and not gamma >= 1:
    raise ValueError(f"gamma must be 0 or at least 1, got {gamma}; below 1 gradients are infinite.")
  logits, soft_labels, _ = _elementwise("logits", logits, soft_labels, None)
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
    ValueError: if the labels are not `[batch, num_classes]`.

  Example:
    >>> import jax.numpy as jnp
    >>> round(float(label_entropy(jnp.eye(2))), 4)
    -0.6931

  Reference:
    Liu, Davison and Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning", 2019,
    section 3.3.
  """
  labels = _accumulation(labels)
  if labels.ndim != 2:
    raise ValueError(f"labels must have shape [batch, num_classes], got {labels.shape}.")
  mean = labels.mean(axis=0)
  # The inner condition keeps the gradient of a class that is never used finite.
  return jnp.where(mean > 0, mean * jnp.log(jnp.where(mean > 0, mean, 1)), 0).sum()


def binary_cross_entropy(
  logits: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  mask: jax.typing.ArrayLike | None = None,
) -> jax.Array:
  """Sigmoid cross-entropy, averaged over bits and valid examples.

  `mean of -t log sigmoid(z) - (1 - t) log sigmoid(-z)`, or 0 if no example is valid. Computed
  from the logits, hence finite for every finite logit.

  Args:
    logits: float `[batch, ..., bits]`.
    targets: the same shape, values in `[0, 1]` (bits, or probabilities). Masked ones may hold
      anything.
    mask: validity over the leading axes of `logits` (`[batch]`: whole examples; the full shape:
      single bits), boolean or 0/1; None means that all are valid.

  Returns:
    A scalar, float32 (float64 for float64 logits).

  Raises:
    ValueError: if the shapes do not fit.

  Example:
    >>> import jax.numpy as jnp
    >>> round(float(binary_cross_entropy(jnp.zeros((2, 8)), jnp.ones((2, 8)))), 4)
    0.6931

  Reference:
    Binary Labels, section 5.4: the loss of the auxiliary head.
  """
  logits, targets, valid = _elementwise("logits", logits, targets, mask)
  return _masked_mean(optax.sigmoid_binary_cross_entropy(logits, targets), valid)


def smooth_l1(
  outputs: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  mask: jax.typing.ArrayLike | None = None,
  beta: float = 1.0,
) -> jax.Array:
  """Smooth L1 (Huber) loss, averaged over elements and valid examples.

  With `e = |outputs - targets|`: `e^2 / (2 beta)` where `e < beta`, else `e - beta / 2`.

  Args:
    outputs: float `[batch, ...]`.
    targets: the same shape. Masked ones may hold anything.
    mask: validity over the leading axes of `outputs`, boolean or 0/1; None: all are valid.
    beta: where the loss turns from quadratic to linear, > 0, in the units of the targets.

  Returns:
    A scalar, float32 (float64 for float64 outputs); 0 if nothing is valid.

  Raises:
    ValueError: if the shapes do not fit, or `beta` is not positive.

  Example:
    >>> import jax.numpy as jnp
    >>> float(smooth_l1(jnp.array([0.5, 3.0]), jnp.zeros(2)))
    1.3125

  Reference:
    Binary Labels, section 6.3: the loss of the dense labels it is compared with.
  """
  if not beta > 0:
    raise ValueError(f"beta must be positive, got {beta}; for the L1 loss pass a small beta.")
  outputs, targets, valid = _elementwise("outputs", outputs, targets, mask)
  return _masked_mean(optax.huber_loss(outputs, targets, delta=beta) / beta, valid)


def mean_squared_error(
  outputs: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  mask: jax.typing.ArrayLike | None = None,
) -> jax.Array:
  """Squared error, averaged over elements and valid examples.

  Args:
    outputs: float `[batch, ...]`.
    targets: the same shape. Masked ones may hold anything.
    mask: validity over the leading axes of `outputs`, boolean or 0/1; None: all are valid.

  Returns:
    A scalar, float32 (float64 for float64 outputs); 0 if nothing is valid.

  Raises:
    ValueError: if the shapes do not fit.

  Example:
    >>> import jax.numpy as jnp
    >>> float(mean_squared_error(jnp.array([1.0, 3.0]), jnp.zeros(2)))
    5.0
  """
  outputs, targets, valid = _elementwise("outputs", outputs, targets, mask)
  return _masked_mean(optax.squared_error(outputs, targets), valid)


def _accumulation(values: jax.typing.ArrayLike) -> jax.Array:
  """Cast to float32 or higher: a bfloat16 mean over 4096 bits keeps 2 digits."""
  values = jnp.asarray(values)
  return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _validity(mask: jax.typing.ArrayLike | None, shape: tuple[int, ...]) -> jax.Array | None:
  """Broadcast the mask to booleans of the full shape."""
  if mask is None:
    return None
  mask = jnp.asarray(mask).astype(bool)
  if mask.shape != shape[: mask.ndim]:
    raise ValueError(
      f"mask must cover the leading axes of {shape}, got shape {mask.shape}; "
      f"one value an example has shape {shape[:1]}."
    )
  return jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def _elementwise(
  name: str,
  outputs: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  mask: jax.typing.ArrayLike | None,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Check outputs, targets and mask, and put zeros where nothing is valid."""
  outputs, targets = _accumulation(outputs), _accumulation(targets)
  if outputs.shape != targets.shape:
    # Broadcasting [batch, 1] against [batch] would average over batch^2 wrong pairs.
    raise ValueError(
      f"targets must have the shape of {name}, {outputs.shape}, got {targets.shape}."
    )
  valid = _validity(mask, outputs.shape)
  if valid is not None:
    outputs, targets = jnp.where(valid, outputs, 0.0), jnp.where(valid, targets, 0.0)
  return outputs, targets, valid


def _masked_mean(losses: jax.Array, valid: jax.Array | None) -> jax.Array:
  if valid is None:
    return losses.mean()
  return jnp.where(valid, losses, 0.0).sum() / jnp.maximum(valid.sum(), 1)
