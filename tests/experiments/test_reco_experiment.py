"""ReCo's own: which labels are kept, what teacher and student see, methods by name, tables."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.problems.maps import MapImages, MapTask
from experiments.reco import augment, figures, jobs, paper, report
from experiments.reco.config import PRESETS
from experiments.reco.images import load
from experiments.reco.jobs import plan, recipe_of
from experiments.reco.labels import Few, Relabelled, settings
from experiments.reco.methods import ReCoOptions, Semi
from experiments.reco.problem import LABELLED, UNLABELLED, learned
from experiments.reco.run import run
from experiments.reco.teaching import pseudo_labels, teaching
from experiments.runner.config import override
from experiments.runner.job import Outcome
from jaxmtl import data, training

pytestmark = pytest.mark.usefixtures("one_layer")
TINY = override(
  PRESETS["quick"],
  **{"methods": ("classmix+reco",), "labelled": (4,), "epochs": 2, "seeds": 2},
  **{"backbone": "one_stage", "features": 4, "dimension": 4, "rates": (1,), "batch_size": 2},
  **{"train_images": 12, "test_images": 3, "validation_images": 0, "height": 16},
  **{"width_in_pixels": 16, "steps_per_epoch": 3, "num_queries": 4, "num_negatives": 4},
  **{"jitter": False, "blur": False},
)


@pytest.fixture(scope="module")
def images():
  return load(TINY.data, 0)


@pytest.fixture
def street(tmp_path):
  """A folder of one's own, images of another size each part."""
  rng = np.random.default_rng(0)
  for part, count in (("train", 6), ("val", 2)):
    labels = rng.integers(-1, 3, (count, 16, 16))
    photos = {"image": rng.integers(0, 256, (count, 16, 16, 3), np.uint8), "segmentation": labels}
    data.write_dense_folder(tmp_path, part, photos, classes=("a", "b", "c"), void=255)
  return tmp_path


def test_methods_by_name():
  usual = ReCoOptions()
  plain = Semi.parse("supervised", usual)
  assert (plain.mixing, plain.reco) == (None, None)
  mixed = Semi.parse("cutout:unlabelled=.25+reco:queries=easy,bank=8", usual)
  assert (mixed.mixing, mixed.unlabelled) == ("cutout", 0.25)
  assert mixed.reco == dataclasses.replace(usual, queries="easy", bank=8)
  assert Semi.parse("classmix+reco:num_queries=256", usual).identity == (
    Semi.parse("classmix+reco", usual).identity
  )


def test_an_ablation_leaves_out_what_is_the_default():
  config = override(PRESETS["quick"], ablations=("keys", "bank"))
  added = config.all_methods[len(config.methods) :]
  assert added == tuple(
    f"classmix+reco:{each}"
    for each in ("num_negatives=32", "num_negatives=256", "num_negatives=1024", "bank=1000")
  )


def test_labelled_images_differ_by_seed_and_have_no_part_in_the_rest(images, tmp_path):
  (job,) = plan(TINY, images, tmp_path)["4 images", "classmix+reco"]
  content = job.feed.content
  labelled, rest = (content[name]["subset"]["rows"] for name in (LABELLED, UNLABELLED))
  assert labelled.shape == (2, 4)
  assert set(labelled[0]) != set(labelled[1])
  for mine, others in zip(labelled, rest, strict=True):
    assert sorted([*mine, *others]) == list(range(12))
  assert job.feed.steps == 3
  fewer = override(TINY, methods=("classmix:unlabelled=.5",))
  (half,) = plan(fewer, images, tmp_path)["4 images", "classmix:unlabelled=.5"]
  some = half.feed.content[UNLABELLED]["subset"]["rows"]
  assert some.shape == (2, 4)
  assert set(some[0]) <= set(rest[0])


