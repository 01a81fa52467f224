import dataclasses
import json

import numpy as np
import pytest

from experiments import benchmark, benchmark_training
from experiments.benchmark import PRESETS, run
from experiments.benchmark_training import Outcome
from jaxmtl.aggregation import METHODS as AGGREGATORS
from jaxmtl.weighting import METHODS as WEIGHTINGS

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = dataclasses.replace(
  PRESETS["quick"],
  methods=("equal", "dwa+cagrad"),
  tasks=("left", "noise"),
  train_images=60,
  image_size=10,
  width=2,
  epochs=2,
  batch_size=20,
  seeds=2,
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return folder, run(SMALL, folder)


def test_it_writes_what_it_promises(workdir):
  folder, outcome = workdir
  names = ("config.json", "results.json", "results.md", "curves.png")
  figures = ("heat_map.png", "trade_off.png", "cost.png")
  assert all((folder / name).stat().st_size for name in names + figures)
  assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(outcome))
  single, equal, combined = outcome["results"]
  assert [r["method"] for r in outcome["results"]] == ["single task", "equal", "dwa+cagrad"]
  assert single["delta_mtl"] == [0, 0]
  for row in (equal, combined):
    mine, other = (np.array(r["test_accuracy"]["left"]) for r in (row, single))
    np.testing.assert_allclose(row["delta_mtl"], 100 * (mine - other) / other)
    assert row["delta_mtl_all_tasks"] != row["delta_mtl"]
  table = (folder / "results.md").read_text()
  assert "Delta_MTL over left; Adam, learning rate 0.01 for every method" in table
  assert "| dwa+cagrad |" in table
  assert "Delta_MTL with noise (%)" in table
  for name, tasks in (("single_left", 1), ("equal", 2), ("dwa+cagrad", 2)):
    lines = (folder / name / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert np.shape(rows[0]["losses"]) == np.shape(rows[0]["train_accuracy"]) == (2, tasks)
  assert np.shape(rows[0]["cosine"]) == (2, 2, 2)  # seeds, tasks, tasks


def test_the_same_command_goes_on_and_another_configuration_raises(workdir, capsys):
  folder, outcome = workdir
  again = run(dataclasses.replace(SMALL, methods=("equal",)), folder)
  assert capsys.readouterr().out.count("goes on after epoch 2 of 2") == 3
  assert again["results"] == outcome["results"][:2]
  with pytest.raises(ValueError, match=r"learning_rate: 0\.01 saved, 0\.2 asked for"):
    run(dataclasses.replace(SMALL, learning_rate=0.2), folder)
  assert json.loads((folder / "config.json").read_text())["learning_rate"] == 0.01


def test_a_method_that_diverges_leaves_the_others_their_table(tmp_path, monkeypatch):
  def train(self, name, method, tasks):
    if name == "equal":
      nothing = np.full(2, np.nan)
      return Outcome({t: nothing for t in tasks}, {}, float("nan"), "the loss of 'left' is nan")
    curves = {t: np.ones((2, 2)) for t in tasks}
    return Outcome({t: np.array([50.0, 60.0]) for t in tasks}, curves, 1.0)

  monkeypatch.setattr(benchmark_training.Trainer, "train", train)
  _, equal, combined = run(SMALL, tmp_path)["results"]
  assert equal == {"method": "equal", "failure": "the loss of 'left' is nan"}
  assert combined["delta_mtl"] == [0, 0]
  assert "| equal | diverged | - |" in (tmp_path / "results.md").read_text()

  def diverging(self, name, method, tasks):
    return train(self, "equal", method, tasks)

  monkeypatch.setattr(benchmark_training.Trainer, "train", diverging)
  with pytest.raises(ValueError, match="the baseline of task 'left' diverged"):
    run(SMALL, tmp_path)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"methods": ("equal", "pcgrat")}, "'pcgrat' is not known. Known weightings: .*dwa.*pcgrad"),
    ({"methods": ("pcgrad+dwa",)}, "weighting\\+aggregator"),
    ({"methods": ("dwa+",)}, "is not known"),
    ({"backbone": "resnet33"}, "known: .*resnet32"),
    ({"architecture": "hsp"}, "'hsp' is not known; known: hps"),
    ({"image_size": 9}, "size must be from 10"),
    ({"not_counted": ("left", "noise")}, "a task that counts"),
    ({"epochs": 0}, "epochs must be at least 1"),
  ],
)
def test_bad_input_raises_before_anything_is_written(change, message, tmp_path):
  folder = tmp_path / "runs"
  with pytest.raises(ValueError, match=message):
    run(dataclasses.replace(SMALL, **change), folder)
  assert not folder.exists()


def test_every_preset_names_methods_that_exist():
  for config in PRESETS.values():
    assert len(config.methods) >= 15
    for name in config.methods:
      method = benchmark_training.Method.parse(name)
      weighting, aggregator = method.build(len(config.tasks), 4)
      assert (weighting is None) == (method.weighting is None)
      assert (aggregator is None) == (method.aggregator is None)
  assert {*WEIGHTINGS, *AGGREGATORS} <= set(PRESETS["full"].methods)


def test_the_command_line(capsys):
  with pytest.raises(SystemExit) as stop:
    benchmark.main(["--methods", "equal", "nothing"])
  assert "'nothing' is not known" in str(stop.value)
  with pytest.raises(SystemExit):
    benchmark.main(["--help"])
  assert "--not-counted" in capsys.readouterr().out
