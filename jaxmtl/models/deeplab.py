"""Networks for dense prediction: a dilated backbone, and a DeepLabV3 head a task."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.architecture import Architecture
from jaxmtl.models.architectures import multi_task
from jaxmtl.models.conv import Conv
from jaxmtl.models.normalization import batch_norm

RATES = {32: (3, 6, 9), 16: (6, 12, 18), 8: (12, 24, 36)}
"""Dilation of the pyramid's convolutions, by the stride of the map: the same in pixels."""


class ASPP(nn.Module):
  r"""Atrous spatial pyramid pooling: a map seen at several scales at once.

  A 1x1 convolution, 3x3 convolutions of several dilations, and the whole map's mean through a 1x1
  convolution, each with batch normalization and ReLU, are put together and mixed by another 1x1
  convolution. Of a batch of one image the mean's normalization sees one number a channel, which
  becomes 0: trained on single images, that branch gives nothing and learns nothing.

  Args:
    features: channels of each branch and of the output.
    rates: dilation of the 3x3 convolutions, in pixels of the map.
    dtype: compute dtype; parameters and running statistics stay in float32.
    axis_name: mapped axis over which batch statistics are averaged while training.

  Returns:
    When called with maps `[B, H, W, C]`, maps `[B, H, W, features]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import ASPP
    >>> init = ASPP(8, (1, 2)).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((1, 6, 6, 16)))[0].shape
    (1, 6, 6, 8)

  Reference: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
  section 3.3.
  """

  features: int = 256
  rates: Sequence[int] = RATES[8]
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map `[B, H, W, C]` to `[B, H, W, features]`."""

    def branch(x: jax.Array, name: str, size: int = 1, dilation: int = 1) -> jax.Array:
      return conv_norm(self, x, train, self.features, name, size, dilation)

    parts = [branch(x, "point")]
    parts += [branch(x, f"rate_{i}", 3, rate) for i, rate in enumerate(self.rates)]
    mean = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32).astype(x.dtype)
    # The interpolation of one pixel is that pixel.
    parts.append(jnp.broadcast_to(branch(mean, "mean"), parts[0].shape))
    return branch(jnp.concatenate(parts, axis=-1), "project")


class DeepLabHead(nn.Module):
  """DeepLabV3's head: a pyramid, a 3x3 convolution, and a 1x1 convolution to the outputs.

  It is torchvision's without the dropout.

  Args:
    outputs: channels of the output: classes, 1 for depth, 3 for normals.
    features: channels within.
    rates: as in `ASPP`.
    dtype: compute dtype; the output is in float32.
    axis_name: mapped axis over which batch statistics are averaged while training.

  Returns:
    When called with maps `[B, H, W, C]`, maps `[B, H, W, outputs]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import DeepLabHead
    >>> init = DeepLabHead(13, features=8, rates=(1, 2)).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((1, 6, 6, 16)))[0].shape
    (1, 6, 6, 13)

  Reference: as of `ASPP`.
  """

  outputs: int
  features: int = 256
  rates: Sequence[int] = RATES[8]
  dtype: Any = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map `[B, H, W, C]` to `[B, H, W, outputs]`."""
    x = ASPP(self.features, self.rates, self.dtype, self.axis_name, name="aspp")(x, train)
    x = conv_norm(self, x, train, self.features, "mix", 3)
    # The last layer in float32: its rounding is that of the prediction.
    return Conv(self.outputs, (1, 1), name="last")(x.astype(jnp.float32))


def deeplab(
  backbone: nn.Module,
  outputs: Mapping[str, int],
  architecture: str = "hps",
  *,
  features: int = 256,
  rates: Sequence[int] | None = None,
  **options: Any,
) -> Architecture:
  """A network for dense prediction: any backbone and architecture, a DeepLabV3 head a task.

  `"hps"` is the Auto-lambda paper's Split, `"mtan"` its MTAN. Outputs have the height and width of
  the images, which need not be multiples of the stride.

  Args:
    backbone: of `models.create`, with `output_stride` 8 or 16 where it has the option.
    outputs: channels of every task's output by name.
    architecture: as in `models.multi_task`.
    features: channels within the heads.
    rates: dilation of the pyramids; None for those of the backbone's `output_stride`.
    **options: fields of the architecture.

  Returns:
    The Linen module; called with images `[B, H, W, C]` it gives `[B, H, W, outputs]` by task.

  Raises:
    ValueError: if a name or option is unknown, or a number of outputs is not positive.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl import models
    >>> backbone = models.create("resnet18", width=0.25, output_stride=8)
    >>> net = models.deeplab(backbone, {"segmentation": 13, "depth": 1}, features=8)
    >>> init = net.init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((1, 50, 70, 3)))[0]["depth"].shape
    (1, 50, 70, 1)

  Reference: Liu, James, Davison and Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships",
  2022, section 5.1.
  """
  for task, count in outputs.items():
    if count < 1:
      raise ValueError(f"outputs[{task!r}] must be at least 1, got {count}")
  if features < 1:
    raise ValueError(f"features must be at least 1, got {features}")
  if rates is not None and (not isinstance(rates, Sequence) or not rates or min(rates) < 1):
    raise ValueError(f"rates must be a list of dilations, at least 1 each, got {rates!r}")
  shared: dict[str, Any] = {
    "features": features,
    "rates": RATES[getattr(backbone, "output_stride", 32)] if rates is None else tuple(rates),
    "dtype": getattr(backbone, "dtype", None),
    "axis_name": getattr(backbone, "axis_name", None),
  }
  heads = {task: DeepLabHead(count, **shared) for task, count in outputs.items()}
  return multi_task(architecture, backbone, heads, on_maps=True, upsample=True, **options)


def conv_norm(
  parent: Any, x: jax.Array, train: bool, features: int, name: str, size: int = 1, dilation: int = 1
) -> jax.Array:
  """A convolution that keeps the map's size, batch normalization and ReLU."""
  conv = Conv(
    features,
    (size, size),
    padding=dilation * (size // 2),
    kernel_dilation=dilation,
    use_bias=False,
    dtype=parent.dtype,
    name=f"{name}_conv",
  )
  norm = batch_norm(train, parent.dtype, parent.axis_name, f"{name}_norm")
  return nn.relu(norm(conv(x)))