def test_losses_are_combined_by_any_method(images, tmp_path):
  config = override(TINY, combine="uncertainty+pcgrad")
  found = plan(config, images, tmp_path)
  (before,) = plan(TINY, images, tmp_path)["4 images", "classmix+reco"]
  (job,) = found["4 images", "classmix+reco"]
  assert job.identity["combine"]["weighting"]["name"] == "uncertainty"
  assert set(job.identity) - set(before.identity) == {"combine"}
  key = jax.random.key(0)
  variables = jax.eval_shape(lambda: job.problem.init(key, None))
  state = jax.eval_shape(lambda v: job.start(job.update, key, v), variables).student
  assert len(jax.tree.leaves(state.weighting)[0]) == len(job.problem.tasks) == 3
  assert jax.tree.leaves(state.aggregator)  # PCGrad's key
  (alone,) = plan(override(config, methods=("supervised",)), images, tmp_path).values()
  assert "combine" not in alone[0].identity


def test_shares_of_labels_are_drawn_once_and_kept(images, tmp_path, monkeypatch):
  few = Few(images.parts["train"], 13, 1, tmp_path)
  first = few.partial(0.05, 1)
  truth = images.parts["train"]["segmentation"]
  assert np.all((first == -1) | (first == truth))
  assert 0 < (first >= 0).mean() < 0.25
  monkeypatch.setattr(data, "partial_labels", None)
  np.testing.assert_array_equal(Few(images.parts["train"], 13, 1, tmp_path).partial(0.05, 1), first)
  options = dataclasses.replace(TINY.labels, labelled=(0, 4), shares=(0.0, 0.05))
  assert [s.name for s in settings(options)] == [
    *("all images", "4 images", "1 pixel a class", "5 % of pixels")
  ]
  config = override(TINY, labelled=(0,), methods=("supervised+reco", "classmix"))
  assert list(plan(config, images, tmp_path)) == [("all images", "supervised+reco")]


def test_unlabelled_images_come_without_maps_and_sizes_stay(images, tmp_path):
  train = {**images.parts["train"], "size": np.full((12, 2), 16, np.int32)}
  padded = images._replace(parts={**images.parts, "train": train})
  config = override(TINY, labelled=(4,), shares=(0.25,))
  for setting in ("4 images", "25 % of pixels"):
    (job,) = plan(config, padded, tmp_path)[setting, "classmix+reco"]
    content = job.feed.content
    assert set(content[UNLABELLED]["examples"]) == {"image", "size"}
    assert {"image", "size"} <= set(content[LABELLED]["examples"])


