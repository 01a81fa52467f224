"""Random changes of colour and sharpness that leave labels where they are."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Of red, green and blue in a grey of the same brightness (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)
# A Gaussian is cut off so many standard deviations from its middle.
_REACH = 3


def color_jitter(
  key: jax.Array,
  images: jax.Array,
  *,
  brightness: float = 0.25,
  contrast: float = 0.25,
  saturation: float = 0.25,
  hue: float = 0.25,
  probability: float = 0.8,
) -> jax.Array:
  """Change brightness, contrast, saturation and hue of some images, each by factors of its own.

  Factors are uniform in `[1 - x, 1 + x]` for the first three, the turn of the colour circle in
  `[-hue, hue]`; one after another in this order, each clipped to [0, 1].

  Args:
    key: for the draws.
    images: float in [0, 1], `[batch, height, width, 3]`.
    brightness: x of all channels' factor; 0 leaves it.
    contrast: x of the distance from the image's mean grey.
    saturation: x of each pixel's distance from its grey.
    hue: at most so far, in turns; at most 0.5.
    probability: with which an image is changed at all.

  Returns:
    Images of the same shape and dtype.

  Raises:
    ValueError: if the shape is wrong or a number out of range.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.data import color_jitter
    >>> grey = jnp.full((2, 4, 4, 3), 0.5)
    >>> out = color_jitter(jax.random.key(0), grey, brightness=0)  # grey has no hue, no contrast
    >>> bool(jnp.allclose(out, grey, atol=1e-6))
    True

  Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations",
  2020, appendix A; values of Liu, Zhi, Johns and Davison, "Bootstrapping Semantic Segmentation with
  Regional Contrast", 2022, section 4.
  """
  _check(images, probability)
  for name, value, most in (
    *(("brightness", brightness, 1), ("contrast", contrast, 1), ("saturation", saturation, 1)),
    ("hue", hue, 0.5),
  ):
    if not 0 <= value <= most:
      raise ValueError(f"{name} must be between 0 and {most}, got {value}.")
  keys = jax.random.split(key, 5)

  def drawn(key: jax.Array, around: float, reach: float) -> jax.Array:
    shape = (len(images), 1, 1, 1)
    return jax.random.uniform(key, shape, minval=around - reach, maxval=around + reach)

  x = images.astype(jnp.promote_types(images.dtype, jnp.float32))
  x = jnp.clip(x * drawn(keys[0], 1, brightness), 0, 1)
  middle = _grey(x).mean(axis=(1, 2), keepdims=True)
  x = jnp.clip(middle + drawn(keys[1], 1, contrast) * (x - middle), 0, 1)
  grey = _grey(x)
  x = jnp.clip(grey + drawn(keys[2], 1, saturation) * (x - grey), 0, 1)
  x = turn_hue(x, drawn(keys[3], 0, hue)[..., 0])
  return _some(keys[4], probability, x, images)


def gaussian_blur(
  key: jax.Array,
  images: jax.Array,
  *,
  sigma: tuple[float, float] = (0.15, 1.15),
  probability: float = 0.5,
) -> jax.Array:
  """Blur some images, each by a Gaussian of its own width; borders are continued.

  Args:
    key: for the draws.
    images: float, `[batch, height, width, channels]`.
    sigma: the least and the greatest standard deviation, in pixels, above 0.
    probability: with which an image is blurred at all.

  Returns:
    Images of the same shape and dtype.

  Raises:
    ValueError: if the shape is wrong or a number out of range.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.data import gaussian_blur
    >>> out = gaussian_blur(jax.random.key(0), jnp.ones((2, 6, 6, 3)), probability=1.0)
    >>> bool(jnp.allclose(out, 1, atol=1e-6))
    True

  Reference: as of `color_jitter`.
  """
  _check(images, probability, channels=None)
  if not 0 < sigma[0] <= sigma[1]:
    raise ValueError(f"sigma must be two numbers above 0, the least first, got {sigma}.")
  of_sigma, of_choice = jax.random.split(key)
  widths = jax.random.uniform(of_sigma, (len(images), 1), minval=sigma[0], maxval=sigma[1])
  reach = int(_REACH * sigma[1] + 1)
  offsets = jnp.arange(-reach, reach + 1)
  weights = jnp.exp(-0.5 * (offsets / widths) ** 2)
  weights /= weights.sum(1, keepdims=True)
  x = images.astype(jnp.promote_types(images.dtype, jnp.float32))
  for axis in (1, 2):
    pads = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
    padded, size = jnp.pad(x, pads, mode="edge"), x.shape[axis]
    x = jnp.zeros_like(x)
    for i in range(2 * reach + 1):
      x += weights[:, i, None, None, None] * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
  return _some(of_choice, probability, x, images)


def turn_hue(images: jax.Array, turns: jax.Array) -> jax.Array:
  """Move each pixel along the colour circle: hue of the HSV cone, value and saturation stay.

  Args:
    images: float in [0, 1], `[..., 3]`.
    turns: how far, broadcast against `[...]`: 1/3 takes red to green.

  Returns:
    Images of the same shape.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.data.photometric import turn_hue
    >>> turn_hue(jnp.array([1.0, 0.0, 0.0]), jnp.array(1 / 3)).round(3).tolist()
    [0.0, 1.0, 0.0]
  """
  red, green, blue = jnp.moveaxis(images, -1, 0)
  value, least = images.max(-1), images.min(-1)
  range_ = value - least
  safe = jnp.where(range_ > 0, range_, 1)
  # Not `value == red`: compiled with what made the images, both may be rounded differently.
  sixth = jnp.where(
    (red >= green) & (red >= blue),
    (green - blue) / safe,
    jnp.where(green >= blue, 2 + (blue - red) / safe, 4 + (red - green) / safe),
  )
  sixth = (jnp.where(range_ > 0, sixth, 0) + 6 * turns) % 6
  # A channel falls from the value to the least as the hue leaves its own third of the circle.
  apart = jnp.stack([(sixth + n) % 6 for n in (5, 3, 1)], axis=-1)
  falls = jnp.clip(jnp.minimum(apart, 4 - apart), 0, 1)
  return value[..., None] - range_[..., None] * falls


def _grey(images: jax.Array) -> jax.Array:
  return (images * jnp.array(_LUMA, images.dtype)).sum(-1, keepdims=True)


def _some(key: jax.Array, probability: float, new: jax.Array, old: jax.Array) -> jax.Array:
  """The new images with this probability each."""
  changed = jax.random.bernoulli(key, probability, (len(old), 1, 1, 1))
  return jnp.where(changed, new.astype(old.dtype), old)


def _check(images: jax.Array, probability: float, channels: int | None = 3) -> None:
  if images.ndim != 4 or channels not in (None, images.shape[-1]):
    last = "channels" if channels is None else channels
    raise ValueError(f"images must be [batch, height, width, {last}], got shape {images.shape}.")
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise ValueError(f"images must be float, bytes over 255, got dtype {images.dtype}.")
  if not 0 <= probability <= 1:
    raise ValueError(f"probability must be between 0 and 1, got {probability}.")
