"""Dense prediction's own: data sets from files, noise, pictures of images of one's own."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.auto_lambda import tables
from experiments.auto_lambda.jobs import recipe_of
from experiments.dense_prediction import groupings, paper
from experiments.dense_prediction.config import PRESETS
from experiments.dense_prediction.images import WithNoise, load
from experiments.dense_prediction.jobs import plan
from experiments.dense_prediction.run import run
from experiments.runner.config import override
from experiments.runner.fingerprint import fingerprint
from experiments.runner.job import Outcome
from jaxmtl import data, training

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = {
  **{"methods": ("equal",), "backbone": "one_stage", "head_features": 2, "rates": (1,)},
  **{"epochs": 1, "seeds": 1, "batch_size": 2},
}


@pytest.fixture(scope="module")
def nyuv2(tmp_path_factory):
  """Rooms as NYUv2's users have their files."""
  folder = tmp_path_factory.mktemp("nyuv2")
  for part, seed in (("train", 0), ("val", 1)):
    data.write_nyuv2(folder, part, data.rooms(4, (16, 24), seed))
  return folder


def test_a_step_with_heads_as_they_are(nyuv2):
  """By shapes alone: compiling would take ten times as long."""
  config = override(PRESETS["nyuv2"], data_dir=str(nyuv2), tasks=("depth", "normal"), **SMALL)
  images = load(config.data, 0)
  job = {job.name: job for job in plan(config, images).values()}["multi-task equal"]
  batch = {name: np.stack([x] * 2) for name, x in images.parts["train"][0].items()}

  def train():
    key = jax.random.key(0)
    state = job.start(job.update, key, job.problem.init(key, job.settings))
    new, metrics = job.update.update(state, job.problem.prepare(key, batch))
    return state, new, metrics, job.problem.predict(job.variables(new), batch)

  state, new, metrics, found = jax.eval_shape(train)
  assert jax.tree.structure(new) == jax.tree.structure(state)
  assert {"point_conv", "rate_0_conv", "mean_conv"} <= set(new.params["heads_depth"]["aspp"])
  assert metrics["losses"].shape == (2,)
  assert {task: x.shape for task, x in found.items()} == {
    "depth": (2, 16, 24, 1),
    "normal": (2, 16, 24, 3),
  }


def test_files_are_read_when_their_turn_comes_and_pictures_are_drawn_of_one_s_own(
  nyuv2, tmp_path, one_convolution
):
  config = override(
    PRESETS["nyuv2"], data_dir=str(nyuv2), tasks=("depth", "noise"), noise=True, **SMALL
  )
  summary = run(config, tmp_path)
  single, equal = summary["results"]
  assert set(single["values"]["absolute_error"]) == {"depth", "noise"}
  assert equal["delta_mtl"][0] == pytest.approx(
    100
    * (
      1
      - equal["values"]["absolute_error"]["depth"][0]
      / single["values"]["absolute_error"]["depth"][0]
    )
  )  # noise is not judged
  rng = np.random.default_rng(0)
  Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / "mine.png")
  found = run(override(config, predict=str(tmp_path / "mine.png")), tmp_path)
  (figure,) = found["predictions"]
  assert figure.endswith("predictions/mine.png")
  with Image.open(figure) as image:
    assert image.size[0] > 100
  # From its folder alone the network is rebuilt, as an expert of others.
  network = training.load_trained_maps(tmp_path / "multi-task_equal")
  assert (network.tasks, network.runs) == ({"depth": "depth", "noise": "noise"}, 1)
  photo = data.read_image(tmp_path / "mine.png", data.Form(3, None))
  label = network.expert("depth")(photo)
  small = np.asarray(Image.fromarray(photo).resize((24, 16), Image.Resampling.BILINEAR))
  depth = np.asarray(network.predict(small[None], "depth"))[0]
  np.testing.assert_array_equal(label, data.experts.map_label("depth", depth, (40, 30)))
  with pytest.raises(ValueError, match="'noise' is of kind 'noise', of which no label is made"):
    network.expert("noise")
  with pytest.raises(ValueError, match=r"a network of maps, .*: training\.load_trained_maps"):
    training.load_trained(tmp_path / "multi-task_equal")
  with pytest.raises(FileNotFoundError, match=r"predict: there is no .*gone"):
    run(override(config, predict=str(tmp_path / "gone")), tmp_path)
  with pytest.raises(FileNotFoundError, match="no finished training of these options"):
    run(override(config, predict=str(tmp_path / "mine.png"), epochs=2), tmp_path)


