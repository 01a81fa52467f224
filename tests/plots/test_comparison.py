import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text

from jaxmtl import plots


def cells(figure):
  return [text.get_text() for text in figure.axes[0].texts]


def names(axes):
  return [[t.get_text() for t in axis.get_ticklabels()] for axis in (axes.yaxis, axes.xaxis)]


def test_a_heat_map_has_a_number_in_each_cell_and_names_beside(drawn):
  values = np.array([[1.234, -20.0], [np.nan, 0.0]])
  figure = drawn(plots.plot_heat_map(None, values, ["a", "b"], ["x", "y"], title="t", digits=2))
  assert cells(figure) == ["+1.23", "-20.00", "-", "+0.00"]
  assert names(figure.axes[0]) == [["a", "b"], ["x", "y"]]
  assert figure.get_suptitle() == "t"
  (image,) = figure.axes[0].images
  assert image.get_clim() == (-20, 20)
  red, *_, blue = image.cmap(image.norm([-20, 0, 20]))
  assert red[0] > red[2]
  assert blue[2] > blue[0]
  labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
  assert labels[0] == "-20"
  assert "0" in labels
  assert labels[-1] == "+20"


def test_what_seeds_may_differ_by_does_not_take_the_full_colour(drawn):
  (image,) = drawn(plots.plot_heat_map(None, [[0.5, -0.4]], ["a"], ["x", "y"])).axes[0].images
  assert image.get_clim() == (-5, 5)
  # Half a percent is nearly white, and linear: a tenth of the way.
  np.testing.assert_allclose(image.norm(0.5), 0.55)
  weights = plots.plot_heat_map(None, [[0.5]], ["a"], ["x"], floor=1.0)
  np.testing.assert_allclose(weights.axes[0].images[0].norm(0.5), 0.75)


def test_a_floor_of_the_largest_size_gives_linear_colours_and_short_ticks(drawn):
  figure = drawn(plots.plot_heat_map(None, [[0.2474, -0.1237]], ["a"], ["x", "y"], floor=0.2474))
  (image,) = figure.axes[0].images
  np.testing.assert_allclose(image.norm([0.2474, -0.1237, 0.0]), [1, 0.25, 0.5])
  assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == ["-0.24", "0", "+0.24"]


def test_what_is_beyond_the_limit_is_marked_on_the_bar(drawn):
  figure = drawn(plots.plot_heat_map(None, [[80.0, 8.0]], ["a"], ["noise*", "left"], limit=8.0))
  assert figure.axes[0].images[0].get_clim() == (-8, 8)
  assert figure.axes[0].images[0].colorbar.extend == "both"
  assert plots.plot_heat_map(None, [[8.0]], ["a"], ["b"]).axes[0].images[0].colorbar.extend == (
    "neither"
  )


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e5])
def test_heat_maps_have_room_for_long_names_and_large_numbers(scale, drawn, long):
  rows, columns = [long, "b"], [*(f"{long} {i}" for i in range(9)), "b"]
  values = scale * np.linspace(-1, 1, 20).reshape(2, 10)
  axes = drawn(plots.plot_heat_map(None, values, rows, columns, title=long)).axes[0]
  assert axes.get_xticklabels()[0].get_rotation() == 90
  room = axes.get_window_extent().width / 10
  assert max(t.get_window_extent().width for t in axes.texts) < room
  few = drawn(plots.plot_heat_map(None, values[:, :2], rows, columns[:2])).axes[0]
  assert few.get_xticklabels()[0].get_rotation() == 0


def test_heat_maps_without_a_finite_number_and_without_rows(drawn):
  assert cells(drawn(plots.plot_heat_map(None, [[np.nan]], ["a"], ["x"]))) == ["-"]
  assert cells(drawn(plots.plot_heat_map(None, np.zeros((0, 2)), [], ["x", "y"]))) == []
  assert cells(drawn(plots.plot_levels(None, [[np.nan]], ["a"], ["x"]))) == ["-"]
  given = {"limits": (1, 10), "lower_is_better": True}
  assert cells(drawn(plots.plot_levels(None, [[np.inf]], ["a"], ["x"], **given))) == ["div."]


def test_what_diverged_and_what_is_missing_are_told_apart(drawn):
  values = [[90.0, np.inf, np.nan]]
  for plot in (plots.plot_heat_map, plots.plot_levels):
    figure = drawn(plot(None, values, ["a"], ["x", "y", "z"]))
    assert [text.strip("+") for text in cells(figure)] == ["90.0", "div.", "-"]
    assert np.isfinite(figure.axes[0].images[0].get_clim()).all()


def test_levels_beyond_their_limits_are_marked_on_the_bar(drawn):
  def extend(values, **options):
    figure = drawn(plots.plot_levels(None, [values], ["a"], ["x", "y"], **options))
    return figure.axes[0].images[0].colorbar.extend

  assert extend([5.0, 95.0], limits=(10, 100)) == "min"
  assert extend([20.0, 100.1], limits=(10, 100)) == "max"
  assert extend([5.0, 101.0], limits=(10, 100)) == "both"
  assert extend([20.0, 100.0], limits=(10, 100)) == "neither"
  assert extend([20.0, np.inf], limits=(10, 100), lower_is_better=True) == "neither"


