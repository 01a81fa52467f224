"""Prismer: an image, what experts say about it, and a text."""

from collections.abc import Mapping

import flax.linen as nn
import jax

from jaxmtl.models.prismer.config import Config
from jaxmtl.models.prismer.text import TextDecoder
from jaxmtl.models.prismer.vision import VisionEncoder


class Prismer(nn.Module):
  """A vision-language model that reads the predictions of expert networks beside the image.

  Two frozen backbones, CLIP's vision transformer and RoBERTa, joined by small trained parts: stems
  and a resampler for the experts' labels, cross-attention, adaptors in every block. Experts may be
  missing, in training and after it; with none configured this is PrismerZ.

  Args:
    config: sizes, experts and options.

  Returns:
    When called with experts, ids and mask, logits as of `decode` after `encode`.

  Raises:
    ValueError: when called, if the image is missing, an expert is unknown, a shape does not fit, or
      texts are longer than there are positions.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config, Prismer
    >>> model, ids = Prismer(Config.tiny(experts={})), jnp.ones((2, 5), jnp.int32)
    >>> experts = {"rgb": jnp.ones((2, 32, 32, 3))}
    >>> jax.eval_shape(model.init_with_output, jax.random.key(0), experts, ids, ids)[0].shape
    (2, 5, 60)

  Reference: Liu, "Converging Pathways: Structured Visual Representations with Multi-Task Learning",
  2024, chapter 6.
  """

  config: Config

  def setup(self) -> None:
    """Make the two parts."""
    self.expert_encoder = VisionEncoder(self.config)
    self.text_decoder = TextDecoder(self.config)

  def __call__(
    self,
    experts: Mapping[str, jax.Array],
    ids: jax.Array,
    mask: jax.Array,
    *,
    instance_rows: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """Logits `[B, L, vocab_size]` of the words after each; arguments as of the two halves."""
    tokens = self.encode(experts, instance_rows=instance_rows, train=train)
    return self.decode(ids, mask, tokens, train=train)

  def encode(
    self,
    experts: Mapping[str, jax.Array],
    *,
    instance_rows: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """Tokens of images and of what experts say about them.

    Args:
      experts: by name: `rgb`, float `[B, H, W, 3]`, normalised as CLIP's images; labels, float
        `[B, H', W', channels]`, of any of the configured experts, where `seg_coco` and `seg_ade`
        are read by the expert `seg`; with `obj_detection`, the number of the object in each pixel,
        integers `[B, H', W']` below 256 named `obj_instance`, 255 for the background.
      instance_rows: rows of the table of instances for these numbers, int `[256]`. None draws them
        in training, from the key `instances`, and takes `fixed_rows` otherwise.
      train: whether the stems normalise by the batch's statistics and record them (`mutable`
        must name `batch_stats`).

    Returns:
      Tokens `[B, N, vision_width]`, the image's first.
    """
    return self.expert_encoder(experts, instance_rows, train)

  def decode(
    self, ids: jax.Array, mask: jax.Array, tokens: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Logits of the words after each.

    Args:
      ids: words `[B, L]`, integers.
      mask: the words that may be seen, `[B, L]`, bool or 0 and 1.
      tokens: from `encode`.
      train: whether to drop out, by the key `dropout`.

    Returns:
      `[B, L, vocab_size]`, float32 or wider.
    """
    return self.text_decoder(ids, mask, tokens, train)