def test_noise_is_another_map_for_each_image_and_always_the_same(nyuv2):
  files = data.read_nyuv2(nyuv2).train
  one, again = WithNoise(files, 0, 0), WithNoise(files, 0, 0)
  np.testing.assert_array_equal(one[2]["noise"], again[2]["noise"])
  assert not np.array_equal(one[2]["noise"], one[1]["noise"])
  assert not np.array_equal(one[2]["noise"], WithNoise(files, 0, 1)[2]["noise"])
  assert one[0]["noise"].shape == (16, 24, 1)
  np.testing.assert_array_equal(one[-1]["depth"], files[3]["depth"])


def test_streets_have_distances_to_borders(tmp_path):
  labels = np.zeros((2, 8, 12), int)
  labels[:, :, 6:] = 1
  labels[0, 0, 0] = -1
  photos = {"image": np.zeros((2, 8, 12, 3), np.uint8), "segmentation": labels}
  for part in ("train", "val", "test"):
    data.write_dense_folder(tmp_path, part, photos, classes=data.CAMVID_CLASSES, void=11)
  images = load(override(PRESETS["camvid"], data_dir=str(tmp_path)).data, 0)
  assert list(images.parts) == ["train", "validation", "test"]
  distance = images.parts["train"]["distance"][1, 3, :, 0]
  np.testing.assert_allclose(distance[5:8], [1, 0, 1])
  assert images.parts["train"]["distance"][0, 0, 0, 0] == -1
  assert images.tasks["segmentation"].names == data.CAMVID_CLASSES


def test_an_option_changes_only_what_depends_on_it():
  small = override(
    PRESETS["quick"],
    **{**SMALL, "methods": ("equal", "auto_lambda")},
    **{"train_images": 4, "test_images": 2, "validation_images": 0, "height": 16},
    width_in_pixels=16,
  )
  images = load(small.data, 0)

  def identities(**changes):
    config = override(small, **changes).with_tasks(("segmentation", "depth"))
    return {job.name: job.identity for job in plan(config, images).values()}

  before = identities()

  def changed(**changes):
    return {name for name, new in identities(**changes).items() if new != before[name]}

  assert changed(weight_learning_rate=0.5) == {"multi-task auto_lambda"}
  assert changed(architecture="mmoe") == {"multi-task equal", "multi-task auto_lambda"}
  assert changed(learning_rate=1.0) == set(before)
  before = identities(dgr_weight=1e-3)
  assert {"multi-task equal+dgr", "multi-task auto_lambda+dgr"} < set(before)
  assert changed(dgr_weight=1e-5) == {"multi-task equal+dgr", "multi-task auto_lambda+dgr"}


