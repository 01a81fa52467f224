"""FastCAR: class and property in one number, so that one regression learns both."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import guards


class FastCAR(NamedTuple):
  r"""Hybrid labels, whose value tells the class by its interval and the property within it.

  .. math:: h = y + b_c, \quad t = \frac{h - m}{s}, \qquad
            b_c = \max(0, \; \max_{c' \text{ before } c} h + g - \min_c y)

  Classes come in the order of their lowest property, the first one has b = 0, g is the gap between
  neighbouring intervals, m the middle of the lowest and the highest h, and s a scale, 1 in the
  paper. A single regression learns t by the mean squared error; `decode` gives back class and
  property. All fields are arrays: it is a pytree, closed over or passed into `jax.jit`.

  Attributes:
    classes: int32 `[C]`, the classes that occur, in the order of their intervals.
    offsets: float `[C]`, b of each.
    low: float `[C]`, the lowest h of each.
    high: float `[C]`, the highest h of each.
    shifts: float `[C]`, b - m: what brings y to the centred label.
    boundaries: float `[C - 1]`, the middles of the gaps, centred.
    centre: float scalar, m.
    scale: float scalar, s.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.labels import FastCAR
    >>> hardness = jnp.array([179.0, 240.0, 818.0, 961.0, 887.0, 1146.0])
    >>> steel = jnp.array([0, 0, 4, 4, 5, 5])
    >>> labels = FastCAR.fit(hardness, steel, gap=50.0)
    >>> labels.offsets.tolist(), float(labels.centre)
    ([0.0, 0.0, 124.0], 724.5)
    >>> targets = labels.encode(hardness, steel)
    >>> [values.tolist() for values in labels.decode(targets + 10.0)]
    [[0, 0, 4, 4, 5, 5], [189.0, 250.0, 828.0, 971.0, 897.0, 1156.0]]

  Reference:
    Kini et al., "FastCAR: Fast Classification And Regression Multi-Task Learning via Task
    Consolidation for Modelling a Continuous Property Variable of Object Classes", 2024, section 3.
  """

  classes: jax.Array
  offsets: jax.Array
  low: jax.Array
  high: jax.Array
  shifts: jax.Array
  boundaries: jax.Array
  centre: jax.Array
  scale: jax.Array

  @classmethod
  def fit(cls, values: Any, classes: Any, *, gap: float = 50.0, scale: float = 1.0) -> FastCAR:
    """Choose the offsets on training labels; the order of the examples does not matter.

    Args:
      values: properties y, finite numbers `[num_examples]`, on the host.
      classes: their classes, integers `[num_examples]`, not negative; numbers may be left out,
        and a class may have one value only.
      gap: least distance of two intervals, > 0, in the unit of the values.
      scale: what centred labels are divided by, > 0; 1 in the paper.

    Returns:
      The labels. Ties between classes with the same lowest value go by the highest, then by number.

    Raises:
      TypeError: if `classes` are not integers.
      ValueError: if a shape, a value or an option is wrong, or the gap is lost in the rounding of
        float32.
    """
    values, classes = np.asarray(values, np.float64), np.asarray(classes)
    _check_labels(values, classes)
    if values.ndim != 1 or not values.size:
      raise ValueError(f"values must be a non-empty vector, got shape {values.shape}.")
    for name, option in (("gap", gap), ("scale", scale)):
      if not (option > 0 and np.isfinite(option)):
        raise ValueError(f"{name} must be positive and finite, got {option}.")
    present = np.unique(classes)
    if present[0] < 0 or present[-1] > np.iinfo(np.int32).max:
      wrong = present[0] if present[0] < 0 else present[-1]
      raise ValueError(f"classes must be in 0 .. 2^31 - 1, got {wrong}.")
    ranges = [(values[classes == c].min(), values[classes == c].max(), c) for c in present]
    offsets: list[float] = []
    last = -np.inf
    for low, high, _ in sorted(ranges):
      offsets.append(float(max(0.0, last + gap - low)) if offsets else 0.0)
      last = high + offsets[-1]
    lows, highs, order = (np.array(column) for column in zip(*sorted(ranges), strict=True))
    lows, highs = lows + offsets, highs + offsets
    centre = (highs[-1] + lows[0]) / 2
    _check_resolution(values, lows, highs, centre, scale, gap)
    return cls(
      classes=jnp.asarray(order, jnp.int32),
      offsets=jnp.asarray(offsets),
      low=jnp.asarray(lows),
      high=jnp.asarray(highs),
      shifts=jnp.asarray(np.array(offsets) - centre),
      boundaries=jnp.asarray((highs[:-1] + lows[1:]) / 2 - centre),
      centre=jnp.asarray(centre),
      scale=jnp.asarray(float(scale)),
    )

  def encode(self, values: Any, classes: Any) -> jax.Array:
    """The training targets t.

    Args:
      values: properties y `[...]`; they may lie outside the range that was fitted.
      classes: their classes, integers `[...]`.

    Returns:
      float `[...]`. Inside `jax.jit`, where nothing can be raised, a class that was not fitted
      has the target NaN.

    Raises:
      TypeError: if `classes` are not integers.
      ValueError: if the shapes differ, a value is not finite, or a class was not fitted.
    """
    _check_labels(values, classes)
    values, classes = jnp.asarray(values, self.shifts.dtype), jnp.asarray(classes)
    match = classes[..., None] == self.classes
    known = match.any(-1)
    if not guards.is_traced(known) and not known.all():
      unseen = sorted(set(np.asarray(classes)[~np.asarray(known)].tolist()))
      raise ValueError(
        f"classes {unseen} did not occur when the labels were fitted, only "
        f"{sorted(self.classes.tolist())}; fit on data that hold every class."
      )
    targets = (values + self.shifts[match.argmax(-1)]) / self.scale
    return jnp.where(known, targets, jnp.nan)

  def decode(self, targets: Any) -> tuple[jax.Array, jax.Array]:
    """Class and property of predicted targets.

    The class is the one whose interval holds h = s t + m, else the nearest one; the property is h
    without the class's offset.

    Args:
      targets: float `[...]`, predictions of t.

    Returns:
      Classes, int32 `[...]`, and properties, float `[...]`. Inside `jax.jit`, where nothing can
      be raised, a target that is not finite has class -1 and property NaN.

    Raises:
      ValueError: if a target is not finite.
    """
    _check_finite("targets", targets)
    centred = jnp.asarray(targets, self.shifts.dtype) * self.scale
    # Intervals are apart and in order, so the nearest one ends at the middles of the gaps beside.
    place = (centred[..., None] > self.boundaries).sum(-1)
    finite = jnp.isfinite(centred)
    return (
      jnp.where(finite, self.classes[place], -1),
      jnp.where(finite, centred - self.shifts[place], jnp.nan),
    )


def _check_labels(values: Any, classes: Any) -> None:
  if jnp.shape(values) != jnp.shape(classes):
    raise ValueError(
      f"values and classes must have one shape, got {jnp.shape(values)} and {jnp.shape(classes)}."
    )
  if not jnp.issubdtype(jnp.result_type(classes), jnp.integer):
    raise TypeError(f"classes must be integers, got dtype {jnp.result_type(classes)}.")
  _check_finite("values", values)


def _check_finite(name: str, values: Any) -> None:
  if guards.is_traced(values):
    return
  values = np.asarray(values)
  bad = np.argwhere(~np.isfinite(values))
  if len(bad):
    place = tuple(bad[0].tolist())
    raise ValueError(
      f"{name} must be finite, got {values[place]} at {place} ({len(bad)} in all); leave these "
      "examples out, or, if a network predicted them, lower its learning rate."
    )


def _check_resolution(
  values: np.ndarray,
  lows: np.ndarray,
  highs: np.ndarray,
  centre: float,
  scale: float,
  gap: float,
) -> None:
  """Raises where float32 (float64 under `jax_enable_x64`) cannot tell neighbouring classes."""
  dtype = jnp.zeros(()).dtype
  width = highs[-1] - lows[0]
  largest = max(np.abs(values).max(), width, abs(centre), abs(lows[0]))
  if not max(largest, width / scale) < jnp.finfo(dtype).max / 4:
    raise ValueError(
      f"values are too large for {dtype}, labels reach {max(largest, width / scale):g}; choose "
      "another unit or scale."
    )
  least = 16 * float(jnp.finfo(dtype).eps) * largest
  if len(lows) > 1 and gap < least:
    raise ValueError(
      f"gap={gap:g} is lost in {dtype} beside labels of size {largest:g}; choose at least "
      f"{least:g}, or another unit."
    )
