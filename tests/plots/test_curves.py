import numpy as np
import pytest

from jaxmtl import plots

AXES = {"xlabel": "epoch", "ylabel": "accuracy (%)"}


def legend(figure):
  return [text.get_text() for text in figure.legends[0].get_texts()]


def shown_ticks(axes):
  low, high = axes.get_xlim()
  return [tick for tick in axes.get_xticks() if low <= tick <= high]


def test_a_line_is_the_mean_of_seeds_in_a_band_over_their_range(drawn):
  values = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 0.0]])
  figure = drawn(plots.plot_curves(None, {"a": values, "b": [1.0, 1.0, 1.0]}, **AXES))
  (axes,) = figure.axes
  first, second = axes.lines
  np.testing.assert_array_equal(first.get_xydata(), [[1, 2], [2, 2], [3, 3]])
  np.testing.assert_array_equal(second.get_ydata(), [1, 1, 1])
  (band,) = axes.collections
  (path,) = band.get_paths()
  np.testing.assert_array_equal(path.vertices[:3], [[1, 1], [2, 2], [3, 0]])
  np.testing.assert_array_equal(path.vertices[3:6], [[3, 6], [2, 2], [1, 3]])
  low, high = axes.get_ylim()
  assert low < 0
  assert high > 6
  assert legend(figure) == ["a", "b"]
  assert figure.get_supxlabel() == "line: mean of 2 seeds, band: lowest to highest"
  assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "accuracy (%)")


def test_one_seed_has_no_band_and_no_word_of_it():
  figure = plots.plot_curves(None, {"a": np.ones((1, 3))}, title="one", **AXES)
  assert not figure.axes[0].collections
  assert figure.get_supxlabel() == ""
  assert figure.axes[0].get_title() == "one"


def test_a_file_is_written_where_there_is_a_path(tmp_path):
  plots.plot_curves(tmp_path / "a.png", {"a": np.ones(3)}, **AXES)
  plots.plot_curves(str(tmp_path / "a.svg"), {"a": np.ones(3)}, **AXES)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg"]
  assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
  assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(("epoch", "limits"), [(1, (0, 2)), (0.5, (0, 1)), (40, (39, 41))])
def test_one_epoch_has_whole_epochs_around(epoch, limits, drawn):
  curves = {"a": np.ones((3, 1)), "b": np.zeros((3, 1))}
  (axes,) = drawn(plots.plot_curves(None, curves, epochs=[epoch], **AXES)).axes
  assert np.round(axes.get_xlim()).tolist() == list(limits)
  assert set(shown_ticks(axes)) <= set(range(50))
  assert [line.get_marker() for line in axes.lines] == ["o", "o"]


def test_rows_within_epochs_stand_where_they_belong_with_ticks_at_whole_epochs(drawn):
  given = np.arange(1, 9) / 4
  (axes,) = drawn(plots.plot_curves(None, {"a": np.ones(8)}, epochs=given, **AXES)).axes
  np.testing.assert_array_equal(axes.lines[0].get_xdata(), given)
  assert shown_ticks(axes) == [1, 2]


def test_epochs_by_name_let_curves_have_different_lengths():
  curves = {"long": np.ones(4), "short": np.ones(2)}
  epochs = {"long": [1, 2, 3, 4], "short": [2, 4]}
  (axes,) = plots.plot_curves(None, curves, epochs=epochs, **AXES).axes
  assert [line.get_xdata().tolist() for line in axes.lines] == [[1, 2, 3, 4], [2, 4]]


def test_epochs_that_do_not_fit_are_named():
  with pytest.raises(ValueError, match="each point of 'a', got 3 for 2; give those of the rows"):
    plots.plot_curves(None, {"a": np.ones(2)}, epochs=[1, 2, 3], **AXES)
  lines = {"left": np.ones(2)}
  reference = {"reference": lines, "reference_name": "alone"}
  epochs = {"a": [1, 2], "alone": [1, 2, 3]}
  with pytest.raises(ValueError, match="each point of 'alone', 'left', got 3 for 2"):
    plots.plot_panels(None, {"a": lines}, **reference, epochs=epochs, **AXES)


def test_seeds_that_are_not_finite_do_not_count(drawn):
  broken = np.array([[1.0, np.nan, np.nan, 4.0], [3.0, 5.0, np.inf, 4.0]])
  curves = {"a": broken, "none": np.full((2, 4), np.nan), "empty": np.empty(0)}
  figure = drawn(plots.plot_curves(None, curves, **AXES))
  np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [2, 5, np.nan, 4])
  # The last point has no neighbour: a marker shows it.
  assert figure.axes[0].lines[0].get_markevery() == [3]
  assert legend(figure) == ["a", "none (not finite)"]


def test_baselines_are_visible_and_named(drawn):
  levels = {"chance": 10.0, "human": 95.0}
  figure = drawn(plots.plot_curves(None, {"a": np.ones(3)}, baseline=levels, **AXES))
  chance, human = figure.axes[0].lines[1:]
  assert (chance.get_ydata()[0], human.get_ydata()[0]) == (10, 95)
  assert chance.get_linestyle() == "--"
  assert chance.get_linewidth() >= 1
  assert legend(figure) == ["a", "chance", "human"]
  assert legend(plots.plot_curves(None, {"a": [1.0]}, baseline=0.0, **AXES)) == ["a", "0"]


