"""What all figures share: text that fits, names and notes, files."""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Iterable, Sequence

import matplotlib.axes
import matplotlib.cbook
import matplotlib.figure
import matplotlib.font_manager
import matplotlib.textpath

from jaxmtl._files import replacing

GREY = "0.35"
"""Of notes and of lines that are no method's."""


def finish(
  figure: matplotlib.figure.Figure,
  path: str | pathlib.Path | None,
  title: str = "",
  notes: Iterable[str] = (),
) -> matplotlib.figure.Figure:
  """Sets title and notes, as wide as the figure allows, and writes the file where there is one.

  Args:
    figure: with a constrained layout, which makes room for both.
    path: of the file; None only returns the figure.
    title: above the figure.
    notes: below it, in small print: what lines, bands and signs are.

  Returns:
    The figure.

  Example:
    >>> from jaxmtl.plots import finish, panel_grid
    >>> figure, panels = panel_grid(2, (2.0, 2.0))
    >>> finish(figure, None, "two panels", ["cross: wrong class"]).get_supxlabel()
    'cross: wrong class'
  """
  width = figure.get_figwidth() - 0.3
  if title:
    figure.suptitle(wrapped(title, width, 10, words=True), fontsize=10)
  note = "; ".join(notes)
  if note:
    figure.supxlabel(wrapped(note, width, 7.5, words=True), fontsize=7.5, color=GREY)
  if path is not None:
    with replacing(path) as draft:
      figure.savefig(draft, dpi=150, format=pathlib.Path(path).suffix[1:] or "png")
  return figure


@functools.lru_cache(4096)
def _width(line: str, size: float) -> float:
  # From the advances: a figure asks for hundreds, and outlines would take a tenth of its time.
  math = matplotlib.cbook.is_math_text(line)
  shown = line.rstrip() if math else line.rstrip().replace(r"\$", "$")
  font = matplotlib.font_manager.FontProperties(size=size)
  found = matplotlib.textpath.text_to_path.get_text_width_height_descent(shown, font, math)
  return float(found[0]) / 72 if shown else 0.0


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
