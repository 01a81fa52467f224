"""What several tasks gained or lost, in one number."""

from __future__ import annotations

from typing import Any

import numpy as np


def relative_change(metrics: Any, single: Any, lower_is_better: Any = False) -> np.ndarray:
  r"""How much better than single-task training each task is, in per cent.

  .. math:: \Delta_t = 100 (-1)^{l_t} \frac{M_t - S_t}{S_t}

  with l_t = 1 where a lower metric is better.

  Args:
    metrics: M, float `[..., T]`.
    single: S, of networks trained on one task each, float `[..., T]`, not zero.
    lower_is_better: bool, or bools `[T]`.

  Returns:
    Float64 `[..., T]`, positive where the task gained.

  Raises:
    ValueError: if the shapes do not fit, or an element of `single` is zero.

  Example:
    >>> from jaxmtl.metrics import relative_change
    >>> relative_change([0.55, 2.0], [0.5, 4.0], [False, True]).round(6).tolist()
    [10.0, 50.0]
  """
  metrics, single = np.asarray(metrics, float), np.asarray(single, float)
  lower = np.asarray(lower_is_better, bool)
  if metrics.ndim < 1 or metrics.shape[-1:] != single.shape[-1:]:
    raise ValueError(
      "metrics and single must have the tasks as their last axis, got shapes "
      f"{metrics.shape} and {single.shape}."
    )
  if lower.shape not in ((), metrics.shape[-1:]):
    raise ValueError(
      f"lower_is_better must be one bool, or one a task ({metrics.shape[-1]}), got shape "
      f"{lower.shape}."
    )
  if not single.all():
    raise ValueError("single must not be zero: no change is relative to it; leave that task out.")
  return 100 * np.where(lower, -1, 1) * (metrics - single) / single


def delta_mtl(metrics: Any, single: Any, lower_is_better: Any = False) -> np.ndarray:
  r"""The mean over tasks of the relative change against single-task training, in per cent.

  .. math:: \Delta_{MTL} = \frac{100}{T} \sum_t (-1)^{l_t} \frac{M_t - S_t}{S_t}

  Args:
    metrics: as of `relative_change`, which this is the mean of.
    single: the same.
    lower_is_better: the same.

  Returns:
    Float64 `[...]`, positive where the tasks gained on average.

  Raises:
    ValueError: as `relative_change`.

  Example:
    >>> from jaxmtl.metrics import delta_mtl
    >>> float(delta_mtl([0.55, 2.0], [0.5, 4.0], [False, True]).round(6))
    30.0

  Reference:
    Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of Multiple Tasks", 2019, equation
    4.
  """
  return relative_change(metrics, single, lower_is_better).mean(-1)
