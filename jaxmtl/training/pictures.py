"""Figures of single examples: embeddings in the plane, and groups of images."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.figure
import numpy as np

from jaxmtl.training.comparison import panel_grid
from jaxmtl.training.plots import COLORS


def plot_embeddings(
  path: str | pathlib.Path,
  points: Mapping[str, np.ndarray],
  classes: np.ndarray | Mapping[str, np.ndarray],
  *,
  title: str = "",
  columns: int | None = None,
  names: Mapping[str, Sequence[str]] | None = None,
) -> None:
  """Draws one panel a method with a point an example, coloured by class.

  Args:
    path: of the PNG file.
    points: by method, float `[N, 2]`, for example of scikit-learn's t-SNE.
    classes: integers `[N]`, or these by panel.
    title: above the figure.
    columns: panels side by side; at most five where None.
    names: of the classes, by panel; these panels get a legend on their right.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.training.pictures import plot_embeddings
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   plot_embeddings(
    ...     f"{folder}/a.png", {"a": np.eye(2)}, np.arange(2), names={"a": ("left", "right")}
    ...   )
  """
  figure, panels = panel_grid(len(points), (2.2, 2.1), columns=columns or min(len(points), 5))
  for axes, (name, values) in zip(panels, points.items(), strict=True):
    own = classes[name] if isinstance(classes, Mapping) else classes
    count = int(own.max()) + 1
    wheel = mpl.colormaps["turbo"](np.linspace(0.03, 0.97, count))
    colors = np.array([mpl.colors.to_rgba(c) for c in COLORS[:count]]) if count <= 7 else wheel
    # Each map on its own scale: distances of two t-SNEs do not compare.
    values = (values - values.mean(0)) / np.maximum(np.abs(values - values.mean(0)).max(), 1e-12)
    axes.scatter(values[:, 0], values[:, 1], s=4, lw=0, c=colors[own])
    axes.set_title(name, fontsize=9)
    axes.set(xticks=[], yticks=[])
    if names and name in names:
      # The last classes may have no example here.
      for color, label in zip(colors, names[name], strict=False):
        axes.scatter([], [], s=12, lw=0, color=color, label=label)
      axes.legend(
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        ncols=1 + (count > 10),
        fontsize=7,
        frameon=False,
      )
  figure.suptitle(title, fontsize=10)
  figure.savefig(path, dpi=150)


def plot_image_groups(
  path: str | pathlib.Path,
  rows: Mapping[str, Mapping[str, np.ndarray]],
  *,
  title: str = "",
) -> None:
  """Draws groups of images side by side, one row a class.

  Args:
    path: of the PNG file.
    rows: by name of the row and of the group, uint8 images `[n, H, W, C]` of one size.
    title: above the figure.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.training.pictures import plot_image_groups
    >>> images = np.zeros((2, 8, 8, 1), np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   plot_image_groups(f"{folder}/a.png", {"zero": {"first": images, "second": images}})
  """
  columns = max(len(groups) for groups in rows.values())
  longest = max(len(images) for groups in rows.values() for images in groups.values())
  figure = matplotlib.figure.Figure(
    figsize=(0.8 + 0.42 * longest * columns, 0.7 + 0.48 * len(rows)), layout="constrained"
  )
  grid = figure.subplots(len(rows), columns, squeeze=False)
  for r, (name, groups) in enumerate(rows.items()):
    for axes in grid[r, len(groups) :]:
      axes.axis("off")
    for axes, (group, images) in zip(grid[r], groups.items(), strict=False):
      height, channels = images.shape[1], images.shape[-1]
      strip = np.pad(
        images, ((0, 0), (0, 0), (0, max(1, height // 16)), (0, 0)), constant_values=255
      )
      strip = np.concatenate(list(strip), axis=1)
      axes.imshow(np.repeat(strip, 3, axis=-1) if channels == 1 else strip)
      axes.set(xticks=[], yticks=[])
      axes.spines[:].set_visible(False)
      if r == 0:
        axes.set_title(group, fontsize=8)
    grid[r, 0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
  figure.suptitle(title, fontsize=10)
  figure.savefig(path, dpi=150)
