"""PASCAL-Context's five tasks in dense prediction, and a Swin Transformer as the trunk."""

import functools

import jax
import numpy as np
import pytest

from experiments.dense_prediction import paper
from experiments.dense_prediction.config import PRESETS
from experiments.dense_prediction.images import load
from experiments.dense_prediction.jobs import network, plan
from experiments.problems.binary_maps import binary_loss, binary_metrics
from experiments.problems.map_pictures import maps_of
from experiments.problems.maps import MapImages, MapTask
from experiments.runner.config import override
from jaxmtl import data, models, plots

H, W = 16, 24
TASKS = ("segmentation", "part", "normal", "saliency", "edge")
SMALL = {"backbone": "one_stage", "head_features": 2, "rates": (1,), "batch_size": 2, "seeds": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  found = tmp_path_factory.mktemp("pascal")
  context = np.where(np.arange(W) < 9, 284, 44) * np.ones((8, H, 1), int)
  maps = {k: (context == 284).astype(int) for k in ("segmentation", "part", "saliency")}
  # The first images of the set need not show people.
  maps["part"][:] = 0
  maps |= {"image": np.zeros((8, H, W, 3), np.uint8), "context": context}
  maps["normal"] = np.broadcast_to(np.float32([0, 0, 1]), (8, H, W, 3))
  for part in ("train", "val"):
    data.write_pascal_context(found, part, maps)
  return found


def opened(folder, **options):
  config = override(PRESETS["pascal"], data_dir=str(folder), image_size=(H, W), **SMALL | options)
  images = load(config.data, 0)
  return config.with_tasks(tuple(images.tasks)), images


@pytest.mark.usefixtures("one_layer", "one_convolution")
def test_five_tasks_are_learned_and_measured(folder):
  """By shapes alone."""
  config, images = opened(folder)
  job = {job.name: job for job in plan(config, images).values()}["multi-task equal"]
  batch = {key: np.stack([values] * 2) for key, values in images.parts["train"][0].items()}

  def step():
    key = jax.random.key(0)
    state = job.start(job.update, key, job.problem.init(key, job.settings))
    new, metrics = job.update.update(state, job.problem.prepare(key, batch))
    outputs = job.problem.predict(job.variables(new), batch)
    measured = batch | {"valid": np.ones(2, bool)}
    counts = {m: one.count(outputs, measured) for m, one in job.problem.metrics.items()}
    return metrics["losses"], outputs, counts

  losses, outputs, counts = jax.eval_shape(step)
  assert losses.shape == (5,)
  channels = dict(zip(TASKS, (21, 7, 3, 1, 1), strict=True))
  assert {t: x.shape for t, x in outputs.items()} == {t: (2, H, W, c) for t, c in channels.items()}
  metrics = {task: kind.metric for task, kind in images.tasks.items()}
  assert list(metrics.values()) == ["miou", "miou", "angle", "saliency_iou", "ods_f"]
  assert all(task in counts[metric] for task, metric in metrics.items())
  assert counts["ods_f"]["edge"].matched.shape == (99,)
  assert counts["saliency_iou"]["saliency"]["iou"].shape == (15,)


def test_factors_of_the_survey_are_an_option_and_part_of_what_a_job_is(folder):
  _, images = opened(folder)
  assert [images.tasks[t].factor for t in TASKS] == pytest.approx([1, 2, 10 / 3, 5, 50])
  _, plain = opened(folder, loss_factors=False)
  assert {kind.factor for kind in plain.tasks.values()} == {1.0}
  assert images.identity != plain.identity


def test_losses_of_saliency_and_edges_by_hand():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(2, 3, 4, 1)).astype(np.float32)
  labels = rng.integers(-1, 2, (2, 3, 4))
  z, known = logits[..., 0], labels >= 0
  by_pixel = np.where(labels == 1, np.log1p(np.exp(-z)), np.log1p(np.exp(z)))
  without = (labels == 0).sum() / known.sum()
  for kind, share in (("edge", 0.95), ("saliency", without)):
    weights = np.where(labels == 1, share, 1 - share)
    want = (weights * by_pixel)[known].sum() / known.sum()
    assert float(binary_loss(kind, logits, labels)) == pytest.approx(want, rel=1e-5)
  assert float(binary_loss("saliency", logits, np.zeros_like(labels))) == 0
  assert float(binary_loss("edge", logits, np.full_like(labels, -1))) == 0


