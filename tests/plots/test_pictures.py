import numpy as np

from jaxmtl import plots

RNG = np.random.default_rng(0)


def texts(legend):
  return [text.get_text() for text in legend.get_texts()]


def images(count, height=8, width=8, channels=1):
  return np.full((count, height, width, channels), 7, np.uint8)


def test_embeddings_have_a_colour_a_class_and_a_legend(drawn):
  classes = np.array([0, 1, 1, 2])
  maps = {"a": RNG.normal(size=(4, 2)), "b": RNG.normal(size=(4, 2))}
  figure = drawn(plots.plot_embeddings(None, maps, classes, title="t", names=("x", "y", "z")))
  assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
  assert texts(figure.legends[0]) == ["x", "y", "z"]
  assert [h.get_color() for h in figure.legends[0].legend_handles] == list(plots.DATA_COLORS[:3])
  counts = [len(c.get_offsets()) for c in figure.axes[0].collections]
  assert counts == [0, 1, 2, 1]
  assert figure.get_supxlabel() == ""
  assert np.abs(figure.axes[0].collections[2].get_offsets()).max() <= 1.1
  assert texts(plots.plot_embeddings(None, maps, classes).legends[0]) == ["0", "1", "2"]


def test_classes_keep_their_colour_whichever_have_examples():
  colors = plots.palette("xyz", plots.DATA_COLORS)
  figure = plots.plot_embeddings(
    None, {"a": np.eye(2)}, np.array([0, 2]), names="xyz", colors=colors
  )
  assert texts(figure.legends[0]) == ["x", "z"]
  found = [handle.get_color() for handle in figure.legends[0].legend_handles]
  assert found == [colors["x"], colors["z"]]
  assert figure.get_supxlabel() == "1 of 3 classes without an example here"


def test_classes_of_one_colour_are_filled_and_hollow(drawn):
  figure = drawn(plots.plot_embeddings(None, {"a": RNG.normal(size=(7, 2))}, np.arange(7)))
  first, *_, seventh = figure.legends[0].legend_handles
  assert first.get_color() == seventh.get_color() == first.get_markerfacecolor()
  assert seventh.get_markerfacecolor() == "white"
  _, one, *_, again = figure.axes[0].collections
  np.testing.assert_array_equal(one.get_edgecolor(), again.get_edgecolor())
  assert (again.get_facecolor() == 1).all()


def test_of_a_hundred_classes_some_are_coloured_and_a_note_says_so(drawn, long):
  classes = np.arange(200) % 100
  maps = {long: RNG.normal(size=(200, 2))}
  figure = drawn(plots.plot_embeddings(None, maps, classes, title=long))
  assert texts(figure.legends[0]) == [*map(str, range(20)), "80 others"]
  assert figure.get_supxlabel() == "20 of 100 classes are coloured"
  assert len(figure.axes[0].collections[0].get_offsets()) == 160
  signs = {(h.get_color(), h.get_marker()) for h in figure.legends[0].legend_handles}
  assert len(signs) == 21
  right = max(axes.get_window_extent().x1 for axes in figure.axes)
  assert figure.legends[0].get_window_extent().x0 > right


def test_panels_with_the_same_classes_share_a_legend(drawn):
  maps = {f"{t}: {m}": RNG.normal(size=(6, 2)) for t in ("digit", "parity") for m in ("a", "b")}
  classes = {name: np.arange(6) % (3 if "digit" in name else 2) for name in maps}
  figure = drawn(
    plots.plot_embeddings(None, maps, classes, columns=2, names={"parity: b": ("even", "odd")})
  )
  legends = [axes.get_legend() for axes in figure.axes]
  assert [texts(legend) if legend else None for legend in legends] == [
    None,
    ["0", "1", "2"],
    None,
    ["even", "odd"],
  ]


def test_points_that_are_not_finite_are_left_out(drawn):
  points = RNG.normal(size=(4, 2))
  points[1] = np.nan
  maps = {"a": points, "b": np.full((4, 2), np.nan)}
  figure = drawn(plots.plot_embeddings(None, maps, np.zeros(4, int)))
  assert [len(axes.collections[1].get_offsets()) for axes in figure.axes] == [3, 0]


def test_image_groups_say_of_how_many_they_are(drawn, long):
  groups = {"generated 1": images(3), "generated 2": images(2)}
  figure = drawn(
    plots.plot_image_groups(
      None, {"cat": groups, long: groups}, title=long, num_rows=5, num_groups=4, group="classes"
    )
  )
  assert figure.get_supxlabel() == "2 of 5 classes shown; 2 of 4 classes shown"
  assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == list(groups)
  assert figure.axes[0].get_ylabel() == "cat"
  # Rows of fewer images are as wide, so that all images have one size.
  shapes = {axes.images[0].get_array().shape for axes in figure.axes}
  assert len(shapes) == 1
  whole = plots.plot_image_groups(None, {"cat": groups}, num_rows=1, num_groups=2)
  assert whole.get_supxlabel() == ""


def test_image_groups_take_rows_of_different_groups_and_wide_images(drawn):
  rows = {
    "a": {"x": images(1, 8, 24, 3)},
    "b": {"x": images(2, 8, 24, 3), "y": images(1, 8, 24, 3)},
  }
  figure = drawn(plots.plot_image_groups(None, rows))
  titles = [axes.get_title(loc="left") for axes in figure.axes]
  assert titles == ["x", "", "", "y"]
  drawn(plots.plot_image_groups(None, {}))


def test_labels_have_a_scale_of_at_least_0_to_1_and_say_what_they_show(drawn, long):
  labels = {
    "one-hot": np.eye(20),
    "ones": np.ones((20, 3)),
    "dense": RNG.uniform(-9, 80, (20, 300)),
  }
  figure = drawn(plots.plot_labels(None, labels, [long, *map(str, range(19))]))
  panels = figure.axes[:3]
  assert [axes.get_title(loc="left") for axes in panels] == [
    "one-hot: 20 classes x 20 dimensions (the first 12 x 20)",
    "ones: 20 classes x 3 dimensions (the first 12 x 3)",
    "dense: 20 classes x 300 dimensions (the first 12 x 128)",
  ]
  dense = labels["dense"][:12, :128]
  limits = [axes.images[0].get_clim() for axes in panels]
  assert limits == [(0, 1), (0, 1), (dense.min(), dense.max())]
  np.testing.assert_array_equal(panels[0].images[0].get_array(), np.eye(20)[:12])
  assert len(panels[0].get_yticklabels()) == 12
  assert [axes.get_ylabel() for axes in figure.axes[3:]] == ["entry"] * 3