def test_dgr_adds_the_gradient_norms_of_frozen_heads():
  config = override(
    PRESETS["quick"],
    **SMALL,
    **{"train_images": 2, "test_images": 1, "validation_images": 0, "height": 16},
    **{"width_in_pixels": 16, "dgr_weight": 0.5, "num_dummies": 2, "tasks": ("depth", "normal")},
  )
  images = load(config.data, 0)
  jobs = {job.name: job for job in plan(config, images).values()}
  plain, with_dgr = jobs["multi-task equal"].problem, jobs["multi-task equal+dgr"].problem
  batch = {name: rows[:2] for name, rows in images.parts["train"].items()}
  setting = jax.tree.map(lambda leaf: leaf[0], jobs["multi-task equal+dgr"].settings)
  assert setting == (0.5, 2)

  def found():
    variables = dict(with_dgr.init(jax.random.key(0), setting))
    assert {"dummies", "weight", "num_used"} == set(variables["dgr"])
    params = variables.pop("params")
    ready = plain.prepare(jax.random.key(1), batch)
    want, _ = plain.losses_fn(params, variables, ready, jax.random.key(2))
    got, aux = with_dgr.losses_fn(params, variables, ready, jax.random.key(2))
    return got - want, aux.metrics["dummy_gradient_norm"], aux.model_state["dgr"], variables["dgr"]

  more, norms, kept, given = jax.jit(found)()
  np.testing.assert_allclose(more, 0.5 * norms, rtol=1e-4)
  assert np.all(np.asarray(norms) > 1e-3)
  jax.tree.map(np.testing.assert_array_equal, kept, given)


def test_the_paper_presets_are_the_thesis_recipe():
  for name, rate, crop in (("nyuv2", 1e-4, None), ("cityscapes", 3e-5, (256, 256))):
    config = PRESETS[name]
    assert (config.network.backbone, config.network.width) == ("resnet50", None)
    assert (config.training.epochs, config.training.batch_size) == (200, 4)
    assert (config.training.learning_rate, config.step.momentum) == (0.1, 0.9)
    assert (config.step.weight_decay, config.step.cosine) == (1e-4, "epoch")
    assert (config.weights.weight_learning_rate, config.weights.weight_init) == (rate, 0.1)
    assert (config.dense.output_stride, config.dense.head_features) == (8, 256)
    assert (config.dense.rates, config.dense.crop) == ((12, 24, 36), crop)
    assert config.run.seeds == 2
    # The rate is that of the epoch's first step until its last one.
    recipe = recipe_of(config.training, config.step)
    optimizer = recipe.optimizer(2 * config.training.epochs)
    state, rates = optimizer.init(jnp.ones(())), []
    for _ in range(4):
      update, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
      rates.append(float(update))
    first, last = -0.1, -0.1 * (1 + np.cos(np.pi / config.training.epochs)) / 2
    # Steps of gradient 1 with momentum .9 are 1, 1.9, 2.71, 3.439 rates long.
    want = [first, first * 1.9, last * 2.71, last * 3.439]
    np.testing.assert_allclose(rates, want, rtol=1e-5)
  assert PRESETS["nyuv2"].dense.scales == (1.0, 1.2, 1.5)
  assert PRESETS["cityscapes"].dense.scales == (1.0,)


