"""Gates: weights of experts that depend on the image, and weighted sums of what experts say."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

_GRID = 8


def gate(num_experts: int) -> nn.Module:
  """The linear layer of a gate; at the start every expert is heard equally.

  Args:
    num_experts: number of experts that the gate weighs.

  Returns:
    The Linen module: `[B, F]` to logits `[B, num_experts]`.

  Example:
    >>> from jaxmtl.models.architectures.gates import gate
    >>> gate(3).features
    3
  """
  return nn.Dense(num_experts, kernel_init=nn.initializers.zeros_init())


def view(images: jax.Array, all_pixels: bool = False) -> jax.Array:
  """What a gate sees of images: their pixels, averaged to a grid of 8x8, or all of them.

  By the grid a gate has the same parameters for images of all sizes, and few of them. Images of 8x8
  pixels are seen as they are.

  Args:
    images: float `[B, H, W, C]`.
    all_pixels: whether a gate sees every pixel: finer differences between images then choose
      experts, at `E H W C` weights a gate, which overfit sooner and take images of one size.

  Returns:
    Float32 `[B, 64 C]`, or `[B, H W C]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.architectures.gates import view
    >>> images = jnp.ones((2, 32, 48, 3))
    >>> view(images).shape, view(images, all_pixels=True).shape
    ((2, 192), (2, 4608))
  """
  batch, *_, channels = images.shape
  x = images.astype(jnp.float32)
  if not all_pixels:
    x = jax.image.resize(x, (batch, _GRID, _GRID, channels), "linear")
  return x.reshape(batch, -1)


def mix(weights: jax.Array, values: Sequence[jax.Array]) -> jax.Array:
  """The weighted sum of experts' values, image by image.

  Args:
    weights: float `[B, E]`, or `[E]` for all images alike.
    values: E arrays `[B, ...]`.

  Returns:
    Float `[B, ...]`, of the dtype of the values.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.architectures.gates import mix
    >>> mix(jnp.array([[0.25, 0.75]]), [jnp.zeros((1, 2)), jnp.ones((1, 2))]).tolist()
    [[0.75, 0.75]]
  """
  total = jnp.zeros((), values[0].dtype)
  for index, value in enumerate(values):
    weight = weights[..., index].astype(value.dtype)
    total = total + weight.reshape(weight.shape + (1,) * (value.ndim - weight.ndim)) * value
  return total