def test_options_without_use_are_told(capsys, monkeypatch):
  monkeypatch.setattr("experiments.reco.run.load", lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    run(override(TINY, void=7, data_dir="somewhere"))
  told = capsys.readouterr().out
  assert "rooms has no use for --data-dir; it is for pascal" in told
  assert "rooms has no use for --void" in told


def test_the_student_sees_what_the_teacher_labelled():
  size = (8, 12)
  image = jax.random.uniform(jax.random.key(0), (4, *size, 3))
  label = jnp.arange(4)[:, None, None] + jnp.zeros((4, *size), jnp.int32)
  # Pixels tell where they are from: their image is their confidence.
  confidence = image[..., 0]
  options = dataclasses.replace(TINY.segmentation, scale_range=(1.0, 1.0))

  batch = data.PseudoLabelled(image, label, confidence)

  @jax.jit
  def students():
    found = {
      mixing: augment.student(jax.random.key(1), batch, mixing, 4, options)
      for mixing in ("mean_teacher", "cutmix", "classmix", "cutout")
    }
    scaled = dataclasses.replace(options, scale_range=(0.5, 0.5))
    return found, augment.student(jax.random.key(0), batch, "mean_teacher", 4, scaled)

  def red_of(found):
    mean, std = data.IMAGENET_MEAN[0], data.IMAGENET_STD[0]
    return np.asarray(found["image"])[..., 0] * std + mean

  found, beyond = students()
  for mixing in ("mean_teacher", "cutmix", "classmix"):
    red = red_of(found[mixing])
    np.testing.assert_allclose(red, found[mixing]["confidence"], atol=1e-6, err_msg=mixing)
  cut = np.asarray(found["cutout"]["segmentation"]) == -1
  assert 0.3 < cut.mean() < 0.6
  assert np.all(np.asarray(found["cutout"]["confidence"])[cut] == 0)
  np.testing.assert_allclose(red_of(found["cutout"])[cut], 0, atol=1e-6)
  assert (np.asarray(beyond["segmentation"]) == -1).mean() == pytest.approx(0.75)


def test_colours_change_where_they_may():
  image = jnp.full((2, 4, 4, 3), 0.5).at[:, :2].set(0.2)

  @jax.jit
  def changed(image):
    options = [
      dataclasses.replace(TINY.segmentation, jitter=jitter, blur=blur)
      for jitter, blur in ((False, False), (True, False), (False, True))
    ]
    return [augment.coloured(jax.random.key(3), image, o) for o in options]

  same, jittered, blurred = changed(image)
  np.testing.assert_array_equal(same, image)
  assert np.abs(jittered - image).max() > 0.01
  assert np.abs(blurred - image).max() > 0.01


def test_pseudo_labels_are_the_surest_class_at_the_images_resolution():
  logits = jnp.log(jnp.array([[[[0.9, 0.1]], [[0.2, 0.8]]]]))  # one image of 2x1
  found = pseudo_labels(jnp.zeros((1, 4, 2, 3)), logits)
  assert found.label.shape == (1, 4, 2)
  assert found.label[0, :, 0].tolist() == [0, 0, 1, 1]
  np.testing.assert_allclose(found.confidence[0, 0, 0], 0.9, atol=1e-6)
  np.testing.assert_allclose(found.confidence[0, 3, 1], 0.8, atol=1e-6)


def test_the_teacher_follows_with_statistics_of_its_own(images):
  config = override(TINY, methods=("classmix+reco:bank=8",))
  (method,) = config.check()
  kind = images.tasks["segmentation"]
  what = learned(config, kind, images.shape, method)
  recipe = recipe_of(config)
  step = training.train_step(
    what.problem.losses_fn, recipe.optimizer(6), 3, shared=what.problem.shared
  )
  phase, start = teaching(config, what, step, method, kind.outputs)
  variables = jax.jit(what.problem.init, static_argnums=1)(jax.random.key(0), None)
  state = start(phase, jax.random.key(1), variables)
  part = {name: values[:2] for name, values in images.parts["train"].items()}

  @jax.jit
  def update(state, key):
    batch = what.problem.prepare(key, {LABELLED: part, UNLABELLED: {"image": part["image"]}})
    return phase.update(state, batch)

  one, metrics = update(state, jax.random.key(2))
  two, _ = update(one, jax.random.key(3))
  assert metrics["losses"].shape == (3,)
  assert np.isfinite(metrics["losses"]).all()
  # The first update copies.
  jax.tree.map(np.testing.assert_array_equal, one.teacher.params, one.student.params)
  average = jax.tree.map(lambda a, b: (a + b) / 2, one.student.params, two.student.params)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), two.teacher.params, average
  )
  equal = [
    np.array_equal(a, b)
    for a, b in zip(
      jax.tree.leaves(one.teacher.model_state),
      jax.tree.leaves(one.student.model_state["batch_stats"]),
      strict=True,
    )
  ]
  assert not all(equal)
  assert int(one.student.model_state["bank"]["filled"].sum()) > 0
  assert set(jobs.variables_of_teacher(two)) == {"params", "batch_stats"}