@pytest.mark.parametrize(
  ("values", "texts"),
  [([1234.56, 8.0], ["1235", "8"]), ([12.345, 1.0], ["12.3", "1.0"]), ([0.5], ["0.500"])],
)
def test_levels_have_three_digits(values, texts):
  names = [str(i) for i in range(len(values))]
  assert cells(plots.plot_levels(None, [values], ["a"], names)) == texts


def test_levels_are_the_lighter_the_better_on_a_scale_of_at_least_the_floor(drawn):
  figure = drawn(plots.plot_levels(None, [[91.0, 92.0]], ["a"], ["x", "y"], label="%", floor=20))
  assert cells(figure) == ["91.0", "92.0"]
  (image,) = figure.axes[0].images
  assert image.get_clim() == (81.5, 101.5)
  assert figure.axes[1].get_ylabel() == "%"
  given = plots.plot_levels(None, [[91.0, 92.0]], ["a"], ["x", "y"], limits=(60, 95))
  assert given.axes[0].images[0].get_clim() == (60, 95)


def test_levels_of_errors_are_logarithmic_and_light_below(drawn):
  figure = drawn(
    plots.plot_levels(None, [[0.1, 10.0]], ["a"], ["x", "y"], lower_is_better=True, digits=3)
  )
  (image,) = figure.axes[0].images
  assert isinstance(image.norm, mpl.colors.LogNorm)
  best, worst = image.cmap(image.norm([0.1, 10.0]))
  assert best[:3].sum() > worst[:3].sum()
  near = plots.plot_levels(None, [[1.0, 1.01]], ["a"], ["x", "y"], lower_is_better=True, floor=0.5)
  low, high = near.axes[0].images[0].get_clim()
  np.testing.assert_allclose(high / low, 1.5)
  zero = drawn(plots.plot_levels(None, [[0.0, 1.0]], ["a"], ["x", "y"], lower_is_better=True))
  assert cells(zero) == ["0.00", "1.00"]


def test_points_are_means_with_bars_of_a_standard_deviation(drawn):
  points = {"one": (np.float64(3.0), np.ones(1)), "two": (2.0, [1.0, 2.0, 6.0])}
  colors = plots.palette(["other", "one", "two"])
  figure = drawn(
    plots.plot_trade_off(
      None, points, xlabel="x", ylabel="y", title="t", reference="one", colors=colors
    )
  )
  (axes,) = figure.axes
  one, two = axes.containers
  assert (one.lines[0].get_xdata().tolist(), one.lines[0].get_ydata().tolist()) == ([3], [1])
  assert two.lines[0].get_ydata().tolist() == [3]
  (segment,) = two.lines[2][0].get_segments()
  np.testing.assert_allclose(segment[:, 1], 3 + np.std([1, 2, 6], ddof=1) * np.array([-1, 1]))
  assert [one.lines[0].get_color(), two.lines[0].get_color()] == [colors["one"], colors["two"]]
  assert [t.get_text() for t in axes.texts] == ["one", "two"]
  dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
  assert [list(line.get_xdata()) for line in dashed] == [[3, 3], [0, 1]]
  assert figure.get_supxlabel() == (
    "bars: standard deviation of 3 seeds; dashed lines cross at one"
  )
  # Signs beside the names are no points: they leave the limits as they are.
  assert axes.get_xlim()[1] < 3.2


def test_a_method_without_a_finite_number_is_named_without_a_point(drawn, long):
  points = {"gone": (1.0, [np.nan, np.nan]), long: (2.0, [1.0, np.nan])}
  figure = drawn(plots.plot_trade_off(None, points, xlabel="x", ylabel="y", reference="gone"))
  (axes,) = figure.axes
  assert [t.get_text().replace("\n", "") for t in axes.texts] == [
    "gone (not finite)",
    long,
  ]
  assert len(axes.containers) == 1
  assert figure.get_supxlabel() == ""
  drawn(plots.plot_trade_off(None, {}, xlabel="x", ylabel="y"))


def test_names_of_thirty_methods_do_not_cover_each_other(drawn):
  points = {f"method {i}": (float(i), np.ones(2)) for i in range(30)}
  (axes,) = drawn(plots.plot_trade_off(None, points, xlabel="x", ylabel="y")).axes
  # Of the text alone, without its line.
  boxes = sorted(Text.get_window_extent(t).intervaly.tolist() for t in axes.texts)
  assert len(boxes) == 30
  assert all(low[1] <= high[0] + 1 for low, high in itertools.pairwise(boxes))
  styles = {(c.lines[0].get_color(), c.lines[0].get_marker()) for c in axes.containers}
  assert len(styles) == 30
