"""The DGR experiment: what it writes, what chooses the weight, and its options."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import dgr, dgr_training
from experiments.dgr import PRESETS, run
from experiments.dgr_tables import PAPER
from jaxmtl import data

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = dataclasses.replace(
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


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return folder, run(SMALL, folder)


def test_it_writes_what_it_promises(workdir):
  folder, outcome = workdir
  figures = ("curves.png", "cost.png", "sweep.png", "probes.png", "tsne.png")
  assert all((folder / name).stat().st_size for name in ("config.json", "results.md", *figures))
  assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(outcome))
  names = [row["method"] for row in outcome["results"]]
  assert names == ["single task", "equal", "equal+dgr"]
  for row in outcome["results"][1:]:
    assert np.shape(row["probes"]["parity"]["SVM"]) == np.shape(row["delta_mtl"]) == (2,)
    assert np.isfinite(row["universality"]["parity"]).all()
  settings = [(row["weight"], row["num_dummies"]) for row in outcome["sweep"]]
  assert settings == [(0.1, 1), (0.1, 2), (1e-3, 1), (1e-3, 2)]
  best = max(outcome["sweep"][1::2], key=lambda row: np.mean(row["validation_accuracy"]))
  assert outcome["weight"] == best["weight"]
  table = (folder / "results.md").read_text()
  assert f"DGR with 2 dummies and weight {best['weight']:g}" in table
  assert "| weight | d = 1 | d = 2 |" in table


def test_settings_of_the_sweep_start_alike_and_weigh_differently(workdir):
  folder, _ = workdir
  (line,) = (folder / "equal+dgr_0.1x1_0.1x2_0.001x1_0.001x2_of2" / "metrics.jsonl").open()
  norms = np.array(json.loads(line)["dummy_gradient_norm"])
  assert norms.shape == (4, 1)
  # One and two dummies differ from the start; weights only move the encoder apart.
  assert abs(norms[0] - norms[1]) > 1e-3 * norms[0]
  assert 0 < abs(norms[0] - norms[2]) < abs(norms[0] - norms[1])


@pytest.mark.parametrize("kind", ["sam", "pta"])
def test_what_dgr_is_compared_with_trains_too(kind, tmp_path, monkeypatch):
  """By shapes alone: compiling would take ten times as long."""

  def shapes_only(init, first_seed, num_seeds, *args, repeat=1):
    keys = jax.vmap(jax.random.key)(jax.numpy.arange(num_seeds * repeat))
    return jax.eval_shape(jax.vmap(init), keys, *args)

  monkeypatch.setattr(dgr_training, "init_seeds", shapes_only)
  parts = data.multi_digits(num_examples=(40, 10, 10), size=10)
  trainer = dgr_training.RegularizedTrainer(SMALL, parts, tmp_path)
  network = trainer._network(("parity",), kind, [dgr_training.Setting(0.0, 1)])
  step = trainer.step(network.losses_fn, 1, dgr_training.parse("equal", 1))
  state = shapes_only(lambda key, v: dgr_training._start(step, key, v), 0, 2, network.variables)
  batch = {"image": np.zeros((2, 5, 10, 10, 1), np.float32), "parity": np.zeros((2, 5), int)}
  after, metrics = jax.eval_shape(jax.vmap(step.update), state, batch)
  assert metrics["losses"].shape == metrics["train_accuracy"].shape == (2, 1)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  decoders = jax.tree.leaves(after.params.get("decoders", {}))
  assert [leaf.shape[:2] for leaf in decoders] == ([(2, 2)] * 2 if kind == "pta" else [])
  assert set(dgr_training.network_variables({"params": after.params, **after.model_state})) == {
    *("params", "batch_stats")
  }


def test_options_that_do_not_fit_are_named(tmp_path):
  for message, options in {
    "must start with equal": {"methods": ("cagrad",)},
    r"compared_on has \['dwa'\]": {"compared_on": ("dwa",)},
    "dummy_counts with num_dummies=3": {"num_dummies": 3},
    "one shared encoder.*got architecture='mmoe'": {"architecture": "mmoe"},
    "hidden must not be negative": {"hidden": -1},
    r"tasks \['age'\] are not among the data's: left": {"tasks": ("age",)},
  }.items():
    with pytest.raises(ValueError, match=message):
      run(dataclasses.replace(SMALL, **options), tmp_path / "none")
  assert not (tmp_path / "none").exists()
  for preset in PRESETS.values():
    preset.check()
  assert {f"{m}{s}" for m in PRESETS["paper"].methods for s in ("", "+dgr")} <= set(PAPER)
  with pytest.raises(SystemExit, match="no faces of UTKFace"):
    dgr.main(["--preset", "utkface", "--data-dir", str(tmp_path)])


def test_faces_are_read_and_skipped_files_counted(tmp_path, capsys):
  for name in ("1_0_0_1.jpg", "25_1_2_1.jpg", "70_1_4_1.jpg", "3_1_1.jpg"):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
  config = dataclasses.replace(PRESETS["utkface"], data_dir=str(tmp_path), image_size=8)
  with pytest.raises(ValueError, match="share must leave examples on both sides"):
    dgr._load(config)
  for age in range(10, 30):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{age}_0_0_2.jpg")
  parts, skipped = dgr._load(config)
  assert skipped == ("3_1_1.jpg",)
  assert "1 file(s) skipped" in capsys.readouterr().out
  assert jax.tree.map(len, parts.test.labels) == {"age": 5, "gender": 5, "ethnicity": 5}
