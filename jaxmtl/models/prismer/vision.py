"""The vision encoder: CLIP's transformer over the image's patches and the resampled experts."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.conv import Conv
from jaxmtl.models.initializers import initializer
from jaxmtl.models.layers import layer_norm
from jaxmtl.models.prismer.adaptor import EPSILON, Adaptor
from jaxmtl.models.prismer.attention import Attention
from jaxmtl.models.prismer.config import Config
from jaxmtl.models.prismer.experts import fixed_rows, inputs_of, instance_rows, stem_of
from jaxmtl.models.prismer.grids import resize_nearest, resize_table
from jaxmtl.models.prismer.resampler import Resampler
from jaxmtl.models.prismer.stems import Stem


def quick_gelu(x: jax.Array) -> jax.Array:
  """The approximation `x * sigmoid(1.702 x)` of the Gaussian error linear unit, as CLIP has it.

  Args:
    x: float, any shape.

  Returns:
    The same shape and dtype.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.prismer.vision import quick_gelu
    >>> round(float(quick_gelu(jnp.array(1.0))), 4)
    0.8458

  Reference: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, section 2.
  """
  return x * jax.nn.sigmoid(1.702 * x)


class VisionBlock(nn.Module):
  """A block of CLIP's transformer with an adaptor between attention and perceptron.

  Args:
    config: of the Prismer.

  Returns:
    When called with tokens `[B, N, C]`, tokens `[B, N, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config
    >>> from jaxmtl.models.prismer.vision import VisionBlock
    >>> init = VisionBlock(Config.tiny()).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 9, 32)))[0].shape
    (2, 9, 32)

  References: Radford et al., "Learning Transferable Visual Models From Natural Language
  Supervision", 2021, section 2.4; Liu, "Converging Pathways", 2024, section 6.3.
  """

  config: Config

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map tokens `[B, N, C]` to tokens `[B, N, C]`."""
    c, width, normal = self.config, x.shape[-1], nn.initializers.normal
    # CLIP's own: what is added to the residual stream is smaller, the more blocks there are.
    out_init = normal((2 * width * c.vision_layers) ** -0.5)
    attention = Attention(
      width,
      c.vision_heads,
      kernel_init=normal(width**-0.5),
      out_init=out_init,
      dtype=c.dtype,
      implementation=c.attention,
      name="attention",
    )
    x = x + attention(layer_norm(c.dtype, EPSILON, "ln_1")(x))
    if c.adaptors:
      x = Adaptor(norm_first=True, dtype=c.dtype, name="adaptor")(x)
    y = layer_norm(c.dtype, EPSILON, "ln_2")(x)
    y = nn.Dense(4 * width, dtype=c.dtype, kernel_init=normal((2 * width) ** -0.5), name="mlp_in")(
      y
    )
    y = nn.Dense(width, dtype=c.dtype, kernel_init=out_init, name="mlp_out")(quick_gelu(y))
    return x + y


class VisionEncoder(nn.Module):
  """Tokens of an image and of what experts say about it.

  Patches of the image and of every expert's labels share one table of position embeddings, resized
  to each grid; experts have no embedding of their kind, so that their order does not matter. Their
  tokens go through the resampler and join those of the image behind the first normalization's
  input. There is no class token.

  Args:
    config: of the Prismer.

  Returns:
    When called as `Prismer.encode`, tokens `[B, N, C]`: the image's, then, if there are any
    labels, `resampler_latents` of the experts.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config
    >>> from jaxmtl.models.prismer.vision import VisionEncoder
    >>> init = VisionEncoder(Config.tiny()).init_with_output
    >>> experts = {"rgb": jnp.ones((2, 32, 32, 3)), "depth": jnp.ones((2, 32, 32, 1))}
    >>> jax.eval_shape(init, jax.random.key(0), experts)[0].shape
    (2, 22, 32)

  Reference: Liu, "Converging Pathways", 2024, section 6.3 and figure 6.2.
  """

  config: Config

  def setup(self) -> None:
    """Make the stems, the resampler and the transformer."""
    c = self.config
    table_init = nn.initializers.normal(c.vision_width**-0.5)
    self.rgb = Conv(
      c.vision_width,
      (c.patch_size, c.patch_size),
      strides=c.patch_size,
      padding="VALID",
      use_bias=False,
      dtype=c.dtype,
      kernel_init=initializer("torch"),
    )
    self.positional_embedding = self.param(
      "positional_embedding", table_init, (c.num_patches, c.vision_width), jnp.float32
    )
    if c.experts:
      self.stem = {
        name: Stem(c.vision_width, c.patch_size, c.dtype)
        for name in dict.fromkeys(map(stem_of, c.experts))
      }
      self.resampler = Resampler(c)
    if "obj_detection" in c.experts:
      self.instance_embedding = self.param(
        "instance_embedding", table_init, (c.num_instances, c.vision_width), jnp.float32
      )
    self.ln_pre, self.ln_post = (layer_norm(c.dtype, EPSILON) for _ in range(2))
    block = nn.remat(VisionBlock) if c.remat else VisionBlock
    self.block = [block(c) for _ in range(c.vision_layers)]

  def __call__(
    self,
    experts: Mapping[str, jax.Array],
    instance_rows: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """Tokens `[B, N, C]`; see `Prismer.encode`."""
    labels = inputs_of(self.config, experts, complete=self.is_initializing())
    x = self._with_positions(self.rgb(experts["rgb"]))
    tokens = []
    for name, values in labels:
      maps = self.stem[stem_of(name)](values, train)
      if name == "obj_detection":
        maps = maps + self._instances(experts, instance_rows, maps, train)
      tokens.append(self._with_positions(maps))
    if tokens:
      x = jnp.concatenate([x, self.resampler(jnp.concatenate(tokens, axis=1))], axis=1)
    x = self.ln_pre(x)
    for block in self.block:
      x = block(x)
    return self.ln_post(x)

  def _with_positions(self, maps: jax.Array) -> jax.Array:
    """Tokens `[B, H W, C]` of maps, with the embeddings of their positions."""
    table = resize_table(self.positional_embedding, (maps.shape[1], maps.shape[2]))
    return maps.reshape(maps.shape[0], -1, maps.shape[-1]) + table.astype(maps.dtype)

  def _instances(
    self,
    experts: Mapping[str, jax.Array],
    rows: jax.Array | None,
    maps: jax.Array,
    train: bool,
  ) -> jax.Array:
    """The embedding of the object that is at each place of the grid."""
    count = self.config.num_instances
    if rows is None and train:
      rows = instance_rows(self.make_rng("instances"), count)
    rows = fixed_rows(count) if rows is None else jnp.asarray(rows)
    ids = experts.get("obj_instance")
    if ids is None:  # while variables are made for an expert that was not given
      ids = jnp.zeros(maps.shape[:3], jnp.int32)
    ids = resize_nearest(ids, (maps.shape[1], maps.shape[2])).astype(jnp.int32)
    return self.instance_embedding[rows[ids]].astype(maps.dtype)