def test_thirty_methods_can_be_told_apart_and_named(drawn, long):
  names = [long, *(f"method {i}" for i in range(29))]
  colors = plots.palette(names)
  curves = {name: np.arange(5.0) + i for i, name in enumerate(names)}
  figure = drawn(plots.plot_curves(None, curves, colors=colors, title=long, **AXES))
  lines = figure.axes[0].lines
  assert [line.get_color() for line in lines] == list(colors.values())
  assert len({(line.get_color(), line.get_marker()) for line in lines}) == 30
  found = legend(figure)
  assert found[0].replace("\n", "") == long
  assert found[1:] == names[1:]
  box = figure.legends[0].get_window_extent()
  assert box.x0 > figure.axes[0].get_window_extent().x1
  # One that shows some of them draws these the same.
  (few,) = plots.plot_curves(None, {"method 20": np.ones(5)}, colors=colors, **AXES).axes
  assert few.lines[0].get_color() == lines[21].get_color()
  assert few.lines[0].get_marker() == lines[21].get_marker()


def test_nothing_to_draw_is_an_empty_figure(drawn):
  assert not drawn(plots.plot_curves(None, {}, **AXES)).axes[0].lines
  assert not drawn(plots.plot_panels(None, {}, **AXES)).axes[0].lines


def test_panels_have_a_line_a_task_and_a_dotted_reference_above(drawn):
  panels = {"equal": {"right": np.zeros(2), "left": np.ones((3, 2))}, "dwa": {"right": np.ones(2)}}
  alone = {"left": np.array([[1.0, 2.0], [3.0, 4.0]]), "right": np.ones(2)}
  colors = plots.palette(["left", "right"], plots.DATA_COLORS)
  figure = drawn(
    plots.plot_panels(
      None, panels, title="t", reference=alone, reference_name="single", colors=colors, **AXES
    )
  )
  equal, dwa = figure.axes
  assert (equal.get_title(), dwa.get_title(), figure.get_suptitle()) == ("equal", "dwa", "t")
  right, left, dotted, _ = equal.lines
  assert [left.get_color(), right.get_color()] == list(colors.values())
  assert dwa.lines[0].get_color() == colors["right"]
  np.testing.assert_array_equal(dotted.get_ydata(), [2, 3])
  assert dotted.get_color() == colors["left"]
  assert dotted.get_zorder() > left.get_zorder()
  assert dotted.get_linewidth() > left.get_linewidth()
  assert dotted.is_dashed()
  assert legend(figure) == ["left", "right", "single"]  # as in the palette
  assert figure.legends[0].get_title().get_text().startswith("line: mean of 2 or 3 seeds")
  assert len(equal.collections) == 2  # bands of the panel's first line and of the first reference
  assert figure.get_supylabel() == "accuracy (%)"
  assert (equal.get_xlabel(), dwa.get_xlabel()) == ("epoch", "epoch")


def test_lines_of_a_panel_may_have_other_epochs():
  panels = {"psi 1": {"human": np.ones(2), "maxl": np.ones(3)}, "psi 2": {"maxl": np.ones(3)}}
  epochs = {"psi 1": {"human": [1, 3], "maxl": [1, 2, 3]}}
  figure = plots.plot_panels(None, panels, epochs=epochs, **AXES)
  found = [line.get_xdata().tolist() for axes in figure.axes for line in axes.lines]
  assert found == [[1, 3], [1, 2, 3], [1, 2, 3]]  # of what is not given: counted


def test_baselines_are_in_every_panel(drawn):
  panels = {"a": {"left": np.full((2, 3), 0.5)}, "b": {"left": -np.ones(3)}}
  figure = drawn(plots.plot_panels(None, panels, baseline={"start": 0.1, "zero": 0.0}, **AXES))
  for axes in figure.axes:
    start, zero = axes.lines[1:]
    assert (start.get_ydata()[0], zero.get_ydata()[0]) == (0.1, 0)
    assert start.is_dashed()
    assert axes.get_ylim()[0] < -1
  assert legend(figure) == ["left", "start", "zero"]


@pytest.mark.parametrize("count", [1, 7])
def test_panels_take_one_epoch_and_numbers_that_are_not_finite(count, drawn, long):
  lines = {"left": np.ones((2, 1)), "right": [np.nan], "none": np.empty(0)}
  panels = {f"{long} {i}": lines for i in range(count)}
  figure = drawn(plots.plot_panels(None, panels, title=long, **AXES))
  assert len(figure.axes) == count
  assert np.round(figure.axes[0].get_xlim()).tolist() == [0, 2]
  assert figure.axes[0].get_title().replace("\n", "") == f"{long} 0".replace(" ", "")[:-1] + " 0"
  assert legend(figure) == ["left", "right"]


def test_many_tasks_of_long_names_have_room_in_the_legend(drawn, long):
  many = {f"{long}{i}": np.ones(3) for i in range(20)}
  figure = drawn(plots.plot_panels(None, {"a": many, "b": many}, reference=many, **AXES))
  assert len(legend(figure)) == 21
  top = figure.legends[0].get_window_extent().y1
  assert top < figure.axes[0].get_window_extent().y0
  assert figure.axes[0].get_window_extent().height > 60 * figure.dpi / 100


def test_the_last_panel_of_each_column_says_what_its_axis_is():
  lines = {"left": np.ones((2, 3))}
  figure = plots.plot_panels(None, dict.fromkeys("abcd", lines), **AXES)
  assert [axes.get_xlabel() for axes in figure.axes] == ["", "epoch", "epoch", "epoch"]
