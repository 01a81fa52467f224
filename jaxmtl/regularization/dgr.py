"""Dummy Gradient norm Regularization (DGR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxmtl.regularization.dummies import HeadTask, LossFns, by_task
from jaxmtl.regularization.gradient_norm import (
  autodiff_norm,
  finite_difference_norm,
  is_linear,
  linear_norms,
)

PyTree = Any
ESTIMATORS = ("exact", "autodiff", "finite_difference")


def dgr(
  heads: Mapping[str, Any],
  dummies: Mapping[str, PyTree],
  features: PyTree,
  targets: Mapping[str, Any],
  *,
  weight: jax.typing.ArrayLike = 1e-5,
  loss_fns: LossFns | None = None,
  masks: Mapping[str, Any] | None = None,
  estimator: Literal["exact", "autodiff", "finite_difference"] = "exact",
  epsilon: float = 0.01,
  num_used: jax.typing.ArrayLike | None = None,
) -> dict[str, jax.Array]:
  r"""Penalties that make the features such that any head would do: add them to the task losses.

  .. math:: P_k = \frac{\lambda}{d} \sum_{j=1}^{d} \Big\| \nabla_{\psi_{kj}}
            L_k(\psi_{kj}(z), y_k) \Big\|_F

  with d frozen heads :math:`\psi_{kj}` of random parameters a task. Only the features z, and so
  the encoder, receive its gradient, which is exact: for a linear head (`flax.linen.Dense`) from the
  closed form F^T R of its gradient, or the smaller of two products of Gramians; for all others by
  differentiating twice. It works under every weighting and aggregator, since it comes before them.

  Args:
    heads: by task, the architectures of the task's heads, as in `dummy_heads`; those of a
      `models.MultiHead` are meant.
    dummies: what `dummy_heads` drew; never updated here, whatever the optimiser sees.
    features: what the encoder gives for this batch, e.g. float `[B, D]`, of any precision; the
      norms are those of float32 or wider.
    targets: by task, what its loss takes; other entries do not matter, so that a batch will do.
    weight: lambda, a scalar that may be traced.
    loss_fns: `(outputs, targets, mask=None) -> scalar`, a mean over the batch, such as those of
      `jaxmtl.losses`; one for all tasks, or by task. None: cross-entropy.
    masks: by task, what labels are valid, as in `jaxmtl.losses`; a task without any has penalty 0
      and zero gradient.
    estimator: "exact"; "autodiff", the same without the closed form; "finite_difference", whose
      gradient comes from the loss's gradients at :math:`\psi \pm \epsilon g / \|g\|`, as in the
      paper's own experiments.
    epsilon: length of the finite difference's step.
    num_used: how many of the d dummies count, the first ones; may be traced, so that numbers of
      dummies can be compared under one `jax.vmap`. None: all.

  Returns:
    By task, a scalar penalty, float32 or wider.

  Raises:
    ValueError: for an unknown `estimator`, an `epsilon` that is not positive, or a task for which
      something is missing.

  Example:
    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> from jaxmtl import regularization
    >>> heads, features = {"digit": nn.Dense(10)}, jnp.eye(4)
    >>> dummies = regularization.dummy_heads(jax.random.key(0), heads, features)
    >>> batch = {"digit": jnp.array([3, 1, 4, 1])}
    >>> penalties = regularization.dgr(heads, dummies, features, batch, weight=0.1)
    >>> penalties["digit"].shape, bool(penalties["digit"] > 0)
    ((), True)

  Reference:
    Shin, Do and Son, "Learning Representation for Multitask Learning through Self-Supervised
    Auxiliary Learning", 2024, equation 5.
  """
  if estimator not in ESTIMATORS:
    raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}.")
  if not epsilon > 0:
    raise ValueError(f"epsilon must be positive, got {epsilon}; the paper takes .01.")
  features = jax.tree.map(_widen, features)
  tasks = by_task(heads, jax.lax.stop_gradient(dummies), targets, loss_fns, masks)
  norms = {task: _norms(found, features, estimator, epsilon) for task, found in tasks.items()}
  scale = jnp.asarray(weight)
  return {task: scale * _mean_of_first(values, num_used) for task, values in norms.items()}


def _norms(task: HeadTask, features: PyTree, estimator: str, epsilon: float) -> jax.Array:
  """One norm a dummy, `[d]`."""
  if estimator == "exact" and is_linear(task.head):
    return linear_norms(task.variables, features, task.loss)
  if estimator == "finite_difference":
    return jax.vmap(lambda v: finite_difference_norm(task.head, v, features, task.loss, epsilon))(
      task.variables
    )
  return jax.vmap(lambda v: autodiff_norm(task.head, v, features, task.loss))(task.variables)


def _mean_of_first(values: jax.Array, count: jax.typing.ArrayLike | None) -> jax.Array:
  if count is None:
    return values.mean()
  used = jnp.arange(len(values)) < count
  return jnp.where(used, values, 0).sum() / jnp.maximum(used.sum(), 1)


def _widen(x: jax.Array) -> jax.Array:
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))
