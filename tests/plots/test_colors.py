import itertools

import matplotlib as mpl
import numpy as np

from jaxmtl import plots

NAMES = ["single task", *(f"method {i}" for i in range(29))]

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISIONS = {
  "full": np.eye(3),
  "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
  "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
  "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(color, vision):
  """CIELAB of a colour as it is seen."""
  srgb = np.array(mpl.colors.to_rgb(color))
  linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
  seen = np.clip(np.asarray(VISIONS[vision]) @ linear, 0, 1)
  to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
  x, y, z = (
    np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116
    for v in to_xyz @ seen / np.array([0.9505, 1, 1.089])
  )
  return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def closest(pairs, vision):
  return min(np.linalg.norm(lab(a, vision) - lab(b, vision)) for a, b in pairs)


def test_colours_are_apart_with_any_vision():
  for vision in VISIONS:
    assert closest(itertools.combinations(plots.COLORS, 2), vision) > 15, vision
    assert closest(itertools.combinations(plots.DATA_COLORS, 2), vision) > 15, vision
  # Far from those of methods for most readers.
  assert closest(itertools.product(plots.COLORS, plots.DATA_COLORS), "full") > 15


def test_a_palette_is_in_the_order_of_names_and_does_not_look_at_what_follows():
  whole = plots.palette(NAMES)
  assert list(whole) == NAMES
  assert plots.palette([*NAMES[:3], *NAMES[:3]]) == {name: whole[name] for name in NAMES[:3]}


def test_thirty_names_look_different():
  style = plots.looks(NAMES, plots.palette(NAMES))
  assert len({(look.color, str(look.line)) for look in style.values()}) >= 28
  assert len({(look.color, look.marker) for look in style.values()}) == 30
  assert [look.alone for look in style.values()] == [True] * 7 + [False] * 23
  # Dots are for references.
  assert not {":", "dotted"} & {look.line for look in style.values()}


def test_what_is_shown_of_a_palette_does_not_change_its_looks():
  colors = plots.palette(NAMES)
  whole = plots.looks(NAMES, colors)
  assert plots.looks(NAMES[20:4:-3], colors) == {n: whole[n] for n in NAMES[20:4:-3]}


def test_names_that_a_palette_lacks_come_after_it():
  found = plots.looks(["new", "a"], plots.palette(["a", "b"]))
  assert [look.color for look in found.values()] == [plots.COLORS[2], plots.COLORS[0]]
