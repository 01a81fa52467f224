import dataclasses
import json

import numpy as np
import pytest

from experiments.auto_lambda import MULTI_TASK, PRESETS, run

SMALL = dataclasses.replace(
  PRESETS["quick"],
  methods=("auto_lambda",),
  ablations=("no_swapping",),
  weight_learning_rate=3e-4,
  tasks=("left", "noise"),
  primaries=("left",),
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
  figures = ("weights.png", "relations.png", "exact.png")
  for name in ("config.json", "results.json", "results.md", *figures):
    assert (folder / name).stat().st_size
  assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(outcome))
  rows = {(r["setting"], r["method"]): r for r in outcome["results"]}
  assert list(rows) == [
    (MULTI_TASK, "single task"),
    (MULTI_TASK, "auto_lambda"),
    (MULTI_TASK, "auto_lambda, finite difference"),
    (MULTI_TASK, "auto_lambda, no swapping"),
    ("left", "gcs"),
    ("left", "auto_lambda"),
  ]
  weights = np.array(list(rows["left", "auto_lambda"]["last_weights"].values()))
  assert weights.shape == (2, 2)
  assert np.all(np.abs(weights - 0.1) < 6 * SMALL.weight_learning_rate)
  assert np.any(weights != np.float32(0.1))
  gaps = outcome["exact_against_approximate"]
  assert set(gaps) == {"left", "noise"}
  assert 0 <= gaps["left"]["mean"] <= gaps["left"]["largest"] < 1e-3
  # The same batch twice is another second batch.
  swapped, same = (rows[MULTI_TASK, f"auto_lambda{n}"] for n in ("", ", no swapping"))
  assert swapped["last_weights"] != same["last_weights"]
  text = (folder / "results.md").read_text()
  assert text.count("\n# ") == 2  # three tables
  assert "| no swapping | 0.1" in text


def test_the_same_command_goes_on(workdir, capsys):
  folder, outcome = workdir
  again = run(SMALL, folder)
  assert capsys.readouterr().out.count("goes on after epoch 2 of 2") == 7
  first, second = ([r["test_accuracy"] for r in results["results"]] for results in (outcome, again))
  assert first == second


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"primaries": ("sum",)}, r"primaries \['sum'\] are not among the tasks"),
    ({"methods": ("auto_lamda",)}, "method 'auto_lamda' is not known"),
    ({"tasks": ("noise",), "primaries": ()}, "needs a task that is not noise"),
    ({"tasks": ("left", "sun")}, r"tasks \['sun'\] are not among the data's: left, right"),
    ({"num_sampled": 3}, "num_sampled must be from 1 to num_tasks=2, got 3"),
    ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ({"dataset": "mnist", "data_dir": "/nowhere"}, "nowhere"),
  ],
)
def test_bad_options_raise_before_anything_is_written(options, message, tmp_path):
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    run(dataclasses.replace(SMALL, **options), tmp_path / "new")
  assert not (tmp_path / "new").exists()