def test_void_labels_and_unsure_ones_change_nothing(images):
  (method,) = TINY.check()
  kind = images.tasks["segmentation"]
  what = learned(TINY, kind, images.shape, method)
  variables = jax.jit(what.problem.init, static_argnums=1)(jax.random.key(0), None)
  image = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
  label = jnp.asarray(images.parts["train"]["segmentation"][:2], jnp.int32)
  sure = jnp.full(label.shape, 0.99).at[:, :8].set(0.1)
  state = {"batch_stats": variables["batch_stats"]}

  @jax.jit
  def losses(pseudo):
    batch = {
      LABELLED: {"image": image, "segmentation": label},
      UNLABELLED: {"image": image, "segmentation": pseudo, "confidence": sure},
    }
    return what.problem.losses_fn(variables["params"], state, batch, jax.random.key(2))[0]

  first = losses(label)
  other = losses(jnp.where(sure < 0.5, (label + 1) % 13, label))
  np.testing.assert_array_equal(first[0], other[0])
  assert first[1] != other[1]  # each image's pseudo-labels count as a whole
  np.testing.assert_array_equal(first[2], other[2])  # in the contrast those that are sure alone


def test_the_rate_falls_once_an_epoch():
  config = override(TINY, epochs=4, learning_rate=0.1, lowest_rate=0.03)
  optimizer = recipe_of(config).optimizer(12)
  params = {"w": jnp.zeros(())}
  state, steps = optimizer.init(params), []
  update = jax.jit(optimizer.update)
  for _ in range(12):
    updates, state = update({"w": jnp.ones(())}, state, params)
    steps.append(float(updates["w"]))
  # Of a constant gradient, with what momentum has gathered.
  momenta = np.array([1 + 0.9 * sum(0.9**j for j in range(i + 1)) for i in range(12)])
  found = -np.array(steps) / momenta
  want = [max(0.1 * (1 - e / 4) ** 0.9, 0.03) for e in range(4) for _ in range(3)]
  np.testing.assert_allclose(found, want, rtol=1e-5)


def test_an_option_changes_only_what_depends_on_it(images, tmp_path):
  small = override(TINY, methods=("supervised", "cutmix", "cutmix+reco"))

  def identities(**changes):
    planned = plan(override(small, **changes), images, tmp_path)
    return {key: job.identity for key, (job,) in planned.items()}

  before = identities()

  def changed(**changes):
    return {key[1] for key, new in identities(**changes).items() if new != before[key]}

  assert changed(num_queries=8) == {"cutmix+reco"}
  assert changed(weak_threshold=0.5) == {"cutmix+reco"}
  assert changed(decay=0.5) == {"cutmix", "cutmix+reco"}
  assert changed(strong_threshold=0.8) == {"cutmix", "cutmix+reco"}
  assert changed(learning_rate=1.0) == {"supervised", "cutmix", "cutmix+reco"}


def test_files_are_read_in_turn_each_seed_with_its_own_labels(street, tmp_path, monkeypatch):
  monkeypatch.setattr("experiments.reco.images._IN_MEMORY", 0)
  config = override(
    TINY,
    dataset=str(street),
    methods=("supervised",),
    **{"labelled": (3,), "epochs": 1},
  )
  summary = run(config, tmp_path / "runs")
  (row,) = summary["results"]
  assert row["failure"] is None
  assert len(row["values"]["miou"]["segmentation"]) == 2
  of_files = override(config, methods=("supervised", "cutmix"), shares=(0.25,))
  for key, (one, other) in plan(of_files, load(config.data, 0), tmp_path / "runs").items():
    assert (one.seeds, other.seeds) == ([0], [1]), key
    assert one.data_fingerprint != other.data_fingerprint, key
  found = run(override(config, predict=str(street / "val" / "0.png")), tmp_path / "runs")
  with Image.open(found["predictions"][0]) as image:
    assert image.size[0] > 100
  images = load(config.data, 0)
  few = Few(images.parts["train"], 3, 1, tmp_path / "runs")
  again = Relabelled(images.parts["train"], few.partial(0.25, 0), "x")
  example = again[2]
  kept = example["segmentation"] >= 0
  np.testing.assert_array_equal(
    example["segmentation"][kept], images.parts["train"][2]["segmentation"][kept]
  )


def test_a_set_of_one_class_is_refused(tmp_path):
  photos = {"image": np.zeros((2, 8, 8, 3), np.uint8), "segmentation": np.zeros((2, 8, 8), int)}
  for part in ("train", "val"):
    data.write_dense_folder(tmp_path, part, photos, classes=("road",))
  with pytest.raises(ValueError, match="has one class, 'road'"):
    load(override(TINY, dataset=str(tmp_path)).data, 0)