def test_groups_say_which_tasks_help_which(tmp_path):
  config = override(
    PRESETS["quick"],
    **{**SMALL, "methods": ("equal", "auto_lambda"), "seeds": 2, "groupings": True},
    **{"tasks": ("segmentation", "depth", "normal"), "auxiliary_methods": ("auto_lambda",)},
    **{"train_images": 4, "test_images": 2, "validation_images": 0, "height": 16},
    **{"width_in_pixels": 16, "primaries": ("depth",)},
  )
  images = load(config.data, 0)
  jobs = plan(config.with_tasks(tuple(images.tasks)), images)
  names = {key: job.name for key, job in jobs.items()}
  pairs = ["segmentation + depth", "segmentation + normal", "depth + normal"]
  assert [name for setting, name in names if setting == groupings.GROUP] == pairs
  assert jobs["group", "depth + normal"].problem.tasks == ("depth", "normal")
  metrics = {task: kind.metric for task, kind in images.tasks.items()}
  values = {"single_segmentation": 50.0, "single_depth": 2.0, "single_normal": 10.0}
  values |= {
    "group segmentation + depth": [55.0, 1.0],
    "group depth + normal": [3.0, 10.0],
    "multi-task equal": [50.0, 2.0, 5.0],
    "depth auto_lambda": [10.0, 1.5, 10.0],
  }

  def outcome(name):
    tasks = next(job.problem.tasks for job in jobs.values() if job.name == name)
    each = dict(zip(tasks, np.atleast_1d(values[name]), strict=True))
    measured = {metrics[t]: {} for t in tasks}
    for task, value in each.items():
      measured[metrics[task]][task] = np.array([value, value])
    return Outcome(name, tasks, measured, [], 0.0, 0.0, 1, None, tmp_path)

  outcomes = {name: outcome(name) for name in values}
  found = groupings.gains(config, names, outcomes, metrics)
  table = groupings.table(config, found)
  assert [row[0] for row in table.rows] == [
    *("segmentation + depth", "depth + normal"),
    *("equal, all tasks", "auto_lambda, one primary"),
  ]
  np.testing.assert_allclose(
    found.values.mean(-1),
    [[10, 50, np.nan], [np.nan, -50, 0], [0, 0, 50], [np.nan, 25, np.nan]],
  )
  assert found.rows[0]["delta_mtl"] == [30, 30]
  (figure,) = groupings.draw(config, found, tmp_path).values()
  assert (tmp_path / "groupings.png").exists()
  assert "+50.0" in [text.get_text() for text in figure.axes[0].texts]
  # Nothing is said before the baselines are there.
  assert (
    groupings.gains(config, names, {"multi-task equal": outcomes["multi-task equal"]}, metrics)
    is None
  )


def test_the_thesis_figures_stand_beside_its_own_data_and_networks():
  of = functools.partial(paper.published, "nyuv2", "hps")
  assert of(False, None, "auto_lambda") == {
    "miou": {"segmentation": 47.17},
    "absolute_error": {"depth": 0.4097},
    "angle": {"normal": 23.68},
    "delta_mtl": {"all": 8.21},
  }
  assert of(True, None, "auto_lambda")["delta_mtl"] == {"all": 9.66}
  assert of(True, "depth", "gcs") == {"absolute_error": {"depth": 0.4206}}
  assert of(False, "depth", "gcs") is None  # the thesis has noise there
  assert of(False, None, "uncertainty+cagrad") == {"delta_mtl": {"all": 9.65}}
  assert of(False, None, "uncertainty+cagrad:c=.4,times=T") == {"delta_mtl": {"all": 9.65}}
  assert of(False, None, "pcgrad") == {"delta_mtl": {"all": 5.09}}
  assert of(False, None, "imtl_l+imtl_g+dgr")["absolute_error"] == {"depth": 0.377}
  assert of(True, None, "equal+dgr") is None
  assert of(True, None, "auto_lambda, init 1") == {"delta_mtl": {"all": 1.42}}
  assert paper.published("rooms", "hps", False, None, "equal") is None
  assert paper.published("cityscapes", "mtan", False, None, "single task") == {
    "miou": {"segmentation": 56.2, "part": 52.74},
    "absolute_error": {"disparity": 0.0084},
  }

  def row(name, noise=False):
    published = of(noise, None, name)
    values = {m: {t: [v] for t, v in by.items()} for m, by in (of(False, None, "equal")).items()}
    values["last_weight"] = {t: [1.0] for t in ("segmentation", "depth", "normal")}
    return {
      **{"name": name, "setting": "multi-task", "values": values, "paper": published},
      **{"delta_mtl": [1.0], "ms_per_step": 1.0, "minutes": 1.0, "failure": None},
    }

  config = override(PRESETS["nyuv2"], tasks=("segmentation", "depth", "normal"))
  metrics = {"segmentation": "miou", "depth": "absolute_error", "normal": "angle"}
  rows = [row(n) for n in ("single task", "equal", "auto_lambda", "auto_lambda+cagrad")]
  rows.append(row("auto_lambda, init 1", noise=True))
  table, combined, ablated = tables.tables(config, rows, metrics)
  by_name = {cells[0]: cells[1:] for cells in table.rows}
  assert by_name["auto_lambda, paper"] == ["47.2", "0.4097", "23.7", "8.2", "-"]
  assert "auto_lambda+cagrad, paper" not in by_name
  assert {cells[0]: cells[1:] for cells in combined.rows}["+ cagrad, paper"] == ["11.1"]
  assert ablated.header[-1] == "Delta_MTL (%), paper"
  assert ablated.rows[-1][-1] == "1.4"


