"""What all figures share: text that fits, curves with bands, epoch axes, files."""

from __future__ import annotations

import functools
import math
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.axes
import matplotlib.collections
import matplotlib.figure
import matplotlib.font_manager
import matplotlib.legend
import matplotlib.lines
import matplotlib.textpath
import matplotlib.ticker
import numpy as np

from jaxmtl.plots.colors import Look

GREY = "0.35"
"""Of notes and of lines that are no method's."""


def finish(
  figure: matplotlib.figure.Figure,
  path: str | pathlib.Path | None,
  title: str = "",
  notes: Iterable[str] = (),
) -> matplotlib.figure.Figure:
  """Sets title and notes, as wide as the figure allows, and writes the file where there is one."""
  width = figure.get_figwidth() - 0.3
  if title:
    figure.suptitle(wrapped(title, width, 10, words=True), fontsize=10)
  note = "; ".join(notes)
  if note:
    figure.supxlabel(wrapped(note, width, 7.5, words=True), fontsize=7.5, color=GREY)
  if path is not None:
    path = pathlib.Path(path)
    draft = path.with_name(path.name + ".tmp")
    # Whoever looks while it is written, or after a kill, finds the whole figure or the one before.
    figure.savefig(draft, dpi=150, format=path.suffix[1:] or "png")
    draft.replace(path)
  return figure


@functools.lru_cache(4096)
def _width(line: str, size: float) -> float:
  font = matplotlib.font_manager.FontProperties()
  outline = matplotlib.textpath.TextPath((0, 0), line, size=size, prop=font)
  return float(outline.get_extents().width) / 72 if line.strip() else 0.0


def width_of(texts: Iterable[str], size: float) -> float:
  """Of the widest line, in inches, at a font size in points."""
  return max((_width(line, size) for text in texts for line in text.split("\n")), default=0.0)


def wrapped(text: str, width: float, size: float, *, words: bool = False) -> str:
  """The text in lines of at most a width in inches.

  Args:
    text: with or without line breaks, which stay.
    width: in inches.
    size: of the font, in points.
    words: whether lines break between words alone, as in a sentence, rather than also after the
      signs that names are joined with. What is too wide by itself is cut.
  """
  width = max(width, 0.5)
  pattern = r"\S+\s*" if words else r"[^\s+_,:;/-]+[+_,:;/-]*\s*|[+_,:;/-]+\s*"
  lines = []
  for paragraph in text.split("\n"):
    line = ""
    for piece in re.findall(pattern, paragraph):
      if line and _width((line + piece).rstrip(), size) > width:
        lines.append(line.rstrip())
        line = ""
      while _width(piece.rstrip(), size) > width and len(piece.rstrip()) > 1:
        fits = max(1, int(len(piece) * width / _width(piece.rstrip(), size)))
        lines.append(piece[:fits])
        piece = piece[fits:]
      line += piece
    lines.append(line.rstrip())
  return "\n".join(lines)


def positions(epochs: Any, name: str, length: int, counted: str = "epochs") -> np.ndarray:
  """Where the points of a curve stand: given, for all or by name, or counted from 1."""
  given = epochs.get(name) if isinstance(epochs, Mapping) else epochs
  if given is None:
    return np.arange(1.0, length + 1)
  given = np.ravel(np.asarray(given, float))
  if len(given) != length:
    raise ValueError(
      f"{counted} must have an entry for each point of {name!r}, got {len(given)} for {length}; "
      f"give those of the rows that have this number, or a mapping by name where lengths differ."
    )
  return given


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


def bare(axes: matplotlib.axes.Axes) -> None:
  """Without the frame's upper and right side."""
  axes.spines[["top", "right"]].set_visible(False)


def panel_name(name: str, width: float) -> tuple[str, int]:
  """A panel's name and its font size: smaller, then in several lines, where it is too long."""
  size = next((s for s in (9, 8) if width_of([name], s) <= width), 7)
  return wrapped(name, width, size), size


def panel_title(axes: matplotlib.axes.Axes, name: str, width: float) -> None:
  """Writes it above the panel."""
  text, size = panel_name(name, width)
  axes.set_title(text, fontsize=size)


def legend_columns(labels: Sequence[str], width: float, size: float) -> int:
  """How many columns of a legend a width in inches takes."""
  each = width_of(labels, size) + LEGEND_HANDLE * size
  return max(1, min(len(labels), int(width / max(each, 1e-6))))


LEGEND_HANDLE = 0.075
"""Room in inches, a point of font size, of a legend's sign and the gaps around it."""
