"""Classification by the nearest label."""

import jax
import jax.numpy as jnp


def nearest_label(outputs: jax.typing.ArrayLike, labels: jax.typing.ArrayLike) -> jax.Array:
  """Classify outputs by the nearest label.

  `argmin_c mean((output - label_c)^2)`, by one matrix product, without a `[B, C, dim]`
  temporary.

  Args:
    outputs: float `[batch, dim]`, in the range of the labels: for a binary head pass
      `jax.nn.sigmoid(logits)`.
    labels: `[num_classes, dim]`, e.g. of `uniform_labels` or `binary_labels`.

  Returns:
    int32 `[batch]` class indices; the lowest one among equals.

  Raises:
    ValueError: if the shapes do not fit.

  Example:
    >>> import jax.numpy as jnp
    >>> labels = jnp.array([[0.0, 0.0], [80.0, 80.0]])
    >>> nearest_label(jnp.array([[10.0, 60.0], [70.0, 20.0]]), labels)
    Array([0, 1], dtype=int32)

  Reference:
    Binary Labels, section 6.3; "dense labels" of Chen et al. (2021).
  """
  outputs, labels = jnp.asarray(outputs), jnp.asarray(labels)
  if outputs.ndim != 2 or labels.ndim != 2 or outputs.shape[1] != labels.shape[1]:
    raise ValueError(
      "outputs must be [batch, dim] and labels [num_classes, dim] with the same dim, "
      f"got {outputs.shape} and {labels.shape}."
    )
  dtype = jnp.promote_types(jnp.result_type(outputs, labels), jnp.float32)
  outputs, labels = outputs.astype(dtype), labels.astype(dtype)
  # Distances do not change with the origin; around the labels' mean the squares cancel least.
  centre = labels.mean(axis=0)
  outputs, labels = outputs - centre, labels - centre
  inner = jnp.matmul(outputs, labels.T, precision=jax.lax.Precision.HIGHEST)
  # |output|^2 is the same for every class and left out.
  return jnp.argmin(jnp.square(labels).sum(axis=1) - 2 * inner, axis=1).astype(jnp.int32)