def test_a_part_without_labels_is_refused(tmp_path):
  rng = np.random.default_rng(0)
  for part in ("train", "val"):
    labels = rng.integers(0, 2, (2, 8, 8)) if part == "train" else np.full((2, 8, 8), -1)
    photos = {"image": np.zeros((2, 8, 8, 3), np.uint8), "segmentation": labels}
    data.write_dense_folder(tmp_path, part, photos, classes=("a", "b"), void=255)
  with pytest.raises(ValueError, match=r"no pixel of the first 2 maps .*valannot"):
    load(override(TINY, dataset=str(tmp_path)).data, 0)


def test_the_thesis_figures_stand_beside_its_own_data_and_network(tmp_path):
  assert paper.published("pascal", "60 images", "supervised") == 37.79
  assert paper.published("sun", "all images", "supervised+reco") == 52.01
  assert paper.published("sun", "50 images", "supervised+reco") is None
  assert paper.published("cityscapes", "1 pixel a class", "classmix+reco") == 49.66
  assert paper.published("cityscapes", "20 images", "classmix+reco:queries=easy") == 45.81
  assert paper.published("digits", "20 images", "classmix") is None
  images = MapImages({}, {"segmentation": MapTask("classes", 2, ("a", "b"))}, {})

  def outcome(*values):
    both = np.array(values)
    measured = {"miou": {"segmentation": both}, "iou": {"a": both + 10, "b": both - 10}}
    return Outcome("x", ("a",), measured, [], 1.0, 0.0, 1.0, None, tmp_path)

  found = {
    ("20 images", "classmix"): outcome(40.0, 42.0),
    ("20 images", "classmix+reco"): outcome(45.0, 47.0),
  }
  summary = report.write(PRESETS["cityscapes"], images, found, tmp_path)
  text = (tmp_path / "results.md").read_text()
  assert "| classmix+reco, paper | 49.9 | - |" in text
  assert "# 20 images: test IoU (%) of each class" in text
  assert "| classmix | 51.0 ± 1.4 | 31.0 ± 1.4 |" in text
  assert "classmix+reco 46.0 ± 1.4 %, classmix 41.0 ± 1.4 %" in summary["conclusions"][0]
  figure = figures.ablations(
    {key[1]: o for key, o in found.items()}, "20 images", tmp_path / "ablations.png"
  )
  axes = figure.axes[0]
  assert [text.get_text() for text in axes.get_yticklabels()] == ["classmix", "classmix+reco"]
  assert [bar.get_width() for bar in axes.patches] == [41.0, 46.0]


def test_the_paper_presets_are_the_thesis_recipe():
  for name, batch, crop, scales, classes in (
    ("pascal", 10, 321, (0.5, 1.5), 3),
    ("cityscapes", 2, 512, (1.0, 1.0), 12),
    ("sun", 5, 321, (0.5, 1.5), 1),
  ):
    config = PRESETS[name]
    assert (config.network.backbone, config.network.width) == ("resnet101", None)
    assert (config.segmentation.features, config.segmentation.dimension) == (256, 256)
    assert (config.segmentation.rates, config.segmentation.output_stride) == ((6, 12, 18), 16)
    assert (config.segmentation.crop, config.segmentation.scale_range) == ((crop, crop), scales)
    assert (config.training.batch_size, config.training.learning_rate) == (batch, 2.5e-3)
    assert (config.training.epochs, config.optimizer.steps_per_epoch) == (200, 200)
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0.9, 5e-4)
    assert (config.labels.at_least, config.run.seeds) == (classes, 3)
    assert (config.reco.num_queries, config.reco.num_negatives) == (256, 512)
    assert (config.reco.weak_threshold, config.reco.strong_threshold) == (0.7, 0.97)
    assert config.teacher.decay == 0.99
