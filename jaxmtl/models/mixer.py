"""MLP-Mixer: perceptrons across patches and across channels."""

from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.backbone import Backbone
from jaxmtl.models.layers import Mlp, PatchEmbed, drop_path, drop_rates, layer_norm, spread
from jaxmtl.models.pool import global_average

_kernel_init = nn.initializers.xavier_uniform()
_bias_init = nn.initializers.normal(1e-6)


class MixerBlock(nn.Module):
  """A perceptron over the tokens of each channel, then one over the channels of each token.

  Args:
    token_hidden: hidden units of the first.
    channel_hidden: hidden units of the second.
    dropout: rate within the perceptrons.
    drop_path: rate at which whole branches are dropped.
    dtype: compute dtype.

  Returns:
    When called with tokens `[B, N, C]`, tokens `[B, N, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.mixer import MixerBlock
    >>> init = MixerBlock(8, 16).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 9, 4)))[0].shape
    (2, 9, 4)

  Reference: Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", 2021, section 2.
  """

  token_hidden: int
  channel_hidden: int
  dropout: float = 0.0
  drop_path: float = 0.0
  dtype: Any = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map tokens `[B, N, C]` to tokens `[B, N, C]`."""
    if self.has_variable("params", "mlp_tokens"):
      made_for: int = self.get_variable("params", "mlp_tokens")["fc1"]["kernel"].shape[0]
      if made_for != x.shape[1]:
        raise ValueError(
          f"the variables mix {made_for} patches, images of this size have {x.shape[1]}: a mixer"
          " works on images of one size, that of those it was initialised with"
        )

    def mlp(hidden: int, name: str) -> Mlp:
      return Mlp(hidden, self.dropout, self.dtype, _kernel_init, bias_init=_bias_init, name=name)

    drop = drop_path(self.drop_path, x.ndim)
    y = layer_norm(self.dtype, name="norm1")(x).swapaxes(1, 2)
    y = mlp(self.token_hidden, "mlp_tokens")(y, train).swapaxes(1, 2)
    x = x + drop(y, deterministic=not train)
    y = layer_norm(self.dtype, name="norm2")(x)
    y = mlp(self.channel_hidden, "mlp_channels")(y, train)
    return x + drop(y, deterministic=not train)


class Mixer(Backbone):
  """MLP-Mixer: blocks of two perceptrons over one token for every patch.

  Four stages of equally many blocks, for architectures that join networks between stages. The
  features are the mean of the normalised tokens. The perceptrons over tokens take the number of
  patches of the images that the variables were initialised with.

  Args:
    patch_size: height and width of the patches.
    width: number of channels.
    depth: number of blocks.
    token_ratio: hidden units of the perceptrons over tokens, over `width`.
    channel_ratio: hidden units of the perceptrons over channels, over `width`.
    dropout: rate in all branches.
    drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
    dtype: compute dtype; parameters stay in float32.

  Returns:
    When called with images `[B, H, W, C]`, features `[B, width]`.

  Raises:
    ValueError: when called, if the patches do not tile the images, or there are not as many as the
      variables were made for.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import Mixer
    >>> init = Mixer(patch_size=4, width=8, depth=4).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 16, 16, 3)))[0].shape
    (2, 8)

  Reference: Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", 2021, section 2.
  """

  patch_size: int = 16
  width: int = 768
  depth: int = 12
  token_ratio: float = 0.5
  channel_ratio: float = 4.0
  dropout: float = 0.0
  drop_path: float = 0.0
  dtype: Any = None

  def setup(self) -> None:
    """Make the embedding, the blocks and the normalization."""
    self.patch = PatchEmbed(self.width, self.patch_size, self.dtype)
    rates = drop_rates(self.drop_path, self.stage_sizes)
    self.blocks = [
      [
        MixerBlock(
          int(self.token_ratio * self.width),
          int(self.channel_ratio * self.width),
          self.dropout,
          rates[stage][i],
          self.dtype,
          name=f"stage{stage}_block{i}",
        )
        for i in range(size)
      ]
      for stage, size in enumerate(self.stage_sizes)
    ]
    self.norm = layer_norm(self.dtype)

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """Four stages of as many blocks."""
    return spread(self.depth)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images to tokens `[B, N, width]`."""
    x = self.patch(images)
    return x.reshape(x.shape[0], -1, self.width)

  def block(self, stage: int, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Run one block."""
    return self.blocks[stage][index](x, train)

  def as_map(self, x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Tokens of images of `size` as maps `[B, H / p, W / p, width]`."""
    return x.reshape(-1, *(n // self.patch_size for n in size), x.shape[-1])

  def readout(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Normalise, then average the tokens."""
    return global_average(self.norm(x))
