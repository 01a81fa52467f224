import dataclasses
import json

import numpy as np
import pytest

from experiments import binary_labels
from experiments.binary_labels import PRESETS, run

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = dataclasses.replace(
  PRESETS["quick"], label_kinds=("none", "binary"), dim=24, epochs=2, seeds=2, batch_size=54
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return folder, run(SMALL, folder)


def test_it_writes_what_it_promises(workdir):
  folder, outcome = workdir
  names = ("config.json", "results.json", "results.md", "curves.png", "cosine.png", "labels.png")
  assert all((folder / name).stat().st_size for name in names)
  assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(outcome))
  baseline, binary = outcome["results"]
  assert (baseline["variant"], binary["variant"]) == ("baseline", "binary (0.5, 0.5)")
  for row in (baseline, binary):
    assert len(row["test_accuracy"]) == 2
    assert row["mean"] == pytest.approx(np.mean(row["test_accuracy"]))
    assert row["paper"] is None  # the paper has no digits
  assert "| baseline |" in (folder / "results.md").read_text()
  rows = [
    json.loads(line)
    for line in (folder / "binary_0.5_0.5" / "metrics.jsonl").read_text().splitlines()
  ]
  assert [row["epoch"] for row in rows] == [1, 2]
  assert np.shape(rows[0]["losses"]) == (2, 2)  # seeds, tasks
  assert np.shape(rows[0]["cosine"]) == (2, 2, 2)
  assert list((folder / "baseline" / "tensorboard").iterdir())


def test_the_same_command_goes_on_and_another_configuration_raises(workdir, capsys):
  folder, outcome = workdir
  again = run(dataclasses.replace(SMALL, label_kinds=("none",)), folder)
  assert "goes on after epoch 2 of 2" in capsys.readouterr().out
  assert again["results"][0]["test_accuracy"] == outcome["results"][0]["test_accuracy"]
  with pytest.raises(ValueError, match=r"learning_rate: 0\.05 saved, 0\.2 asked for"):
    run(dataclasses.replace(SMALL, learning_rate=0.2, label_kinds=("none",)), folder)
  assert json.loads((folder / "config.json").read_text())["learning_rate"] == 0.05


@pytest.mark.parametrize(
  ("change", "error", "message"),
  [
    ({"dataset": "digit"}, Exception, "digits"),
    ({"aggregator": "pcgrat"}, ValueError, "known ones: .*pcgrad"),
    ({"backbone": "resnet33"}, ValueError, "known: .*resnet32"),
    ({"fraction": 0.001}, ValueError, "0.001"),
    ({"task_weights": ("0.5",)}, ValueError, "0.5,0.5"),
    ({"task_weights": ("0.5,0.6",)}, ValueError, "sum to 1"),
    ({"epochs": 0}, ValueError, "epochs must be at least 1"),
    ({"dataset": "cifar100", "data_dir": "/nowhere"}, FileNotFoundError, "/nowhere"),
  ],
)
def test_bad_input_raises_before_anything_is_written(change, error, message, tmp_path):
  folder = tmp_path / "runs"
  with pytest.raises(error, match=message):
    run(dataclasses.replace(SMALL, **change), folder)
  assert not folder.exists()


def test_the_command_line_names_presets_and_ends_with_one_line(tmp_path, capsys):
  with pytest.raises(SystemExit) as stop:
    binary_labels.main(["--preset", "paper", "--data-dir", str(tmp_path)])
  assert str(tmp_path) in str(stop.value)
  with pytest.raises(SystemExit):
    binary_labels.main(["--help"])
  assert "--task-weights" in capsys.readouterr().out


def test_the_paper_preset_is_the_papers_recipe():
  paper = PRESETS["paper"]
  assert (paper.learning_rate, paper.momentum, paper.weight_decay) == (0.1, 0.9, 1e-4)
  assert (paper.batch_size, paper.epochs, paper.dim, paper.seeds) == (128, 600, 4096, 3)
  assert [m * paper.epochs for m in paper.milestones] == [300, 450]
  assert (paper.crop_padding, paper.flip) == (4, True)
