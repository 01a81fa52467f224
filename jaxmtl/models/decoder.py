"""Decoder from features to dense label vectors."""

from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.conv_transpose import ConvTranspose
from jaxmtl.models.initializers import he_fan_out
from jaxmtl.models.normalization import batch_norm

SIDES = (4, 8, 16, 32, 64)


class DenseLabelDecoder(nn.Module):
  """Predict a long label vector (binary labels, random dense labels) from a feature vector.

  Batch normalization, leaky ReLU, a dense layer to 64 channels on a 1x1 map, then transposed
  convolutions to 4x4x64, 8x8x32, 16x16x16, 32x32x8 and 64x64x1, each but the last followed by batch
  normalization and leaky ReLU; the 4096 pixels pass a last dense layer. The output has no
  nonlinearity: take the sigmoid inside the loss.

  The last dense layer has `side^2 dim` weights, 17 million in the paper. Beside a small backbone
  such a head is most of what is trained; a smaller `side` and `width` keep it in proportion.

  Args:
    dim: length of the label vectors.
    final_dense: whether the last dense layer is there; without it `dim` must be `side^2`.
    side: of the last map, 4, 8, 16, 32 or 64: as many transposed convolutions as it takes.
    width: channels of the first maps, halved with each doubling of the side.
    dtype: compute dtype; parameters and running statistics stay in float32.
    axis_name: mapped axis over which batch statistics are averaged while training.

  Returns:
    When called with features `[B, D]`, logits `[B, dim]`.

  Raises:
    ValueError: when called, if `dim` is not `side^2` and `final_dense` is False, or the side or
      width is none of these.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import DenseLabelDecoder
    >>> init = DenseLabelDecoder(dim=1000).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 512)))[0].shape
    (2, 1000)

  Reference: "Multi Task Learning of Different Class Label Representations for Stronger Models",
  section on binary labels.
  """

  dim: int = 64 * 64
  final_dense: bool = True
  side: int = 64
  width: int = 64
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
    """Map features `[B, D]` to logits `[B, dim]`."""
    pixels = self.side**2
    if self.side not in SIDES:
      raise ValueError(f"side must be one of {SIDES}, got side={self.side}")
    if self.width < 1:
      raise ValueError(f"width must be at least 1, got width={self.width}")
    if not self.final_dense and self.dim != pixels:
      raise ValueError(
        f"dim must be {pixels} (the decoder's {self.side}x{self.side} map) without the last dense "
        f"layer, got dim={self.dim}; set final_dense=True for any other length"
      )
    doublings = SIDES.index(self.side)
    channels = [*(max(self.width >> i, 1) for i in range(doublings)), 1]

    def norm_relu(x: jax.Array, name: str) -> jax.Array:
      x = batch_norm(train, self.dtype, self.axis_name, name)(x)
      return nn.leaky_relu(x, 0.01)

    x = norm_relu(features, "norm_in")
    x = nn.Dense(self.width, dtype=self.dtype, name="dense_in")(x)[:, None, None, :]
    for i, count in enumerate(channels):
      last = i == doublings
      x = ConvTranspose(
        count,
        (4, 4),
        stride=1 if i == 0 else 2,
        padding=0 if i == 0 else 1,
        use_bias=last,  # elsewhere batch normalization's shift does its work
        kernel_init=he_fan_out,
        dtype=self.dtype,
        name=f"deconv{i}",
      )(x)
      if not last:
        x = norm_relu(x, f"norm{i}")
    x = x.reshape(x.shape[0], pixels)
    return nn.Dense(self.dim, dtype=self.dtype, name="dense_out")(x) if self.final_dense else x
