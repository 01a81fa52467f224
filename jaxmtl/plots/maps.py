"""Images beside the maps that networks make of them: predictions, labels and errors."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.colors
import matplotlib.figure
import numpy as np

from jaxmtl.metrics import angles
from jaxmtl.plots import _page

_VOID, _RIGHT, _WRONG = "white", "0.85", "black"
_BAR = 0.07  # height of a colour bar in inches
_LINE = 0.16  # and of a line of a legend


class Maps(NamedTuple):
  """One task's maps of some images.

  Attributes:
    kind: `classes`, `normal`, `probability`, or anything else for one number a pixel.
    prediction: integers `[N, H, W]`, or numbers `[N, H, W, K]`.
    truth: the same shape; None where labels are not known.
    valid: bools `[N, H, W]`: where there is a label.
    names: of the classes.
    unit: of the numbers, for the colour bar.
  """

  kind: str
  prediction: np.ndarray
  truth: np.ndarray | None = None
  valid: np.ndarray | None = None
  names: Sequence[str] = ()
  unit: str = ""


def plot_maps(
  path: str | pathlib.Path | None,
  images: np.ndarray,
  maps: Mapping[str, Maps],
  *,
  title: str = "",
) -> matplotlib.figure.Figure:
  """Draws a row an image: the image, then each task's prediction, label and error.

  Pixels without a label are white. Classes have a legend, numbers and errors a colour bar; label
  and prediction share their colours. Normals are shown as colours, x, y and z from -1 to 1 as red,
  green and blue from none to full; their error is the angle. Wrong classes are black in the error,
  right ones grey.

  Args:
    path: of the file; None only returns the figure.
    images: uint8, or floats in [0, 1], `[N, H, W, 3]`.
    maps: by name of the task.
    title: above the figure.

  Returns:
    The figure.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.plots import Maps, plot_maps
    >>> depth = np.ones((1, 6, 8, 1))
    >>> maps = {"depth": Maps("depth", depth, depth + 1, depth[..., 0] > 0, unit="m")}
    >>> figure = plot_maps(None, np.zeros((1, 6, 8, 3), np.uint8), maps)
    >>> [axes.get_title() for axes in figure.axes[:4]]
    ['image', 'depth', 'label', 'error']
  """
  count, height, width = images.shape[:3]
  columns = 1 + sum(1 if m.truth is None else 3 for m in maps.values())
  each = 1.25
  size = each * columns + 0.3, each * height / width * count + 1.5
  legends = _legends(maps, size[0])
  figure = matplotlib.figure.Figure(figsize=(max(size[0], 4.0), size[1]), layout="constrained")
  # Colour bars have a row of their own, or each would take its room from its own columns alone.
  with_bar = any(
    m.kind != "classes" and (m.kind != "normal" or m.truth is not None) for m in maps.values()
  )
  # And so have legends, which would lie upon each other.
  rows = [each * height / width] * count + [_BAR] * with_bar
  rows += [_LINE * lines for _, _, lines in legends]
  spec = figure.add_gridspec(len(rows), columns, height_ratios=rows)
  places = [[figure.add_subplot(spec[i, j]) for j in range(columns)] for i in range(count)]
  grid = np.array(places, object)
  for axes in grid.ravel():
    axes.set(xticks=[], yticks=[])
  for axes, image in zip(grid[:, 0], images, strict=True):
    axes.imshow(image)
  grid[0, 0].set_title("image", fontsize=8)
  first = 1
  for task, one in maps.items():
    parts = 1 if one.truth is None else 3
    block = grid[:, first : first + parts]
    # Among several predictions of the same, the error says whose it is.
    error = "error" if sum(o.kind == one.kind for o in maps.values()) == 1 else f"error of {task}"
    for axes, name in zip(block[0], (task, "label", error), strict=False):
      axes.set_title(_page.wrapped(name, each, 8), fontsize=8)
    draw = {"classes": _classes, "normal": _normals}.get(one.kind, _numbers)
    for picture, under, unit in draw(block, one):
      below = figure.add_subplot(spec[count, first + under.start : first + under.stop])
      bar = figure.colorbar(picture, cax=below, orientation="horizontal")
      below.tick_params(labelsize=6)
      bar.set_label(unit, fontsize=7)
    first += parts
  for place, (patches, across, _) in enumerate(legends, len(rows) - len(legends)):
    below = figure.add_subplot(spec[place, :])
    below.axis("off")
    below.legend(handles=patches, loc="center", ncols=across, fontsize=7, frameon=False)
  return _page.finish(figure, path, title)


def _legends(maps: Mapping[str, Maps], width: float) -> list[tuple[list[Any], int, int]]:
  """Handles of each set of classes, in how many columns and lines they fit into a width."""
  found: dict[tuple[str, ...], list[Any]] = {}
  for names in (tuple(one.names) for one in maps.values() if one.kind == "classes"):
    if names in found:
      continue
    shown = zip(_class_colors(len(names)), names, strict=True)
    found[names] = [mpl.patches.Patch(color=color, label=name) for color, name in shown]
    if any(o.truth is not None for o in maps.values() if tuple(o.names) == names):
      found[names] += [
        mpl.patches.Patch(color=_RIGHT, label="right"),
        mpl.patches.Patch(color=_WRONG, label="wrong"),
        mpl.patches.Patch(facecolor=_VOID, edgecolor="0.5", label="no label"),
      ]
  legends = []
  for patches in found.values():
    widest = _page.width_of([str(p.get_label()) for p in patches], 7)
    across = min(max(1, int(width / (0.45 + widest))), len(patches))
    legends.append((patches, across, -(-len(patches) // across)))
  return legends


# A picture with a colour bar, the columns of its task that the bar stands under, and its unit.
Bar = tuple[Any, range, str]


def _classes(block: np.ndarray, one: Maps) -> list[Bar]:
  colors = matplotlib.colors.ListedColormap(_class_colors(len(one.names)))
  for i, row in enumerate(block):
    shown = [one.prediction[i]]
    if one.truth is not None:
      shown.append(np.ma.masked_array(one.truth[i], ~_valid(one, i)))
    for axes, values in zip(row, shown, strict=False):
      axes.imshow(
        values, cmap=colors, vmin=-0.5, vmax=len(one.names) - 0.5, interpolation="nearest"
      )
    if one.truth is not None:
      wrong = np.ma.masked_array(one.prediction[i] != one.truth[i], ~_valid(one, i))
      row[2].imshow(
        wrong,
        cmap=matplotlib.colors.ListedColormap([_RIGHT, _WRONG]),
        vmin=0,
        vmax=1,
        interpolation="nearest",
      )
  return []


def _numbers(block: np.ndarray, one: Maps) -> list[Bar]:
  values = one.prediction[..., 0]
  known = values if one.truth is None else one.truth[..., 0][_all_valid(one)]
  limits = (np.quantile(known, 0.01), np.quantile(known, 0.99)) if known.size else (0.0, 1.0)
  labels = None if one.truth is None else one.truth[..., 0]
  errors = None if labels is None else np.abs(values - labels)
  top = 1.0
  if one.kind == "probability":
    limits = 0.0, 1.0
  elif errors is not None:
    top = max(np.quantile(errors[_all_valid(one)], 0.95), 1e-6)
  for i, row in enumerate(block):
    picture = row[0].imshow(values[i], vmin=limits[0], vmax=limits[1])
    if labels is not None and errors is not None:
      truth = np.ma.masked_array(labels[i], ~_valid(one, i))
      row[1].imshow(truth, vmin=limits[0], vmax=limits[1])
      wrong = np.ma.masked_array(errors[i], ~_valid(one, i))
      error = row[2].imshow(wrong, cmap="Greys", vmin=0, vmax=top)
  if errors is None:
    return [(picture, range(1), one.unit)]
  return [(picture, range(2), one.unit), (error, range(2, 3), one.unit)]


def _normals(block: np.ndarray, one: Maps) -> list[Bar]:
  for i, row in enumerate(block):
    row[0].imshow(np.clip((one.prediction[i] + 1) / 2, 0, 1))
    if one.truth is not None:
      valid = _valid(one, i)
      row[1].imshow(np.where(valid[..., None], np.clip((one.truth[i] + 1) / 2, 0, 1), 1))
      wrong = np.ma.masked_array(np.asarray(angles(one.prediction[i], one.truth[i])), ~valid)
      error = row[2].imshow(wrong, cmap="Greys", vmin=0, vmax=60)
  return [] if one.truth is None else [(error, range(2, 3), "degrees")]


def _valid(one: Maps, i: int) -> np.ndarray:
  return np.ones(one.prediction.shape[1:3], bool) if one.valid is None else one.valid[i]


def _all_valid(one: Maps) -> np.ndarray:
  return np.ones(one.prediction.shape[:3], bool) if one.valid is None else one.valid


def _class_colors(count: int) -> list[Any]:
  """Colours apart from one another, up to twenty; then around the circle of hues."""
  if count <= 20:
    return [mpl.colormaps["tab20"](i) for i in range(count)]
  return [mpl.colormaps["hsv"](i / count) for i in range(count)]
