"""Sharpness-aware minimisation (SAM) of task losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl.gradients.losses import stack_losses
from jaxmtl.regularization.gradient_norm import safe_norm

PyTree = Any


def sam(losses_fn: Callable[..., Any], radius: jax.typing.ArrayLike = 0.05) -> Callable[..., Any]:
  r"""Task losses at the worst point nearby, to first order.

  .. math:: L_k\Big(\theta + \rho \frac{g}{\|g\|}\Big), \qquad
            g = \nabla_\theta \sum_k L_k(\theta)

  The displacement is held constant, so that the task gradients are those at the displaced point,
  and every weighting and aggregator works on top. Costs another forward and backward pass.
  (`optax.contrib.sam` wants the gradient function inside the optimiser, behind the aggregator, or
  climbs on one batch and descends on the next.)

  Args:
    losses_fn: `(params, ...) -> (losses, aux)` as `training.train_step` takes it: losses `[T]` or
      a dict of scalars.
    radius: rho, in units of the parameters' norm, a scalar that may be traced.

  Returns:
    A function of the same arguments, with the losses at the displaced point and `aux` (batch
    statistics, metrics) from the undisplaced one.

  Raises:
    ValueError: when called, if the losses are not one scalar a task.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl import regularization
    >>> losses_fn = regularization.sam(lambda w: (jnp.stack([w**2]), ()), radius=0.5)
    >>> losses_fn(jnp.array(1.0))[0].tolist()
    [2.25]

  Reference:
    Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving
    Generalization", 2021, equation 3.
  """

  def displaced(params: PyTree, *args: Any, **kwargs: Any) -> Any:
    def total(params: PyTree) -> tuple[jax.Array, Any]:
      losses, aux = losses_fn(params, *args, **kwargs)
      return stack_losses(losses).sum(), aux

    grads, aux = jax.grad(total, has_aux=True)(jax.lax.stop_gradient(params))
    norm = safe_norm(grads)
    length = jnp.where(norm > 0, radius / jnp.where(norm > 0, norm, 1), 0)
    worst = jax.tree.map(lambda p, g: p + (length * g).astype(g.dtype), params, grads)
    return losses_fn(worst, *args, **kwargs)[0], aux

  return displaced
