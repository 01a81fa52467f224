"""Losses of real targets."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmtl import guards
from jaxmtl.losses.validity import Counted, counted, same_shape


def smooth_l1(
  outputs: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  mask: Any = None,
  beta: float = 1.0,
  *,
  weights: Any = None,
  ignore: float | None = None,
) -> jax.Array:
  r"""Smooth L1 (Huber) loss, averaged over elements and labelled examples.

  .. math:: \ell = \begin{cases} e^2 / (2 \beta) & e < \beta \\ e - \beta / 2 & e \ge \beta
            \end{cases}, \qquad e = |\text{output} - \text{target}|

  Args:
    outputs: float `[batch, ...]`.
    targets: the same shape. Where masked or ignored they may hold anything.
    mask: validity over the leading axes of `outputs`, boolean or 0/1; None: all are valid. Numbers
      under `jax.jit` count as `weights` do.
    beta: where the loss turns from quadratic to linear, > 0, in the units of the targets; smaller
      makes outliers count less.
    weights: not negative, over the leading axes; the mean is weighted by them.
    ignore: target of what has no label, such as 0 for depth, or NaN.

  Returns:
    A scalar, float32 (float64 for float64 outputs); 0 if nothing is labelled.

  Raises:
    ValueError: if the shapes do not fit, `beta` is not positive, or, where values are known, a
      target that takes part is not finite. Under `jax.jit` such a target takes no part.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import smooth_l1
    >>> float(smooth_l1(jnp.array([0.5, 3.0]), jnp.zeros(2)))
    1.3125

  Reference:
    Binary Labels, section 6.3: the loss of the dense labels it is compared with.
  """
  if not guards.is_traced(beta) and not beta > 0:
    raise ValueError(f"beta must be positive, got {beta}; for the L1 loss pass a small beta.")
  outputs, targets, takes_part = _finite(outputs, targets, mask, weights, ignore)
  return takes_part.mean(optax.huber_loss(outputs, targets, delta=beta) / beta)


def mean_squared_error(
  outputs: jax.typing.ArrayLike,
  targets: jax.typing.ArrayLike,
  mask: Any = None,
  *,
  weights: Any = None,
  ignore: float | None = None,
) -> jax.Array:
  r"""Squared error, averaged over elements and labelled examples.

  .. math:: \ell = (\text{output} - \text{target})^2

  Args:
    outputs: float `[batch, ...]`.
    targets: the same shape. Where masked or ignored they may hold anything.
    mask: as of `jaxmtl.losses.smooth_l1`.
    weights: the same.
    ignore: the same.

  Returns:
    A scalar, float32 (float64 for float64 outputs); 0 if nothing is labelled.

  Raises:
    ValueError: if the shapes do not fit, or, where values are known, a target that takes part is
      not finite. Under `jax.jit` such a target takes no part.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import mean_squared_error
    >>> float(mean_squared_error(jnp.array([1.0, 3.0]), jnp.zeros(2)))
    5.0
    >>> float(mean_squared_error(jnp.array([1.0, 3.0]), jnp.zeros(2), weights=jnp.array([3, 1])))
    3.0
  """
  outputs, targets, takes_part = _finite(outputs, targets, mask, weights, ignore)
  return takes_part.mean(optax.squared_error(outputs, targets))


def _finite(
  outputs: Any, targets: Any, mask: Any, weights: Any, ignore: float | None
) -> tuple[jax.Array, jax.Array, Counted]:
  """Outputs and targets without what takes no part."""
  outputs, targets = same_shape("outputs", outputs, targets)
  found = ("targets", targets, jnp.isfinite(targets), "finite numbers")
  takes_part = counted(targets.shape, found, mask, weights, ignore)
  return takes_part.replace(outputs), takes_part.replace(targets), takes_part
