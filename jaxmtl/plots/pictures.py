"""Single examples: embeddings in the plane, groups of images, and label representations."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.axes
import matplotlib.figure
import matplotlib.lines
import numpy as np

from jaxmtl.plots import _page
from jaxmtl.plots.colors import DATA_COLORS, Look, looks
from jaxmtl.plots.curves import panel_grid


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
  figure, panels = panel_grid(len(points), (2.2, 2.1), columns=columns)
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
    handles = {labels[c]: _dot(style[c].color, style[c].marker) for c in shown}
    if len(shown) < len(present):
      handles[f"{len(present) - len(shown)} others"] = _dot("0.8", ".")
      notes[f"{len(shown)} of {len(present)} classes are coloured"] = None
    if len(present) < len(labels):
      notes[f"{len(labels) - len(present)} of {len(labels)} classes without an example here"] = None
    # Beside the panels, below the title.
    height = figure.get_figheight() - 0.9 if len(groups) == 1 else 1.8
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
  figure.set_figwidth(max(4.0, 2.2 * columns + sides))
  return _page.finish(figure, path, title, notes)


def _looks_of(labels: Sequence[str], colors: Mapping[str, Any] | None) -> list[Look]:
  """Of classes, by number; two of the same name look alike."""
  style = looks(labels, colors, DATA_COLORS)
  return [style[label] for label in labels]


def _dot(color: Any, marker: str) -> matplotlib.lines.Line2D:
  return matplotlib.lines.Line2D([], [], color=color, marker=marker, markersize=4, ls="")


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
    color, _, marker, _ = style[c]
    axes.scatter(points[rows, 0], points[rows, 1], s=8, lw=0, color=color, marker=marker)
  axes.set(xticks=[], yticks=[], xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
  axes.set_aspect("equal")
  _page.panel_title(axes, name, 2.0)


def plot_image_groups(
  path: str | pathlib.Path | None,
  rows: Mapping[str, Mapping[str, np.ndarray]],
  *,
  title: str = "",
  num_rows: int | None = None,
  num_groups: int | None = None,
  row: str = "classes",
  group: str = "groups",
) -> matplotlib.figure.Figure:
  """Draws groups of images side by side, one row a class.

  Args:
    path: of the file; None only returns the figure.
    rows: by name of the row and of the group, uint8 images `[n, H, W, C]` of one size.
    title: above the figure.
    num_rows: how many there are in all: where fewer are shown, a note says so.
    num_groups: of a row, in all, likewise.
    row: what rows are, for the note.
    group: what groups are.

  Returns:
    The figure.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.plots import plot_image_groups
    >>> images = np.zeros((2, 8, 8, 1), np.uint8)
    >>> figure = plot_image_groups(None, {"zero": {"first": images}}, num_rows=5)
    >>> figure.get_supxlabel()
    '1 of 5 classes shown'
  """
  columns = max((len(groups) for groups in rows.values()), default=1) or 1
  sizes = [images.shape for groups in rows.values() for images in groups.values()]
  longest = max((shape[0] for shape in sizes), default=1)
  ratio = sizes[0][2] / sizes[0][1] if sizes else 1.0
  names = [_page.wrapped(name, 1.6, 8) for name in rows]
  each = max(0.42 * max(ratio, 0.5) * longest, 0.6)
  headings = {g for groups in rows.values() for g in groups}
  each = max(each, min(_page.width_of(headings, 8), 1.5) + 0.1)
  height = 0.42 * max(ratio, 0.5) / ratio + 0.06
  size = 0.4 + _page.width_of(names, 8) + each * columns, 0.8 + height * max(len(rows), 1)
  figure = matplotlib.figure.Figure(figsize=(max(size[0], 3.0), size[1]), layout="constrained")
  grid = figure.subplots(max(len(rows), 1), columns, squeeze=False)
  for axes in grid.ravel():
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
  first = next(iter(rows.values()), {})
  for r, groups in enumerate(rows.values()):
    for axes, (name, images) in zip(grid[r], groups.items(), strict=False):
      axes.imshow(_strip(images, longest))
      if r == 0 or name not in first:
        axes.set_title(_page.wrapped(name, each - 0.05, 8), fontsize=8, loc="left")
    grid[r, 0].set_ylabel(names[r], fontsize=8, rotation=0, ha="right", va="center")
  notes = []
  if num_rows is not None and num_rows > len(rows):
    notes.append(f"{len(rows)} of {num_rows} {row} shown")
  if num_groups is not None and num_groups > columns:
    notes.append(f"{columns} of {num_groups} {group} shown")
  return _page.finish(figure, path, title, notes)


def _strip(images: np.ndarray, longest: int) -> np.ndarray:
  """Images in a row, with gaps; as wide as the longest row's, so that all have one scale."""
  gap = max(1, images.shape[1] // 16)
  missing = longest - len(images)
  images = np.pad(images, ((0, missing), *[(0, 0)] * 3), constant_values=255)
  images = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
  strip = np.concatenate(list(images), axis=1)
  return np.repeat(strip, 3, axis=-1) if strip.shape[-1] == 1 else strip


def plot_labels(
  path: str | pathlib.Path | None,
  labels: Mapping[str, np.ndarray],
  class_names: Sequence[str],
  max_classes: int = 12,
) -> matplotlib.figure.Figure:
  """Draws label representations: a row a class, a column a dimension (the first 128).

  Args:
    path: of the file; None only returns the figure.
    labels: by representation, float `[num_classes, dim]`; all have one scale of grey.
    class_names: names of the classes.
    max_classes: how many classes to show.

  Returns:
    The figure.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.plots import plot_labels
    >>> figure = plot_labels(None, {"one-hot": np.eye(3)}, ["a", "b", "c"])
    >>> figure.axes[0].get_title(loc="left")
    'one-hot: 3 classes x 3 dimensions'
  """
  rows = min(max_classes, len(class_names))
  names = [_page.wrapped(name, 1.8, 7) for name in class_names[:rows]]
  lines = max((name.count("\n") + 1 for name in names), default=1)
  size = 7.6 + _page.width_of(names, 7), (0.7 + 0.17 * lines * rows) * len(labels) + 0.5
  figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
  shown = {name: np.asarray(v, float)[:rows, :128] for name, v in labels.items()}
  everything = np.concatenate([[0.0, 1.0], *(np.ravel(v) for v in shown.values())])
  everything = everything[np.isfinite(everything)]
  norm = mpl.colors.Normalize(everything.min(), everything.max())
  panels = figure.subplots(max(len(labels), 1), 1, squeeze=False)[:, 0]
  image = None
  for axes, (name, values) in zip(panels, shown.items(), strict=False):
    image = axes.imshow(values, cmap="gray_r", norm=norm, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(values)), names[: len(values)], fontsize=7)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params("x", labelsize=7)
    whole = np.shape(labels[name])
    part = "" if values.shape == whole else f" (shown: the first {len(values)} x {values.shape[1]})"
    text = f"{name}: {whole[0]} classes x {whole[1]} dimensions{part}"
    axes.set_title(_page.wrapped(text, size[0] - 2, 9, words=True), fontsize=9, loc="left")
  panels[-1].set_xlabel("label dimension", fontsize=9)
  if image is not None:
    figure.colorbar(image, ax=list(panels), fraction=0.03, label="entry of the label", aspect=25)
  return _page.finish(figure, path)