def test_metrics_of_saliency_and_edges_by_hand():
  labels = np.zeros((3, 4, 5), int)
  labels[0, 1, :4] = labels[1, 1, :4] = 1
  probability = np.full(labels.shape, 0.1)
  probability[0, 1, :4] = 0.85  # right at levels up to .85
  probability[1, 1, :2] = 0.55  # half of it, up to .55
  logits = np.log(probability / (1 - probability))[..., None].astype(np.float32)
  batch = {"a": labels, "b": labels, "valid": np.array([True, True, True])}

  def value(logits, batch=batch):
    found = binary_metrics(["a"], ["b"])
    outputs = {"a": logits, "b": logits}
    return [
      float(metric.value(jax.device_get(metric.count(outputs, batch)[task])))
      for task, metric in zip("ab", found.values(), strict=True)
    ]

  iou, f = value(logits)
  assert iou == pytest.approx(100 * (1 + 0.5 + 1) / 3)  # nothing salient is 1
  assert f == pytest.approx(100 * 2 * 0.75 / 1.75)
  padded = batch | {"valid": np.array([True, False, False])}
  assert value(logits, padded) == pytest.approx([100, 100])
  assert value(np.full_like(logits, np.nan)) == [0, 0]


def test_pictures_show_probabilities():
  truth = np.array([[[1, 0, -1]]])
  logits = np.array([0.0, 3.0, -3.0], np.float32).reshape(1, 1, 3, 1)
  shown = maps_of(MapTask("edge", 1), logits, truth)
  np.testing.assert_allclose(shown.prediction[0, 0, :, 0], [0.5, 0.952574, 0.047426], rtol=1e-5)
  np.testing.assert_array_equal(shown.valid, [[[True, True, False]]])
  figure = plots.plot_maps(None, np.zeros((1, 1, 3, 3), np.uint8), {"edge": shown})
  assert [axes.images[0].get_clim() for axes in figure.axes[1:4]] == [(0, 1)] * 3


def test_figures_of_the_dgr_paper_stand_beside_its_trunks():
  of_pascal = paper.published("pascal_context", "mtan", False, None, "equal", "resnet18")
  assert of_pascal == {
    "miou": {"segmentation": 63.7, "part": 58.9},
    "angle": {"normal": 14.8},
    **{"saliency_iou": {"saliency": 65.4}, "ods_f": {"edge": 69.6}, "delta_mtl": {"all": -2.39}},
  }
  of_swin = paper.published("nyuv2", "hps", False, None, "single task", "swin_t")
  assert of_swin["absolute_error"] == {"depth": 0.3887}
  assert "delta_mtl" not in of_swin
  for dataset, architecture, noise, primary, name, backbone in (
    ("pascal_context", "hps", False, None, "equal", "resnet50"),
    ("pascal_context", "hps", False, None, "single task", "resnet18"),
    ("nyuv2", "mtan", False, None, "equal", "swin_t"),
    ("nyuv2", "hps", True, None, "equal", "swin_t"),
    ("nyuv2", "hps", False, "depth", "equal", "swin_t"),
    ("nyuv2", "hps", False, None, "equal", "resnet18"),
  ):
    assert paper.published(dataset, architecture, noise, primary, name, backbone) is None


@pytest.mark.parametrize("architecture", ["hps", "mtan"])
def test_a_swin_transformer_may_be_the_trunk(monkeypatch, architecture):
  create = functools.partial(models.create, sizes=(1, 1, 2, 1), num_heads=(1, 1, 2, 2))
  monkeypatch.setattr(models, "create", create)
  config = override(
    PRESETS["quick"], backbone="swin_t", width=8, architecture=architecture, head_features=2
  )
  config.check()
  assert "stride" not in config.describe("aErr")  # it has its own
  tasks = {"depth": MapTask("depth", 1), "normal": MapTask("normal", 3)}
  net = network(config, MapImages({}, tasks, {}), tuple(tasks))
  outputs, variables = jax.eval_shape(
    net.init_with_output, jax.random.key(0), np.zeros((2, 64, 48, 3), np.float32)
  )
  assert {task: x.shape for task, x in outputs.items()} == {
    "depth": (2, 64, 48, 1),
    "normal": (2, 64, 48, 3),
  }
  assert "stage3_merge" in variables["params"]["backbone"]
