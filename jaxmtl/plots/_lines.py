"""What figures of curves share: lines with bands, horizontal lines, where points stand, axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.axes
import matplotlib.collections
import matplotlib.lines
import matplotlib.ticker
import numpy as np

from jaxmtl.plots._page import GREY
from jaxmtl.plots.colors import Look


def positions(epochs: Any, names: tuple[str, ...], length: int) -> np.ndarray:
  """Where the points of a curve stand: given, for all or by its names, or counted from 1."""
  given = epochs
  for name in names:
    given = given.get(name) if isinstance(given, Mapping) else given
  if given is None:
    return np.arange(1.0, length + 1)
  given = np.ravel(np.asarray(given, float))
  if len(given) != length:
    curve = ", ".join(map(repr, names))
    raise ValueError(
      f"epochs must have an entry for each point of {curve}, got {len(given)} for {length}; "
      f"give those of the rows that have this number, or a mapping by name where lengths differ."
    )
  return given


def draw_baselines(
  axes: matplotlib.axes.Axes, baseline: float | Mapping[str, float] | None
) -> dict[str, matplotlib.lines.Line2D]:
  """Dashed horizontal lines, by what they are: above the bands and below the lines."""
  if baseline is None:
    return {}
  heights = baseline if isinstance(baseline, Mapping) else {f"{baseline:g}": baseline}
  drawn = {}
  for number, (name, level) in enumerate(heights.items()):
    dashes = (0, (3 + 3 * number, 2))
    drawn[name] = axes.axhline(level, color=GREY, lw=1.1, ls=dashes, zorder=1.5, label=name)
  return drawn


def seeds_of(curves: Iterable[np.ndarray]) -> str:
  """What lines and bands are, in words; empty where no curve has several seeds."""
  counts = sorted({len(np.atleast_2d(c)) for c in curves if np.size(c)} - {1})
  if not counts:
    return ""
  several = " or ".join(map(str, counts))
  return f"line: mean of {several} seeds, band: lowest to highest"


def draw_curve(
  axes: matplotlib.axes.Axes,
  x: np.ndarray,
  values: np.ndarray,
  look: Look,
  *,
  width: float = 1.6,
  shade: float = 0.18,
  marked: bool = True,
  **options: Any,
) -> tuple[matplotlib.lines.Line2D, bool]:
  """Draws a mean over seeds in a band from the lowest to the highest.

  Args:
    axes: where.
    x: `[points]`.
    values: `[seeds, points]`; of each point the seeds that are finite count.
    look: of the line.
    width: of the line, in points.
    shade: opacity of the band.
    marked: whether a line that shares its colour gets markers along it.
    **options: of the line.

  Returns:
    The line, and whether any point was finite.
  """
  finite = np.isfinite(values)
  count = finite.sum(0)
  there = count > 0
  mean = np.where(there, np.where(finite, values, 0).sum(0) / np.maximum(count, 1), np.nan)
  low = np.where(there, np.where(finite, values, np.inf).min(0), np.nan)
  high = np.where(there, np.where(finite, values, -np.inf).max(0), np.nan)
  # A point between gaps has no line through it.
  left, right = np.r_[False, there[:-1]], np.r_[there[1:], False]
  lone = there & ~left & ~right
  places = np.flatnonzero(lone)
  if marked and not look.alone:
    places = np.union1d(places, np.unique(np.linspace(0, len(x) - 1, 7).astype(int)))
  options = {"ls": look.line, **options}
  (line,) = axes.plot(
    x,
    mean,
    color=look.color,
    lw=width,
    marker=look.marker if len(places) else None,
    markersize=4,
    markevery=places.tolist(),
    **options,
  )
  if len(values) > 1:
    _band(axes, x, low, high, color=look.color, alpha=shade, lw=0)
    if lone.any():
      axes.vlines(x[lone], low[lone], high[lone], color=look.color, alpha=2 * shade, lw=3)
  return line, bool(there.any())


def _band(
  axes: matplotlib.axes.Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, **options: Any
) -> None:
  """As `fill_between`, with which a figure of 19 panels takes 2.7 s instead of 1.9."""
  there = np.r_[False, np.isfinite(low), False]
  starts, ends = np.flatnonzero(np.diff(there.astype(int))).reshape(-1, 2).T
  pieces = [
    np.r_[np.c_[x, low][a:b], np.c_[x, high][a:b][::-1]] for a, b in zip(starts, ends, strict=True)
  ]
  axes.add_collection(matplotlib.collections.PolyCollection(pieces, **options), autolim=False)
  if pieces:
    axes.update_datalim(np.concatenate(pieces))


def epoch_axis(axes: matplotlib.axes.Axes, x: Sequence[float] | np.ndarray, ticks: int = 9) -> None:
  """Integer ticks, and whole epochs around points that are less than one apart."""
  axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(ticks, integer=True, min_n_ticks=1))
  axes.ticklabel_format(useOffset=False)
  if not len(x):
    return
  low, high = float(np.min(x)), float(np.max(x))
  if high - low < 1:
    low, high = math.floor(low), math.ceil(high)
    low, high = (low - 1, high + 1) if low == high else (low, high)
    axes.set_xlim(low - 0.05, high + 0.05)
