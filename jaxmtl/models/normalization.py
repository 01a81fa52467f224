"""Batch normalization with PyTorch's defaults."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp


def batch_norm(
  train: bool | None = None,
  dtype: Any = None,
  axis_name: str | None = None,
  name: str | None = None,
) -> nn.BatchNorm:
  """Batch normalization over all axes but the channels, with PyTorch's momentum and epsilon.

  Statistics and parameters stay in float32 whatever the compute dtype.

  Args:
    train: whether to use (and record) the batch's statistics; None leaves it to the call, by
      `use_running_average`.
    dtype: compute dtype of the output.
    axis_name: mapped axis (of `shard_map`, `pmap` or `vmap`) over which statistics are averaged.
    name: name of the module in its parent.

  Returns:
    The Linen module.

  Example:
    >>> from jaxmtl.models.normalization import batch_norm
    >>> batch_norm(train=True).momentum
    0.9
  """
  return nn.BatchNorm(
    use_running_average=None if train is None else not train,
    momentum=0.9,
    epsilon=1e-5,
    dtype=dtype,
    param_dtype=jnp.float32,
    axis_name=axis_name,
    name=name,
  )
