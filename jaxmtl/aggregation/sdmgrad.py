"""Stochastic direction-oriented multi-objective gradient descent (SDMGrad)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.aggregation.base import GramianAggregator, gramian_aggregator, preferred_weights
from jaxmtl.aggregation.projection import among_present, project_on_simplex
from jaxmtl.gradients.inner_products import accumulator_dtype, of_order_one


class SDMGradState(NamedTuple):
  """w `[T]`, summing to 1; float32 or wider."""

  weights: jax.Array


def sdmgrad(
  num_tasks: int,
  lam: float = 0.3,
  lr: float = 5.0,
  momentum: float = 0.5,
  steps: int = 20,
  scale_by: Literal["mean", "max"] = "mean",
  preference: Any = None,
) -> GramianAggregator:
  r"""Near the mean gradient, the shortest combination, without a mini-batch's bias.

  .. math:: w \approx \arg\min_{w \in \Delta} \tfrac12 \|g_w + \lambda g_0\|^2, \qquad
            g = \frac{1}{1 + \lambda} \sum_t (w_t + \lambda p_t) \, d_t

  with :math:`g_0 = \sum_t p_t g_t` the mean and :math:`g_w = \sum_t w_t g_t`, by projected gradient
  steps from the last w, equal weights at first, and with g and h the gradients of two independent
  batches, and d of a third:

  .. math:: m \leftarrow \beta m + H (w + \lambda p), \quad
            w \leftarrow \Pi_\Delta (w - \eta m), \quad
            H_{ij} = \frac{\langle g_i, h_j \rangle}
                     {\big( \frac{1}{T} \sum_k |\langle g_k, h_k \rangle|^{1/2} \big)^2}

  with m = 0 at first. `update` takes h as `second_gradients=` and d as `third_gradients=`, a train
  step a tuple of three batches. The inner products of two are unbiased, which those of one batch
  with itself are not; where h is missing, g stands for it. The division makes the step size mean
  the same whatever the gradients' scale. At the default, the authors', w jumps between corners of
  the simplex more than it converges: a step size below 1 does. The authors take the direction from
  the third batch; where that is missing, d is the mean of g and h. One task is the identity;
  lambda = 0 is MGDA's direction, a large lambda the mean.

  A task without labels keeps its w; the others share what weight they had together, and their
  update is that of weights that sum to 1. Gradients that are not finite leave w as it was.
  Task-specific parameters receive their own task's gradient, unscaled.

  Args:
    num_tasks: T, a static integer.
    lam: lambda, the pull towards the mean, at least 0.
    lr: eta, the step size, positive.
    momentum: beta, in [0, 1).
    steps: projected gradient steps an update, at least 1.
    scale_by: what H is divided by: the squared `"mean"` of the lengths, as in the authors' program,
      or the largest (`"max"`, with which 10 is usual for the step size).
    preference: p, T numbers, not negative and not all zero, 1/T each where None: the mean that is
      not left far.

  Returns:
    A `GramianAggregator` with an `SDMGradState`; its `weigh` takes the matrix of
    `<g_i, h_j>`.

  Raises:
    ValueError: if an option is outside its range.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> aggregator = jaxmtl.sdmgrad(2, lam=0.0, lr=0.5)
    >>> grads = jnp.array([[2.0, 0.0], [0.0, 1.0]])
    >>> grad, _ = aggregator.update(grads, aggregator.init(jnp.zeros(2)), second_gradients=grads)
    >>> [round(float(g), 3) for g in grad]
    [0.4, 0.8]

  Reference:
    Xiao, Ban and Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic
    Algorithms", 2023, algorithm 1.
  """
  if not guards.is_traced(lam) and not lam >= 0:
    raise ValueError(f"lam must be at least 0, got {lam}; the paper uses 0.3.")
  if not guards.is_traced(lr) and not lr > 0:
    raise ValueError(f"lr must be positive, got {lr}; the authors use 5.")
  if not guards.is_traced(momentum) and not 0 <= momentum < 1:
    raise ValueError(f"momentum must be in [0, 1), got {momentum}; the authors use 0.5.")
  if not guards.is_traced(steps) and not steps >= 1:
    raise ValueError(f"steps must be at least 1, got {steps}; the authors use 20.")

  if scale_by not in ("mean", "max"):
    raise ValueError(f"scale_by must be 'mean' or 'max', got {scale_by!r}.")
  wanted = preferred_weights(num_tasks, preference)

  def init(params: Any) -> SDMGradState:
    return SDMGradState(jnp.full(num_tasks, 1 / num_tasks, accumulator_dtype(params)))

  def weigh(
    gramian: jax.Array, state: SDMGradState, *, losses: jax.Array | None, mask: jax.Array
  ) -> tuple[jax.Array, SDMGradState]:
    del losses
    gramian = of_order_one(gramian)
    if scale_by == "mean":
      lengths = jnp.sqrt(jnp.abs(jnp.diagonal(gramian)))
      mean = lengths.sum() / jnp.maximum(mask.sum(), 1)
      gramian /= jnp.where(mean > 0, mean, 1) ** 2
    pull = lam * wanted(mask, gramian.dtype)
    start, share = among_present(state.weights, mask)

    def descend(_: Any, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
      w, velocity = carry
      velocity = momentum * velocity + gramian @ (w + pull)
      return project_on_simplex(w - lr * velocity, mask), velocity

    w = start.astype(gramian.dtype)
    w, _ = jax.lax.fori_loop(0, steps, descend, (w, jnp.zeros_like(w)))
    w = jnp.where(jnp.all(jnp.isfinite(w)), w, start)
    kept = jnp.where(mask, share * w, state.weights).astype(state.weights.dtype)
    return (w + pull) / (1 + lam), SDMGradState(kept)

  return gramian_aggregator(num_tasks, weigh, init, two_batches=True)
