"""Smooth Tchebycheff scalarisation (STCH)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.tasks import check_num_tasks
from jaxmtl.weighting.base import Weighting, loss_weighting, reject


class STCHState(NamedTuple):
  """The warm-up's end.

  Attributes:
    step: int32 scalar, updates so far.
    nadir: `[T]`, the mean loss of the warm-up's last epoch, so far; 1 before.
    seen: int32 `[T]`, over how many steps.
    rejected: int32 `[T]`, steps so far in which the task's loss was not positive.
  """

  step: jax.Array
  nadir: jax.Array
  seen: jax.Array
  rejected: jax.Array


def stch(
  num_tasks: int,
  mu: float,
  reference: Any = None,
  preference: Any = None,
  warm_up_steps: int = 0,
  steps_per_epoch: int = 25,
) -> Weighting:
  r"""Descends a smooth maximum of the preferred losses.

  .. math:: L = \mu \log \sum_t e^{x_t / \mu}, \quad x_t = p_t (L_t - r_t), \quad
            w_t = p_t \, \mathrm{softmax}(x / \mu)_t

  With mu towards 0 only the largest x counts. A task without labels in the batch takes no part, and
  the preferences of the others grow by one factor so that their sum stays: with the default they
  are 1/n, n being the number of tasks with labels.

  That is the paper's formula. The authors' program for networks cannot be the plain call, as it has
  to know when an epoch ends: with a warm-up, it descends the sum of the logarithms of the losses
  first, and then

  .. math:: L = T \mu \log \sum_t e^{x_t / \mu}, \quad x_t = T p_t \log \frac{L_t}{z_t}

  with z the mean losses of the warm-up's last epoch. Losses must be positive then; what is not is
  treated as by `gls`.
  Task-specific parameters receive their own task's gradient, scaled by its weight.

  Args:
    num_tasks: T, a static integer.
    mu: smoothing > 0, in units of the preferred losses; the paper has no default.
    reference: r, T numbers below the losses (an ideal point); zeros where None.
    preference: p, T numbers, not negative and not all zero; 1/T each where None.
    warm_up_steps: updates of the warm-up, 4 epochs in the authors' program; 0 for none.
    steps_per_epoch: updates at its end that z is the mean of.

  Returns:
    A `Weighting`, without state where there is no warm-up, else with an `STCHState`.

  Raises:
    ValueError: if `mu` is not positive, `reference` or `preference` is not as above, there is a
      `reference` beside a warm-up, or that is shorter than an epoch.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> weighting = jaxmtl.stch(2, mu=0.5)  # softmax of (3, 1)
    >>> weights, _ = weighting.weigh(jnp.array([3.0, 1.0]), weighting.init(None))
    >>> [round(float(w), 3) for w in weights]
    [0.44, 0.06]

  Reference:
    Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", 2024,
    section 3.
  """
  check_num_tasks(num_tasks)
  if not guards.is_traced(mu) and not mu > 0:
    raise ValueError(f"mu must be positive, got {mu}; smaller is closer to the largest loss alone.")
  zeros = jnp.zeros(num_tasks)
  ideal = zeros if reference is None else guards.check_vector("reference", reference, num_tasks)
  equal = [1 / num_tasks] * num_tasks
  wanted = guards.check_preference(equal if preference is None else preference, num_tasks)

  if not guards.is_traced(warm_up_steps) and warm_up_steps > 0:
    if reference is not None:
      raise ValueError("reference is of losses, not of their logarithms, which a warm-up means.")
    if not 0 < steps_per_epoch <= warm_up_steps:
      raise ValueError(
        f"steps_per_epoch must be from 1 to warm_up_steps={warm_up_steps}, got {steps_per_epoch}."
      )
    return _with_warm_up(num_tasks, mu, wanted, warm_up_steps, steps_per_epoch)

  def weigh(losses: jax.Array, state: Any, mask: jax.Array) -> tuple[jax.Array, Any]:
    present = _among_present(wanted, losses, mask)
    scores = present * (losses - ideal) / mu
    return present * jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)), state

  return loss_weighting(num_tasks, weigh)


def _among_present(wanted: jax.Array, losses: jax.Array, mask: jax.Array) -> jax.Array:
  """The preferences of tasks with labels, raised to the sum of all."""
  present = jnp.where(mask, wanted, 0).astype(losses.dtype)
  total = present.sum()
  return present * (wanted.sum() / jnp.where(total > 0, total, 1))


def _with_warm_up(
  num_tasks: int, mu: Any, wanted: jax.Array, warm_up_steps: int, steps_per_epoch: int
) -> Weighting:
  def init_fn(params: Any) -> STCHState:
    del params
    none = (jnp.zeros(num_tasks, jnp.int32) for _ in range(2))
    return STCHState(jnp.zeros((), jnp.int32), jnp.ones(num_tasks, jnp.float32), *none)

  def weigh(losses: jax.Array, state: STCHState, mask: jax.Array) -> tuple[jax.Array, STCHState]:
    rejected = reject("stch", losses, mask, "it takes logarithms after a warm-up")
    valid = mask & ~rejected
    inverse = jnp.where(valid, 1 / jnp.where(valid, losses, 1), 0)
    count = valid.sum()
    share = count * _among_present(wanted / wanted.sum(), losses, valid)
    scores = share * jnp.log(jnp.where(valid, losses, 1) / state.nadir) / mu
    softmax = jnp.where(valid, jax.nn.softmax(jnp.where(valid, scores, -jnp.inf)), 0)
    warms = state.step < warm_up_steps
    weights = jnp.where(warms, 1, count * share * softmax) * inverse

    due = valid & warms & (state.step >= warm_up_steps - steps_per_epoch)
    seen = state.seen + due
    last = jnp.where(state.seen > 0, state.nadir, 0)
    mean = last + (losses - last) / jnp.maximum(seen, 1)
    nadir = jnp.where(due, mean, state.nadir).astype(state.nadir.dtype)
    return weights, STCHState(state.step + 1, nadir, seen, state.rejected + rejected)

  weighting = loss_weighting(num_tasks, weigh, init_fn)
  weighting.name = "stch"
  return weighting
