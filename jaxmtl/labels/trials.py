"""FastCAR's one-epoch test: hybrid labels whose gradients are too large are drawn together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl.labels.fastcar import FastCAR


class Trial(NamedTuple):
  """One epoch's outcome.

  Attributes:
    gap: between the intervals of neighbouring classes.
    scale: what centred labels were divided by.
    gradient: mean magnitude of the gradient's elements after the epoch.
  """

  gap: float
  scale: float
  gradient: float


def one_epoch_test(
  measure: Callable[[FastCAR, Trial], float],
  values: Any,
  classes: Any,
  *,
  gap: float = 50.0,
  scale: float = 1.0,
  limit: float = 2.0,
  adjust: Literal["gap", "scale"] = "gap",
  max_trials: int = 6,
) -> tuple[FastCAR, list[Trial]]:
  """Fit hybrid labels, and halve their gap until the gradient after one epoch is small enough.

  Args:
    measure: `(labels, trial) -> gradient`: trains a fresh regression on these labels for one epoch
      and returns `mean_magnitude` of the gradient of the loss over the training set. The trial
      holds gap and scale; its gradient is NaN yet.
    values: properties of the training set, as in `FastCAR.fit`.
    classes: their classes.
    gap: the first gap.
    scale: the first scale.
    limit: the gradient must be below this; 2 in the paper.
    adjust: what is changed after a trial that failed: `gap` is halved, as the paper changes class
      constants alone; `scale` is doubled, which also helps where the values themselves are large.
    max_trials: after so many the test gives up.

  Returns:
    The labels that passed, and all trials, the passed one last.

  Raises:
    ValueError: if no trial passed, or an option is wrong.

  Example:
    >>> from jaxmtl.labels import one_epoch_test
    >>> labels, trials = one_epoch_test(
    ...   lambda labels, trial: float(labels.high[-1] - labels.low[0]) / 20,
    ...   [1.0, 2.0, 1.0, 2.0], [0, 0, 1, 1])
    >>> [(trial.gap, trial.gradient) for trial in trials]
    [(50.0, 2.6), (25.0, 1.35)]

  Reference:
    Kini et al., "FastCAR", 2024, section 3, step 2, and section 4.6.
  """
  if adjust not in ("gap", "scale"):
    raise ValueError(f"adjust must be 'gap' or 'scale', got {adjust!r}.")
  if not limit > 0 or max_trials < 1:
    raise ValueError(
      f"limit must be positive and max_trials at least 1, got {limit} and {max_trials}."
    )
  trials: list[Trial] = []
  for _ in range(max_trials):
    labels = FastCAR.fit(values, classes, gap=gap, scale=scale)
    trial = Trial(gap, scale, float("nan"))
    trials.append(trial._replace(gradient=float(measure(labels, trial))))
    if trials[-1].gradient < limit:
      return labels, trials
    gap, scale = (gap / 2, scale) if adjust == "gap" else (gap, scale * 2)
  tried = "; ".join(f"gap {t.gap:g}, scale {t.scale:g}: {t.gradient:.3g}" for t in trials)
  raise ValueError(
    f"limit={limit:g} is exceeded after one epoch by the mean gradient of every trial ({tried}); "
    "use adjust='scale', a larger scale, a lower learning rate or more trials (max_trials)."
  )


def mean_magnitude(gradient: Any) -> jax.Array:
  """The mean of |g| over all elements of a pytree.

  Args:
    gradient: pytree of floats.

  Returns:
    A float32 scalar, or wider.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.labels import mean_magnitude
    >>> float(mean_magnitude({"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.array([0.5])}))
    1.5
  """
  leaves = jax.tree.leaves(gradient)
  total = sum(jnp.abs(leaf).sum(dtype=jnp.promote_types(leaf.dtype, "float32")) for leaf in leaves)
  return jnp.asarray(total) / sum(leaf.size for leaf in leaves)
