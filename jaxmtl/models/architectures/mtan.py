"""Multi-task attention network (MTAN)."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.architecture import Architecture
from jaxmtl.models.conv import Conv
from jaxmtl.models.normalization import batch_norm
from jaxmtl.models.pool import global_average
from jaxmtl.models.residual import Bottleneck


class MTAN(Architecture):
  r"""Multi-task attention network: tasks attend, each its way, to what a shared backbone computes.

  .. math:: a_t^s = m_t^s \odot u^s, \quad
            m_t^s = \sigma(\mathrm{BN}(C_2 \,\mathrm{ReLU}(\mathrm{BN}(C_1 [v^s; b^s(a_t^{s-1})]))))

  u is a stage's map, v that before its last block (u itself in a stage of one block), C_1 and C_2
  are 1x1 convolutions with a quarter of the map's channels between them, and b is a residual
  bottleneck to the next width, followed by a max-pool where the next map is smaller. The features
  are the mean of the last attended map, also of backbones with another readout.

  Shared are `backbone` and `bottlenecks_<s>`, one for all tasks; `attentions_<t>_<s>` and
  `heads_<t>` are their task's own. It needs a `Backbone`.

  Args:
    attention_bias: whether the attention's convolutions have a bias, as those of the authors' dense
      networks do; the normalization behind takes it out again.
    **others: those of `Architecture`.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> model = models.MTAN(models.create("convnet4", width=8), heads)
    >>> images = jnp.ones((2, 8, 8, 1))
    >>> jax.eval_shape(model.init_with_output, jax.random.key(0), images)[0]["digit"].shape
    (2, 10)

  Reference: Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", 2019, section
  3; for residual backbones Liu et al., "Auto-Lambda", 2022.
  """

  attention_bias: bool = False

  by_stages = True

  def setup(self) -> None:
    """Make attention modules and bottlenecks."""
    options = {
      "dtype": getattr(self.backbone, "dtype", None),
      "axis_name": getattr(self.backbone, "axis_name", None),
    }
    stages = range(self.num_stages)
    self.attentions = {
      task: [Attention(use_bias=self.attention_bias, **options) for _ in stages]
      for task in self.heads
    }
    self.bottlenecks = [_Widen(**options) for _ in stages[1:]]

  def features(
    self, images: jax.Array, tasks: Sequence[str], train: bool = False
  ) -> dict[str, jax.Array]:
    """Run the backbone once, and every task's attention beside it."""
    backbone: Any = self.backbone
    size = images.shape[1], images.shape[2]
    x = backbone.stem(images, train)
    attended: dict[str, jax.Array] = {}
    for stage, blocks in enumerate(backbone.stage_sizes):
      inner = None
      for index in range(blocks):
        x = backbone.block(stage, index, x, train)
        if index == blocks - 2:
          inner = backbone.as_map(x, size)
      whole = backbone.as_map(x, size)
      inner = whole if inner is None else _shrink(inner, whole)
      for task in tasks:
        seen = [inner]
        if stage:
          wide = self.bottlenecks[stage - 1](attended[task], whole.shape[-1], train)
          seen.append(_shrink(wide, whole))
        attended[task] = self.attentions[task][stage](jnp.concatenate(seen, -1), whole, train)
    return attended if self.on_maps else {t: global_average(a) for t, a in attended.items()}


class Attention(nn.Module):
  """A mask in 0..1 for every element of a map, times the map.

  Args:
    dtype: compute dtype.
    axis_name: mapped axis over which batch statistics are averaged while training.
    use_bias: whether the convolutions have a bias.

  Returns:
    When called with what the mask is computed from, `[B, H, W, C']`, and the map `[B, H, W, C]`,
    `[B, H, W, C]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.architectures.mtan import Attention
    >>> maps = jnp.ones((1, 2, 2, 8))
    >>> jax.eval_shape(Attention().init_with_output, jax.random.key(0), maps, maps)[0].shape
    (1, 2, 2, 8)

  Reference: as of `MTAN`.
  """

  dtype: Any = None
  axis_name: str | None = None
  use_bias: bool = False

  @nn.compact
  def __call__(self, seen: jax.Array, maps: jax.Array, train: bool = False) -> jax.Array:
    """Attend to maps `[B, H, W, C]`."""
    channels = maps.shape[-1]

    def conv_norm(x: jax.Array, features: int, number: int) -> jax.Array:
      conv = Conv(features, (1, 1), use_bias=self.use_bias, dtype=self.dtype, name=f"conv_{number}")
      return batch_norm(train, self.dtype, self.axis_name, f"norm_{number}")(conv(x))

    hidden = nn.relu(conv_norm(seen, max(1, channels // 4), 0))
    return nn.sigmoid(conv_norm(hidden, channels, 1)) * maps


class _Widen(nn.Module):
  """A residual bottleneck to a number of channels that is known only when it is called."""

  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, features: int, train: bool) -> jax.Array:
    width = max(1, features // 4)
    block = Bottleneck(
      features, width=width, dtype=self.dtype, axis_name=self.axis_name, name="block"
    )
    return block(x, train)


def _shrink(x: jax.Array, like: jax.Array) -> jax.Array:
  """Maxima over windows, so that maps get another's height and width.

  Backbones halve a side of 7 to 4, by a stride, or to 3, by a pool: here the last window is cut, or
  the last pixels are.
  """
  for axis in (1, 2):
    size = like.shape[axis]
    window = max(1, round(x.shape[axis] / size))
    missing = window * size - x.shape[axis]
    if missing > 0:
      pads = [(0, 0)] * x.ndim
      pads[axis] = (0, missing)
      x = jnp.pad(x, pads, constant_values=-jnp.inf)
    # Maxima of slices, for the reasons that `max_pool` gives.
    starts = range(window)
    parts = [jax.lax.slice_in_dim(x, i, window * size, window, axis=axis) for i in starts]
    x = functools.reduce(jnp.maximum, parts)
  return x