def test_what_does_not_fit_is_said_before_anything_is_written(nyuv2, tmp_path, capsys):
  config = override(PRESETS["nyuv2"], data_dir=str(nyuv2), tasks=("depth", "normal"), **SMALL)
  with pytest.raises(ValueError, match=r"groupings need three tasks.* got depth, normal"):
    run(override(config, groupings=True), tmp_path / "runs")
  bad = tmp_path / "bad"
  shutil.copytree(nyuv2, bad)
  np.save(bad / "val" / "depth" / "1.npy", np.full((16, 24, 1), np.nan, np.float32))
  with pytest.raises(ValueError, match=r"val.depth.1\.npy"):
    run(override(config, data_dir=str(bad)), tmp_path / "runs")
  assert not (tmp_path / "runs").exists()


def test_folders_of_one_s_own_say_what_is_void(tmp_path):
  labels = np.zeros((2, 8, 8), np.uint8)
  labels[:, :, 4:] = 2
  for part in ("train", "val"):
    for folder, kept in (("", np.zeros((2, 8, 8, 3), np.uint8)), ("annot", labels)):
      (tmp_path / (part + folder)).mkdir()
      for i, values in enumerate(kept):
        Image.fromarray(values).save(tmp_path / (part + folder) / f"{i}.png")
  (tmp_path / "classes.json").write_text('["road", "sky"]')
  own = override(PRESETS["quick"], dataset=str(tmp_path), void=0, first_class=1)
  images = load(own.data, 0)
  assert np.unique(images.parts["train"][0]["segmentation"]).tolist() == [-1, 1]
  smaller = load(override(own, image_size=(4, 6)).data, 0)
  assert smaller.shape == (4, 6, 3)
  assert smaller.identity != images.identity
  for part in ("train", "val"):
    for i in range(2):
      Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{part}annot" / f"{i}.png")
  with pytest.raises(ValueError, match=r"no pixel of the first 2 maps .* --void"):
    load(own.data, 0)
  (tmp_path / "classes.json").write_text('["road", "road"]')
  with pytest.raises(ValueError, match="two classes are called 'road'"):
    load(own.data, 0)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"height": 1}, "height must be at least 16, got 1"),
    ({"weight_init": -1.0}, "weight_init must be above 0, got -1"),
    ({"depth_scale": 0.0}, "depth_scale must be above 0, got 0"),
    ({"image_size": (0, 4)}, r"image_size must be at least 1 pixel each way, got \(0, 4\)"),
  ],
)
def test_options_out_of_range(options, message):
  with pytest.raises(ValueError, match=message):
    override(PRESETS["quick"], **options).check()


def test_a_corrected_label_is_other_data(tmp_path):
  rng = np.random.default_rng(0)
  photos = {
    "image": np.zeros((40, 8, 8, 3), np.uint8),
    "segmentation": rng.integers(0, 3, (40, 8, 8)),
  }
  for part in ("train", "val"):
    data.write_dense_folder(tmp_path, part, photos, classes=("a", "b", "c"), void=255)

  def found():
    images = load(override(PRESETS["quick"], dataset=str(tmp_path)).data, 0)
    return fingerprint(images.parts["train"])

  before = found()
  assert found() == before
  changed = sorted((tmp_path).glob("trainannot/*.png"))[1]  # of the first examples not the first
  with Image.open(changed) as image:
    Image.fromarray((np.asarray(image) + 1) % 3).save(changed)
  assert found() != before
