"""Examples as points in the plane, coloured by class."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import matplotlib.lines
import numpy as np

from jaxmtl.plots import _page
from jaxmtl.plots.colors import DATA_COLORS, Look, looks
from jaxmtl.plots.panels import panel_grid


def plot_embeddings(
  path: str | pathlib.Path | None,
  points: Mapping[str, np.ndarray],
  classes: Any,
  *,
  title: str = "",
  columns: int | None = None,
  names: Any = None,
  max_classes: int = 20,
  colors: Mapping[str, Any] | None = None,
) -> matplotlib.figure.Figure:
  """Draws one panel a method with a point an example, coloured by class.

  Args:
    path: of the file; None only returns the figure.
    points: by method, float `[N, 2]`, for example of scikit-learn's t-SNE.
    classes: integers `[N]`, or these by panel. Panels in a row that have the same share a legend.
    title: above the figure.
    columns: panels side by side; at most five where None.
    names: of the classes, or these by panel; their numbers where there are none.
    max_classes: how many classes can be told apart: of more the first ones are coloured, the others
      grey, and a note says so.
    colors: by class name, see `palette`.

  Returns:
    The figure.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.plots import plot_embeddings
    >>> figure = plot_embeddings(None, {"a": np.eye(2)}, np.arange(2), names=("left", "right"))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['left', 'right']
  """
  columns = min(columns or 5, max(len(points), 1))
  figure, panels = panel_grid(len(points), (2.9, 2.8), columns=columns)
  groups: list[tuple[np.ndarray, dict[str, Any]]] = []
  members: list[list[str]] = []
  notes: dict[str, None] = {}
  for name in points:
    own = np.asarray(classes[name] if isinstance(classes, Mapping) else classes)
    if not groups or not np.array_equal(groups[-1][0], own):
      groups.append((own, {}))
      members.append([])
    members[-1].append(name)
  axes_of = dict(zip(points, panels, strict=False))
  sides = 0.0
  for (own, _), panel_names in zip(groups, members, strict=True):
    given = names
    if isinstance(names, Mapping):
      given = next((names[name] for name in panel_names if name in names), None)
    labels = list(given) if given is not None else []
    labels += [str(c) for c in range(len(labels), int(own.max(initial=-1)) + 1)]
    style = list(_looks_of(labels, colors))
    present = np.unique(own).tolist()
    shown = present[:max_classes]
    for name in panel_names:
      _draw_points(axes_of[name], name, points[name], own, shown, style)
    handles = {labels[c]: _dot(style[c]) for c in shown}
    if len(shown) < len(present):
      handles[f"{len(present) - len(shown)} others"] = _dot(Look("0.8", "", ".", alone=True))
      notes[f"{len(shown)} of {len(present)} classes are coloured"] = None
    if len(present) < len(labels):
      notes[f"{len(labels) - len(present)} of {len(labels)} classes without an example here"] = None
    # Beside the panels, below the title.
    height = figure.get_figheight() - 0.9 if len(groups) == 1 else 2.5
    count = max(1, math.ceil(0.14 * len(handles) / height))
    texts = [_page.wrapped(text, 1.8, 7) for text in handles]
    side = count * (_page.width_of(texts, 7) + 7 * _page.LEGEND_HANDLE) + 0.15
    options: dict[str, Any] = {"ncols": count, "fontsize": 7, "frameon": False}
    options |= {"handletextpad": 0.2, "columnspacing": 0.8}
    if len(groups) == 1:
      figure.legend(list(handles.values()), texts, loc="outside right center", **options)
    else:
      axes = axes_of[panel_names[-1]]
      options |= {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
      axes.legend(list(handles.values()), texts, **options)
    sides = max(sides, side)
  figure.set_figwidth(max(4.0, 2.9 * columns + sides))
  return _page.finish(figure, path, title, notes)


def _looks_of(labels: Sequence[str], colors: Mapping[str, Any] | None) -> list[Look]:
  """Of classes, by number; two of the same name look alike."""
  style = looks(labels, colors, DATA_COLORS)
  return [style[label] for label in labels]


def _faces(look: Look) -> tuple[Any, Any]:
  """Colours inside and of the edge: small signs of one colour need more than another form."""
  return (look.color if look.alone else "white"), look.color


def _dot(look: Look) -> matplotlib.lines.Line2D:
  face, edge = _faces(look)
  return matplotlib.lines.Line2D(
    [], [], color=edge, markerfacecolor=face, marker=look.marker, markersize=4.5, ls=""
  )


def _draw_points(
  axes: matplotlib.axes.Axes,
  name: str,
  points: np.ndarray,
  own: np.ndarray,
  shown: Sequence[int],
  style: Sequence[Look],
) -> None:
  """Each map on its own scale: distances of two t-SNEs do not compare."""
  points = np.asarray(points, float)
  finite = np.isfinite(points).all(1)
  kept = points[finite]
  centre = kept.mean(0) if len(kept) else np.zeros(2)
  points = (points - centre) / max(float(np.abs(kept - centre).max(initial=0)), 1e-12)
  rest = finite & ~np.isin(own, shown)
  axes.scatter(points[rest, 0], points[rest, 1], s=3, lw=0, color="0.8")
  for c in shown:
    rows = finite & (own == c)
    face, edge = _faces(style[c])
    axes.scatter(
      points[rows, 0],
      points[rows, 1],
      s=11,
      lw=0.7,
      facecolor=face,
      edgecolor=edge,
      marker=style[c].marker,
    )
  axes.set(xticks=[], yticks=[], xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
  axes.set_aspect("equal")
  _page.panel_title(axes, name, 2.7)
