"""What the data look like: groups of images, and label representations."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.figure
import numpy as np

from jaxmtl.plots import _page


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
    labels: by representation, float `[num_classes, dim]`. Greys reach from each one's lowest to its
      highest entry, and at least from 0 to 1: dense ones may have far larger entries than codes.
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
  panels = figure.subplots(max(len(labels), 1), 1, squeeze=False)[:, 0]
  for axes, (name, values) in zip(panels, shown.items(), strict=False):
    finite = values[np.isfinite(values)]
    norm = mpl.colors.Normalize(finite.min(initial=0), finite.max(initial=1))
    image = axes.imshow(values, cmap="gray_r", norm=norm, aspect="auto", interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, fraction=0.03, aspect=12, label="entry")
    bar.ax.tick_params(labelsize=7)
    axes.set_yticks(range(len(values)), names[: len(values)], fontsize=7)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params("x", labelsize=7)
    whole = np.shape(labels[name])
    part = "" if values.shape == whole else f" (the first {len(values)} x {values.shape[1]})"
    text = f"{name}: {whole[0]} classes x {whole[1]} dimensions{part}"
    axes.set_title(_page.wrapped(text, size[0] - 2, 9, words=True), fontsize=9, loc="left")
  panels[-1].set_xlabel("label dimension", fontsize=9)
  return _page.finish(figure, path)
