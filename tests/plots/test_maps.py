"""Maps beside images: what is shown, in one scale, with void left white."""

import numpy as np

from jaxmtl.plots import Maps, plot_maps


def legends(figure):
  return [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]


def test_prediction_label_and_error_of_every_task(tmp_path):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
  truth = rng.integers(0, 3, (2, 6, 8))
  valid = np.ones(truth.shape, bool)
  valid[:, 0] = False
  classes = Maps("classes", np.where(truth == 2, 0, truth), truth, valid, ("a", "b", "c"))
  depth = rng.uniform(1, 3, (2, 6, 8, 1))
  normal = np.broadcast_to([0.0, 0.0, 1.0], (2, 6, 8, 3))
  turned = np.broadcast_to([0.0, 1.0, 0.0], (2, 6, 8, 3))
  maps = {
    "kind": classes,
    "depth": Maps("depth", depth + 0.25, depth, valid, unit="m"),
    "normal": Maps("normal", normal, turned, valid),
  }
  figure = plot_maps(tmp_path / "maps.png", images, maps, title="some")
  assert (tmp_path / "maps.png").exists()
  grid = [axes for axes in figure.axes if axes.images and axes.get_xlabel() == ""][:20]
  titles = [axes.get_title() for axes in grid[:10]]
  assert titles == ["image", *(t for task in maps for t in (task, "label", "error"))]
  shown = [np.ma.asarray(axes.images[0].get_array()) for axes in grid[:10]]
  np.testing.assert_array_equal(shown[1], classes.prediction[0])
  assert shown[2].mask[0].all()
  assert not shown[2].mask[1:].any()
  np.testing.assert_array_equal(shown[3][1:], (truth == 2)[0, 1:])
  limits = [axes.images[0].get_clim() for axes in grid[4:6]]
  assert limits[0] == limits[1]  # prediction and label share their colours
  np.testing.assert_allclose(shown[6][1:], 0.25)
  np.testing.assert_allclose(shown[9][1:], 90, rtol=1e-5)
  figure.draw_without_rendering()  # lays out: no colour bar makes its own columns smaller
  assert len({round(axes.get_position().height, 4) for axes in grid}) == 1
  (legend,) = legends(figure)
  assert [text.get_text() for text in legend.get_texts()] == [*"abc", "right", "wrong", "no label"]


def test_without_labels_predictions_alone_are_shown():
  maps = {"depth": Maps("depth", np.ones((1, 4, 4, 1)))}
  figure = plot_maps(None, np.zeros((1, 4, 4, 3)), maps)
  titles = [axes.get_title() for axes in figure.axes if axes.images]
  assert titles[:2] == ["image", "depth"]


def test_predictions_of_the_same_classes_share_a_legend():
  labels = np.zeros((1, 4, 4), int)
  maps = {name: Maps("classes", labels, names=("a", "b")) for name in ("one", "other")}
  maps["other"] = maps["other"]._replace(truth=labels)
  maps["third"] = Maps("classes", labels, names=("easy", "hard"))
  figure = plot_maps(None, np.zeros((1, 4, 4, 3)), maps)
  shown = [[text.get_text() for text in legend.get_texts()] for legend in legends(figure)]
  assert shown == [["a", "b", "right", "wrong", "no label"], ["easy", "hard"]]
  figure.draw_without_rendering()
  above, below = (legend.get_window_extent() for legend in legends(figure))
  assert above.y0 >= below.y1  # one does not lie upon the other
  titles = [axes.get_title().replace("\n", " ") for axes in figure.axes if axes.images]
  assert titles == ["image", "one", "other", "label", "error of other", "third"]
