"""Labels made worse on purpose: what a network makes of bad experts."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def corrupt(key: jax.Array, label: jax.Array, share: float, values: int = 256) -> jax.Array:
  """Puts noise in the place of a share of the pixels.

  Args:
    key: PRNG key.
    label: uint8 `[..., H, W, C]`.
    share: of the pixels, from 0 to 1; all channels of a pixel change together.
    values: noise is from 0 to `values - 1`, all as likely: the number of classes where pixels are
      numbers, or of the objects in each image's table.

  Returns:
    The same shape and type.

  Raises:
    ValueError: if `share` or `values` is out of range.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.data import experts
    >>> label = jnp.full((4, 32, 32, 1), 200, jnp.uint8)
    >>> bad = experts.corrupt(jax.random.key(0), label, 0.3, values=10)
    >>> round(float((bad < 10).mean()), 1), bad.dtype.name
    (0.3, 'uint8')

  Reference: Liu, "Converging Pathways", 2024, section 6.6, figure 6.5.
  """
  if not 0 <= share <= 1 or not 1 <= values <= 256:
    raise ValueError(
      f"share must be from 0 to 1 and values from 1 to 256, got {share} and {values}."
    )
  of_place, of_value = jax.random.split(key)
  changed = jax.random.bernoulli(of_place, share, (*label.shape[:-1], 1))
  noise = jax.random.randint(of_value, label.shape, 0, values).astype(label.dtype)
  return jnp.where(changed, noise, label)


def noise_like(key: jax.Array, label: jax.Array, values: int = 256) -> jax.Array:
  """Labels of an expert that knows nothing: noise at every pixel.

  Args:
    key: PRNG key.
    label: uint8 `[..., H, W, C]`, of which shape and type are taken.
    values: as of `corrupt`.

  Returns:
    The same shape and type.

  Raises:
    ValueError: if `values` is out of range.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.data import experts
    >>> experts.noise_like(jax.random.key(0), jnp.zeros((2, 8, 8, 1), jnp.uint8)).shape
    (2, 8, 8, 1)

  Reference: Liu, "Converging Pathways", 2024, section 6.6, figure 6.5.
  """
  return corrupt(key, label, 1.0, values)


def coarsen(label: jax.Array, factor: int) -> jax.Array:
  """Gives all pixels of a square what the one in its middle has.

  Args:
    label: `[..., H, W, C]`.
    factor: height and width of the squares, in pixels, at least 1.

  Returns:
    The same shape and type.

  Raises:
    ValueError: if the factor is less than 1.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.data import experts
    >>> experts.coarsen(jnp.arange(6).reshape(1, 1, 6, 1), 3).ravel().tolist()
    [1, 1, 1, 4, 4, 4]
  """
  if factor < 1:
    raise ValueError(f"factor must be at least 1, got {factor}.")
  rows, columns = (
    jnp.minimum(jnp.arange(extent) // factor * factor + factor // 2, extent - 1)
    for extent in label.shape[-3:-1]
  )
  return label[..., rows[:, None], columns, :]
