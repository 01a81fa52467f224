"""Convolutional auto-encoder for small images."""

from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.conv import Conv
from jaxmtl.models.conv_transpose import ConvTranspose
from jaxmtl.models.normalization import batch_norm

_SMALLEST = 4  # Side of the map between convolutions and the latent code.


class AutoEncoder(nn.Module):
  """Strided convolutions to a latent code, and transposed ones back to the image.

  The encoder halves the map by 3x3 convolutions with batch normalization and ReLU until it is 4x4
  or smaller, each with twice the channels of the one before; a dense layer gives the code. The
  decoder is its mirror image; what it makes too large is cut off.

  Args:
    latent: length of the code.
    width: channels of the first convolution.
    dtype: compute dtype; parameters and running statistics stay in float32.

  Returns:
    When called with images `[B, H, W, C]`, their reconstruction of the same shape; `encode` gives
    the code `[B, latent]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import AutoEncoder
    >>> init = AutoEncoder(latent=8, width=4).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 14, 14, 1)))[0].shape
    (2, 14, 14, 1)

  Reference: Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks",
  2006; for MAXL's K-Means baseline, Liu, Davison and Johns, 2019, section 4.1.
  """

  latent: int = 64
  width: int = 32
  dtype: Any = None

  def setup(self) -> None:
    """Names the two halves."""
    self.encoder = _Encoder(self.latent, self.width, self.dtype)
    self.decoder = _Decoder(self.width, self.dtype)

  def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images `[B, H, W, C]` to their reconstruction."""
    return self.decoder(self.encoder(images, train), images.shape[1:], train)

  def encode(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images `[B, H, W, C]` to codes `[B, latent]`."""
    return self.encoder(images, train)


class _Encoder(nn.Module):
  latent: int
  width: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    for i, _ in enumerate(_sides(x.shape[1:3])[1:]):
      x = Conv(self.width * 2**i, (3, 3), strides=2, dtype=self.dtype, name=f"conv{i}")(x)
      x = nn.relu(batch_norm(train, self.dtype, name=f"norm{i}")(x))
    return nn.Dense(self.latent, dtype=self.dtype, name="latent")(x.reshape(len(x), -1))


class _Decoder(nn.Module):
  width: int
  dtype: Any

  @nn.compact
  def __call__(self, code: jax.Array, shape: tuple[int, ...], train: bool) -> jax.Array:
    sides = _sides(shape[:2])
    halvings = len(sides) - 1
    channels = [self.width * 2**i for i in range(halvings)][::-1]
    height, width = sides[-1]
    first = channels[0] if channels else shape[-1]
    x = nn.Dense(height * width * first, dtype=self.dtype, name="latent")(code)
    x = x.reshape(len(code), height, width, first)
    for i, (side, features) in enumerate(
      zip(sides[-2::-1], [*channels[1:], shape[-1]], strict=False)
    ):
      x = nn.relu(batch_norm(train, self.dtype, name=f"norm{i}")(x))
      x = ConvTranspose(features, (4, 4), stride=2, padding=1, dtype=self.dtype, name=f"deconv{i}")(
        x
      )
      x = x[:, : side[0], : side[1]]
    return x


def _sides(side: tuple[int, ...]) -> list[tuple[int, int]]:
  """Height and width of the maps, from the image's to the smallest."""
  sides = [(side[0], side[1])]
  while max(sides[-1]) > _SMALLEST:
    sides.append(((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2))
  return sides
