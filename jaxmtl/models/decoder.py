"""Decoder from features to dense label vectors."""

from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.conv_transpose import ConvTranspose
from jaxmtl.models.normalization import batch_norm, kernel_init

_PIXELS = 64 * 64


class DenseLabelDecoder(nn.Module):
  """Predict a long label vector (binary labels, random dense labels) from a feature vector.

  Batch normalization, leaky ReLU, a dense layer to 64 channels on a 1x1 map, then transposed
  convolutions to 4x4x64, 8x8x32, 16x16x16, 32x32x8 and 64x64x1, each but the last followed by batch
  normalization and leaky ReLU; the 4096 pixels pass a last dense layer. The output has no
  nonlinearity: take the sigmoid inside the loss.

  Args:
    dim: Length of the label vectors.
    final_dense: Whether the last dense layer is there; without it `dim` must be 4096.
    dtype: Compute dtype; parameters and running statistics stay in float32.
    axis_name: Mapped axis over which batch statistics are averaged while training.

  Returns:
    When called with features `[B, D]`, logits `[B, dim]`.

  Raises:
    ValueError: When called, if `dim` is not 4096 and `final_dense` is False.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import DenseLabelDecoder
    >>> init = DenseLabelDecoder(dim=1000).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 512)))[0].shape
    (2, 1000)

  Reference: "Multi Task Learning of Different Class Label Representations for Stronger Models",
  section on binary labels.
  """

  dim: int = _PIXELS
  final_dense: bool = True
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
    """Map features `[B, D]` to logits `[B, dim]`."""
    if not self.final_dense and self.dim != _PIXELS:
      raise ValueError(
        f"dim must be {_PIXELS} (the decoder's 64x64 map) without the last dense layer, got"
        f" dim={self.dim}; set final_dense=True for any other length"
      )

    def norm_relu(x: jax.Array, name: str) -> jax.Array:
      x = batch_norm(train, self.dtype, self.axis_name, name)(x)
      return nn.leaky_relu(x, 0.01)

    x = norm_relu(features, "norm_in")
    x = nn.Dense(64, dtype=self.dtype, name="dense_in")(x)[:, None, None, :]
    for i, channels in enumerate((64, 32, 16, 8, 1)):
      last = channels == 1
      x = ConvTranspose(
        channels,
        (4, 4),
        stride=1 if i == 0 else 2,
        padding=0 if i == 0 else 1,
        use_bias=last,  # elsewhere batch normalization's shift does its work
        kernel_init=kernel_init,
        dtype=self.dtype,
        name=f"deconv{i}",
      )(x)
      if not last:
        x = norm_relu(x, f"norm{i}")
    x = x.reshape(x.shape[0], _PIXELS)
    return nn.Dense(self.dim, dtype=self.dtype, name="dense_out")(x) if self.final_dense else x
