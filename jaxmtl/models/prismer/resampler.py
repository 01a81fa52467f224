"""The experts resampler: labels of any number of experts as a fixed number of tokens."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.layers import layer_norm
from jaxmtl.models.prismer.adaptor import EPSILON, squared_relu
from jaxmtl.models.prismer.attention import Attention
from jaxmtl.models.prismer.config import Config


class ResamplerBlock(nn.Module):
  r"""Latents look at the experts' tokens and at themselves, then a perceptron; both residual.

  Args:
    config: of the Prismer.

  Returns:
    When called with latents `[B, L, C]` and tokens `[B, N, C]`, latents `[B, L, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config
    >>> from jaxmtl.models.prismer.resampler import ResamplerBlock
    >>> init = ResamplerBlock(Config.tiny()).init_with_output
    >>> latents, tokens = jnp.ones((2, 6, 32)), jnp.ones((2, 9, 32))
    >>> jax.eval_shape(init, jax.random.key(0), latents, tokens)[0].shape
    (2, 6, 32)

  Reference: Liu, "Converging Pathways", 2024, section 6.3 and figure 6.3.
  """

  config: Config

  @nn.compact
  def __call__(self, latents: jax.Array, tokens: jax.Array) -> jax.Array:
    """Map latents to latents."""
    c, width, xavier = self.config, latents.shape[-1], nn.initializers.xavier_uniform()
    queries = layer_norm(c.dtype, EPSILON, "ln_1")(latents)
    context = jnp.concatenate([queries, layer_norm(c.dtype, EPSILON, "ln_2")(tokens)], axis=1)
    attention = Attention(
      width,
      c.resampler_heads,
      kernel_init=xavier,
      out_init=xavier,
      dtype=c.dtype,
      implementation=c.attention,
      name="attention",
    )
    latents = latents + attention(queries, context)
    mlp_in, mlp_out = (
      nn.Dense(n, dtype=c.dtype, kernel_init=xavier, name=name)
      for name, n in (("mlp_in", 4 * width), ("mlp_out", width))
    )
    return latents + mlp_out(squared_relu(mlp_in(layer_norm(c.dtype, EPSILON, "ln_ff")(latents))))


class Resampler(nn.Module):
  """Learned latents, as many as the output has tokens, through a few blocks.

  Neither the number of experts nor the size of their labels changes the number of tokens. The
  order of the tokens does not matter.

  Args:
    config: of the Prismer.

  Returns:
    When called with the experts' tokens `[B, N, C]`, tokens `[B, resampler_latents, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config
    >>> from jaxmtl.models.prismer.resampler import Resampler
    >>> init = Resampler(Config.tiny()).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 9, 32)))[0].shape
    (2, 6, 32)

  Reference: Liu, "Converging Pathways", 2024, section 6.3.
  """

  config: Config

  @nn.compact
  def __call__(self, tokens: jax.Array) -> jax.Array:
    """Map tokens `[B, N, C]` to tokens `[B, resampler_latents, C]`."""
    width = tokens.shape[-1]
    latents = self.param(
      "latents",
      nn.initializers.normal(width**-0.5),
      (self.config.resampler_latents, width),
      jnp.float32,
    )
    latents, tokens = nn.dtypes.promote_dtype(latents, tokens, dtype=self.config.dtype)
    latents = jnp.broadcast_to(latents, (tokens.shape[0], *latents.shape))
    for i in range(self.config.resampler_layers):
      latents = ResamplerBlock(self.config, name=f"block_{i}")(latents, tokens)
    return latents
