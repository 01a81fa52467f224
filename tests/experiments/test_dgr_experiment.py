"""The DGR experiment's own: what the sweep chooses, what depends on what, regularised problems."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.dgr import figures, report
from experiments.dgr.config import PRESETS
from experiments.dgr.images import DataOptions
from experiments.dgr.jobs import SWEEP, Plan, best_weights
from experiments.dgr.paper import PAPER
from experiments.dgr.run import main, run
from experiments.runner import embeddings
from experiments.runner.config import override
from experiments.runner.job import Outcome
from experiments.runner.report import SINGLE, together
from experiments.runner.run import Runner
from jaxmtl import plots

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = override(
  PRESETS["quick"],
  tasks=("parity",),
  methods=("equal",),
  compared=(),
  train_images=40,
  image_size=10,
  width=2,
  hidden=0,
  epochs=1,
  batch_size=20,
  seeds=2,
  weights=(0.1, 1e-3),
  dummy_counts=(1, 2),
  num_dummies=2,
  probe_images=30,
)
TWO = override(SMALL, tasks=("left", "parity"), compared=("sam", "pta"))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return folder, run(SMALL, folder)


@pytest.fixture(scope="module")
def images():
  return SMALL.data.load(0).images


def test_it_writes_what_it_promises_and_trains_nothing_again(workdir, promised):
  files = ("curves.png", "cost.png", "sweep.png", "probes.png", "tsne.png")
  promised(run, SMALL, *workdir, files, ("single task", "equal", "equal+dgr"))


def test_the_sweep_chooses_the_weight_on_validation(workdir):
  folder, summary = workdir
  settings = [(row["weight"], row["num_dummies"]) for row in summary["sweep"]]
  assert settings == [(0.1, 1), (0.1, 2), (1e-3, 1), (1e-3, 2)]
  with_two = summary["sweep"][1::2]
  best = max(with_two, key=lambda row: row["validation_accuracy"]["parity"])
  assert summary["weights"] == {"equal": best["weight"]}
  table = (folder / "results.md").read_text()
  assert f"DGR with 2 dummies and weight {best['weight']:g}" in table
  assert "| weight | dummies: 1 | dummies: 2 |" in table
  assert "Delta_MTL: equal+dgr" in table


def test_the_best_weight_is_that_with_as_many_dummies_as_methods_have():
  sweep = [
    {
      "method": method,
      "weight": weight,
      "num_dummies": count,
      "validation_accuracy": {"a": value, "b": 50.0},
    }
    for method, weight, count, value in (
      ("equal", 0.1, 1, 90.0),
      ("equal", 0.1, 2, 60.0),
      ("equal", 0.01, 1, 50.0),
      ("equal", 0.01, 2, 70.0),
      ("cagrad", 0.1, 2, 70.0),
      ("cagrad", 0.01, 2, 60.0),
    )
  ]
  assert best_weights(SMALL, sweep) == {"equal": 0.01}
  assert best_weights(override(SMALL, num_dummies=1), sweep) == {"equal": 0.1}
  # A method without a sweep of its own takes that of equal weights.
  three = override(SMALL, methods=("equal", "cagrad", "dwa"))
  assert best_weights(three, sweep) == {"equal": 0.01, "cagrad": 0.1, "dwa": 0.01}


def test_each_method_may_have_a_sweep(images):
  config = override(TWO, methods=("equal", "cagrad"), sweep_each=True)
  jobs = {job.name: job for job in Plan(config, images, config.check()).before()}
  assert jobs["sweep_cagrad"].identity["tried"] == [(0.1, 2), (1e-3, 2)]  # with num_dummies
  assert jobs["sweep_cagrad"].seeds == [0, 0]
  alone = override(config, sweep_each=False)
  assert "sweep_cagrad" not in [j.name for j in Plan(alone, images, alone.check()).before()]


def test_frozen_encoders_are_measured_by_seed(workdir):
  _, summary = workdir
  single, *others = summary["results"]
  assert set(single["values"]) == {"accuracy"}
  for row in others:
    probes = {f"probe_{name}" for name in embeddings.PROBES}
    assert set(row["values"]) == {"accuracy", "universality", *probes}
    for by_task in row["values"].values():
      assert np.shape(by_task["parity"]) == np.shape(row["delta_mtl"]) == (2,)
      assert np.isfinite(by_task["parity"]).all()


def test_measured_encoders_are_not_measured_again(workdir, monkeypatch):
  folder, summary = workdir
  measured = []

  def probes(*_, name, **__):
    measured.append(name)
    return {name: {"parity": [50.0, 60.0]} for name in embeddings.PROBES}

  monkeypatch.setattr(embeddings, "probes", probes)
  monkeypatch.setattr(embeddings, "tsne", None)  # nothing is mapped anew
  assert run(SMALL, folder)["results"] == summary["results"]
  assert measured == []
  # What is trained would be written anew.
  written = {path: path.stat().st_mtime_ns for path in folder.glob("*/weights.safetensors")}
  other = run(override(SMALL, probe_images=20), folder)
  assert measured == ["equal", "equal+dgr"]
  assert written == {p: p.stat().st_mtime_ns for p in folder.glob("*/weights.safetensors")}
  assert other["results"][1]["values"]["probe_SVM"]["parity"] == [50, 60]
  assert (folder / "probe_images=20" / "results.json").exists()


def test_settings_of_the_sweep_start_alike_and_weigh_differently(workdir):
  folder, _ = workdir
  (line,) = (folder / SWEEP / "metrics.jsonl").open()
  norms = np.array(json.loads(line)["dummy_gradient_norm"])
  assert norms.shape == (4, 1)
  # One and two dummies differ from the start; weights only move the encoder apart.
  assert abs(norms[0] - norms[1]) > 1e-3 * norms[0]
  assert 0 < abs(norms[0] - norms[2]) < abs(norms[0] - norms[1])


def test_a_job_depends_on_its_own_options_alone(images):
  def identities(**changes):
    config = override(TWO, methods=("equal", "cagrad"), **changes)
    plan = Plan(config, images, config.check())
    return {
      job.name: dict(job.identity)
      for job in [*plan.before(), *plan.with_dgr(dict.fromkeys(config.methods, 0.1))]
    }

  usual = identities()
  dgr, everything = {"equal+dgr", "cagrad+dgr"}, set(usual)
  assert everything == {
    *("single_left", "single_parity", "equal", "equal+sam", "equal+pta", "cagrad", SWEEP, *dgr)
  }
  for changes, changed in (
    ({"weights": (1.0, 2.0)}, {SWEEP}),
    ({"dummy_counts": (2, 1)}, {SWEEP}),
    ({"dummy_counts": (1, 2, 5)}, {SWEEP, *dgr}),  # five are drawn, so the first two are others
    ({"num_dummies": 1}, {"equal+pta", *dgr}),
    ({"estimator": "autodiff"}, {SWEEP, *dgr}),
    ({"radius": 0.5}, {"equal+sam"}),
    ({"probe_images": 7}, set()),
    ({"data_dir": "elsewhere"}, set()),
    ({"hidden": 4}, everything),
    ({"flip": True}, everything),
    ({"image_size": 12}, everything),
    ({"learning_rate": 1.0}, everything),
  ):
    now = identities(**changes)
    assert {name for name in usual if now[name] != usual[name]} == changed, changes
  assert SWEEP not in identities(weight=0.5)
  # Faces are the same whatever the seed, and however many digits there would be.
  faces = DataOptions("utkface")
  assert faces.identity(0) == faces.identity(1) == DataOptions("utkface", None, 7).identity(0)


@pytest.mark.parametrize("name", ["equal+sam", "equal+pta", "equal+dgr"])
@pytest.mark.parametrize("hidden", [0, 3])
def test_regularised_problems_train(name, hidden, images):
  """By shapes alone: compiling would take ten times as long."""
  config = override(TWO, hidden=hidden)
  plan = Plan(config, images, config.check())
  (job,) = [
    j
    for j in [*plan.before(), *plan.with_dgr(dict.fromkeys(config.methods, 0.1))]
    if j.name == name
  ]
  batch = {"image": np.zeros((5, 10, 10, 1), np.uint8)} | {t: np.zeros(5, int) for t in TWO.tasks}

  def train(setting):
    key = jax.random.key(0)
    state = job.start(job.update, key, job.problem.init(key, setting))
    return state, job.update.update(state, job.problem.prepare(key, batch))

  setting = jax.tree.map(lambda leaf: leaf[0], job.settings)
  state, (after, metrics) = jax.eval_shape(train, setting)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert metrics["losses"].shape == metrics["train_accuracy"].shape == (2,)
  assert ("dummy_gradient_norm" in metrics) == (name == "equal+dgr")
  decoders = jax.tree.leaves(after.params.get("decoders", {}))
  leaves = 2 * 2 * (2 if hidden else 1)  # kernel and bias, tasks, layers
  assert [leaf.shape[0] for leaf in decoders] == ([2] * leaves if name == "equal+pta" else [])
  variables = job.variables(after)
  assert set(variables) == {"params", "batch_stats"}
  assert set(variables["params"]) == {"backbone", "heads_left", "heads_parity"}


def test_weights_on_disk_are_the_networks_alone(workdir):
  folder, _ = workdir
  alone, with_dgr = (
    Outcome(n, (), {}, [], 0, 0, 0, None, folder / n).variables for n in ("equal", "equal+dgr")
  )
  assert jax.tree.structure(alone) == jax.tree.structure(with_dgr)


class NothingMeasured:
  """In place of `Frozen`."""

  def values(self, outcome):
    return {}

  def map(self, outcome):
    return np.arange(6.0).reshape(3, 2)

  def shown_labels(self, task):
    return np.array([0, 1, 1])

  def class_names(self, task):
    return ("even", "odd")


def outcome(name, tasks, values, failure=None, folder=None):
  row = {"epoch": 1, "step": 3, "seconds": 0.3}
  row["validation"] = {"accuracy": {t: values for t in sorted(tasks)[::-1]}}
  found = {} if failure else {"accuracy": {t: np.array(values) for t in tasks}}
  return Outcome(name, tasks, found, [row], 100.0, 1.0, 0.1, failure, folder)


@pytest.fixture
def outcomes(tmp_path):
  home = tmp_path / "home"
  return {
    "single_left": outcome("single_left", ("left",), [50.0, 60.0], folder=home),
    "single_parity": outcome("single_parity", ("parity",), [50.0, 60.0], folder=home),
    "equal": outcome("equal", TWO.tasks, [55.0, 66.0], folder=home),
    "equal+sam": outcome("equal+sam", TWO.tasks, [1.0, 2.0], "the loss is nan", home),
    SWEEP: outcome(SWEEP, TWO.tasks, [56.0, 57.0, 58.0, 54.0], folder=home),
  }


def test_what_there_is_so_far_is_written_and_marked(outcomes, tmp_path):
  few = {"single_left": outcomes["single_left"]}
  assert report.write(TWO, few, NothingMeasured(), tmp_path, partial="1 of 7 trainings") == {}
  summary = report.write(TWO, outcomes, NothingMeasured(), tmp_path, partial="5 of 7 trainings")
  assert [row["name"] for row in summary["results"]] == ["single task", "equal", "equal+sam"]
  np.testing.assert_allclose(summary["results"][1]["delta_mtl"], [10, 10])
  assert summary["weights"] == {}
  table = (tmp_path / "results.md").read_text()
  assert "**Partial: 5 of 7 trainings.**" in table
  assert "a weight still to be chosen" in table
  assert "| equal+sam | diverged | - | - | - |" in table
  for name in ("curves.png", "cost.png", "sweep.png", "tsne.png"):
    assert (tmp_path / name).exists(), name


def test_figures_show_the_numbers(outcomes, tmp_path):
  methods = {n: o for n, o in outcomes.items() if n in TWO.names}
  single = together(SINGLE, {t: outcomes[f"single_{t}"] for t in TWO.tasks})
  (tmp_path / "written").mkdir()
  summary = report.write(TWO, outcomes, NothingMeasured(), tmp_path / "written")
  found = figures.draw(
    TWO, summary["results"], single, methods, summary["sweep"], NothingMeasured(), tmp_path
  )
  assert {path.name for path in tmp_path.glob("*.png")} == set(found)
  assert set(found) == {"cost.png", "curves.png", "sweep.png", "tsne.png"}  # nothing was probed
  (axes, _) = found["sweep.png"].axes
  # Against equal's first seed, 55.
  assert [text.get_text() for text in axes.texts] == ["+3.0", "-1.0", "+1.0", "+2.0"]
  assert [t.get_text() for t in axes.get_yticklabels()] == ["weight 0.001", "weight 0.1"]
  assert [t.get_text() for t in axes.get_xticklabels()] == ["dummies: 1", "dummies: 2"]
  points = {c.get_label(): c.lines[0] for c in found["cost.png"].axes[0].containers}
  assert list(points) == [SINGLE, "equal"]
  assert points[SINGLE].get_xdata() == [200]  # of both tasks' networks
  methods = plots.palette([SINGLE, *TWO.names])
  assert points["equal"].get_color() == methods["equal"]
  (axes,) = found["curves.png"].axes
  tasks = plots.palette(TWO.tasks, plots.DATA_COLORS)
  lines = {line.get_label(): line for line in axes.lines}
  assert {t: lines[t].get_color() for t in TWO.tasks} == tasks
  assert [lines[name].get_ydata()[0] for name in ("left", f"left: {SINGLE}")] == [60.5, 55]
  assert axes.get_title() == "equal"
  left, parity = found["tsne.png"].axes
  assert [left.get_title(), parity.get_title()] == ["left: equal", "parity: equal"]
  (legend,) = found["tsne.png"].legends  # both panels have the same classes
  assert [text.get_text() for text in legend.get_texts()] == ["even", "odd"]


@pytest.mark.parametrize(
  ("name", "message"),
  [
    (SWEEP, "the sweep diverged: the loss is nan; leave the largest weights out"),
    ("single_parity", "the baseline of task 'parity' diverged: the loss is nan"),
  ],
)
def test_nothing_rests_on_what_diverged(name, message, tmp_path, monkeypatch):
  def run_all(self, jobs, **_):
    failures = {name: "the loss is nan"}
    return {j.name: outcome(j.name, j.problem.tasks, [0.0], failures.get(j.name)) for j in jobs}

  monkeypatch.setattr(Runner, "run_all", run_all)
  with pytest.raises(ValueError, match=message):
    run(SMALL, tmp_path)


def test_presets_hold_and_the_paper_has_their_rows():
  for preset in PRESETS.values():
    preset.check()
  assert {f"{m}{s}" for m in PRESETS["paper"].methods for s in ("", "+dgr")} <= set(PAPER)
  assert all(set(row["accuracy"]) == {"age", "gender", "ethnicity"} for row in PAPER.values())


def test_published_figures_stand_beside_ours_task_by_task(tmp_path):
  config = override(PRESETS["utkface"], tasks=("gender", "age"), methods=("equal",), seeds=1)
  singles = {
    f"single_{t}": outcome(f"single_{t}", (t,), [50.0], folder=tmp_path / "a") for t in config.tasks
  }
  found = {**singles, "equal": outcome("equal", config.tasks, [60.0])}
  row = report.write(config, found, NothingMeasured(), tmp_path)["results"][1]
  assert row["paper"]["accuracy"]["age"] == 53.91
  assert (
    "| equal | 60.0 | 60.0 | 20.0 | 91.5 | 53.9 | 2.7 |" in (tmp_path / "results.md").read_text()
  )


def test_faces_are_read_and_skipped_files_counted(tmp_path, capsys):
  for name in ("1_0_0_1.jpg", "25_1_2_1.jpg", "70_1_4_1.jpg", "3_1_1.jpg"):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
  options = DataOptions("utkface", str(tmp_path), image_size=8)
  with pytest.raises(ValueError, match="share must leave examples on both sides"):
    options.load(0)
  for age in range(10, 30):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{age}_0_0_2.jpg")
  images, skipped = options.load(0)
  assert skipped == ("3_1_1.jpg",)
  assert "1 file(s) skipped" in capsys.readouterr().out
  assert options.describe(len(skipped)) == "UTKFace at 8 px, 1 file(s) skipped"
  counts = {t: len(images.parts["test"][t]) for t in images.tasks}
  assert counts == {"age": 5, "gender": 5, "ethnicity": 5}
  assert images.tasks["gender"].names == ("male", "female")
  assert images.shape == (8, 8, 3)


def test_missing_faces_are_named_on_the_command_line(tmp_path):
  with pytest.raises(SystemExit, match="no faces of UTKFace"):
    main(["--preset", "utkface", "--data-dir", str(tmp_path), "--workdir", str(tmp_path / "none")])
  assert not (tmp_path / "none").exists()
