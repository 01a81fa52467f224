"""What vision transformers and mixers share: patches, perceptrons, stochastic depth."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

dense_init = nn.initializers.truncated_normal(0.02)


def layer_norm(dtype: Any, epsilon: float = 1e-6, name: str | None = None) -> nn.LayerNorm:
  """Layer normalization over the channels, its statistics in float32, in two passes.

  Args:
    dtype: compute dtype of the output.
    epsilon: added to the variance.
    name: name of the module in its parent.

  Returns:
    The Linen module.

  Example:
    >>> from jaxmtl.models.layers import layer_norm
    >>> layer_norm(None).epsilon
    1e-06
  """
  # One pass, Linen's default, cancels where the mean is large against the deviation.
  return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=False, name=name)


def spread(depth: int, stages: int = 4) -> tuple[int, ...]:
  """Split a uniform stack of blocks into stages as equal as can be.

  Args:
    depth: number of blocks.
    stages: number of stages.

  Returns:
    Number of blocks of each stage.

  Example:
    >>> from jaxmtl.models.layers import spread
    >>> spread(12)
    (3, 3, 3, 3)
  """
  return tuple(depth * (i + 1) // stages - depth * i // stages for i in range(stages))


def drop_rates(rate: float, sizes: Sequence[int]) -> list[list[float]]:
  """Rates of stochastic depth that grow linearly from 0 to `rate`, by stage and block.

  Args:
    rate: rate of the last block.
    sizes: number of blocks of each stage.

  Returns:
    One list a stage.

  Example:
    >>> from jaxmtl.models.layers import drop_rates
    >>> drop_rates(0.5, (1, 2))
    [[0.0], [0.25, 0.5]]

  Reference: Huang et al., "Deep Networks with Stochastic Depth", 2016, section 3.
  """
  rates = iter(np.linspace(0, rate, sum(sizes)).tolist())
  return [[next(rates) for _ in range(size)] for size in sizes]


def drop_path(rate: float, ndim: int) -> nn.Dropout:
  """Stochastic depth: drop a residual branch of whole images, scaling up the others.

  Args:
    rate: probability of dropping.
    ndim: number of axes of the branch, the batch's first.

  Returns:
    The Linen module, called as `module(branch, deterministic=...)`.

  Example:
    >>> from jaxmtl.models.layers import drop_path
    >>> drop_path(0.1, 3).broadcast_dims
    (1, 2)

  Reference: Huang et al., "Deep Networks with Stochastic Depth", 2016, section 3.
  """
  return nn.Dropout(rate, broadcast_dims=tuple(range(1, ndim)))


class PatchEmbed(nn.Module):
  """One dense layer for every square patch of the images.

  The same as a convolution whose stride is its kernel's size, and with its parameters
  `kernel [p, p, C, width]` and `bias`, but one matrix product on every backend.

  Args:
    width: number of output channels.
    patch_size: height and width p of the patches.
    dtype: compute dtype.
    kernel_init: initialiser of the kernel.

  Returns:
    When called with images `[B, H, W, C]`, maps `[B, H / p, W / p, width]`.

  Raises:
    ValueError: when called, if the patches do not tile the images.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.layers import PatchEmbed
    >>> init = PatchEmbed(8, 4).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 16, 8, 3)))[0].shape
    (2, 4, 2, 8)

  Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.1.
  """

  width: int
  patch_size: int = 16
  dtype: Any = None
  kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """Map images `[B, H, W, C]` to `[B, H / p, W / p, width]`."""
    batch, height, width, channels = images.shape
    p = self.patch_size
    if height % p or width % p:
      raise ValueError(f"images must be multiples of patch_size={p}, got {height}x{width}")
    kernel = self.param("kernel", self.kernel_init, (p, p, channels, self.width), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.width,), jnp.float32)
    images, kernel, bias = nn.dtypes.promote_dtype(images, kernel, bias, dtype=self.dtype)
    x = images.reshape(batch, height // p, p, width // p, p, channels).swapaxes(2, 3)
    return x.reshape(batch, height // p, width // p, -1) @ kernel.reshape(-1, self.width) + bias


class Mlp(nn.Module):
  """Two dense layers with a GELU between them.

  Args:
    hidden: number of hidden units.
    dropout: rate after either layer.
    dtype: compute dtype.
    kernel_init: initialiser of the first kernel.
    output_init: initialiser of the second; None for the same.
    bias_init: initialiser of the biases.

  Returns:
    When called with `[..., C]`, `[..., C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.layers import Mlp
    >>> jax.eval_shape(Mlp(16).init_with_output, jax.random.key(0), jnp.ones((2, 4)))[0].shape
    (2, 4)
  """

  hidden: int
  dropout: float = 0.0
  dtype: Any = None
  kernel_init: Callable[..., jax.Array] = dense_init
  output_init: Callable[..., jax.Array] | None = None
  bias_init: Callable[..., jax.Array] = nn.initializers.zeros_init()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map `[..., C]` to `[..., C]`."""
    drop = nn.Dropout(self.dropout, deterministic=not train)
    options: dict[str, Any] = {"dtype": self.dtype, "bias_init": self.bias_init}
    h = nn.Dense(self.hidden, kernel_init=self.kernel_init, name="fc1", **options)(x)
    h = drop(nn.gelu(h, approximate=False))
    init = self.kernel_init if self.output_init is None else self.output_init
    return drop(nn.Dense(x.shape[-1], kernel_init=init, name="fc2", **options)(h))
