"""What a method, a task or a class looks like: the same in all figures of a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.colors

# Of methods: distinguishable with any colour vision (Okabe and Ito's set, without its yellow, which
# is too light for a line on white).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Of tasks and classes: apart from one another with any colour vision, and from those of methods, so
# that a colour stands for one thing where a folder shows both.
DATA_COLORS = ("#332288", "#7CAE00", "#AA4499", "#7F2704", "#777777", "#663333")

# Each time the colours are used up, the next line style and marker. Dotted is left for references.
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.8)), (0, (6, 1.5, 1.2, 1.5)), (0, (1.2, 1.2, 4, 1.2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class Look(NamedTuple):
  """How one thing is drawn.

  Attributes:
    color: of line, band and marker.
    line: style of a line.
    marker: of points, and of lines that share their colour with others.
    alone: whether no thing before has this colour: a line needs no markers then.
  """

  color: Any
  line: Any
  marker: str
  alone: bool


def palette(names: Iterable[str], cycle: Iterable[Any] = COLORS) -> dict[str, Any]:
  """A colour for each name, to be given to all figures of a folder as `colors`.

  More names than colours use them again, in the same order; figures then tell them apart by line
  style and marker, up to 28 names a colour.

  Args:
    names: all that the folder will ever show, those that have not finished or have diverged too:
      colours stay as they are when these come.
    cycle: colours; `DATA_COLORS` for tasks and classes.

  Returns:
    A colour by name, in the order of the names.

  Example:
    >>> from jaxmtl.plots import palette
    >>> palette(["single task", "equal", "pcgrad"])
    {'single task': '#0072B2', 'equal': '#D55E00', 'pcgrad': '#009E73'}
  """
  return dict(zip(dict.fromkeys(names), itertools.cycle(cycle), strict=False))


def looks(
  names: Iterable[str], colors: Mapping[str, Any] | None = None, cycle: tuple[Any, ...] = COLORS
) -> dict[str, Look]:
  """The look of each name.

  Args:
    names: what a figure shows.
    colors: as `palette` makes them. Line styles and markers follow from the place of a name among
      those of its colour, so that they too are the same in all figures. Names that it lacks come
      after those that it has.
    cycle: the colours of names that `colors` lacks.

  Example:
    >>> from jaxmtl.plots import looks
    >>> looks(["a", "b"], {"a": "black", "b": "black"})["b"]
    Look(color='black', line=(0, (5, 1.8)), marker='s', alone=False)
  """
  everything = dict(colors or {})
  for name in names:
    everything.setdefault(name, cycle[len(everything) % len(cycle)])
  found: dict[str, Look] = {}
  used: dict[Any, int] = {}
  for name, color in everything.items():
    key = mpl.colors.to_rgba(color)
    turn = used.get(key, 0)
    used[key] = turn + 1
    line, marker = _LINES[turn % len(_LINES)], _MARKERS[turn % len(_MARKERS)]
    found[name] = Look(color, line, marker, alone=turn == 0)
  return {name: found[name] for name in names}
