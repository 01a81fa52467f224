import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import fastcar
from experiments.fastcar import PRESETS, run
from experiments.property_targets import hybrid_targets, measure, pair_targets
from experiments.property_training import PropertyConfig, Trainer, make_optimizer, observe
from jaxmtl import data
from jaxmtl.labels import FastCAR

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = dataclasses.replace(
  PRESETS["quick"], approaches=("fastcar", "plain"), epochs=2, batch_size=256, seeds=2
)
FILES = ("config.json", "results.json", "results.md", "predictions.png", "ranges.png", "curves.png")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return folder, run(SMALL, folder)


def test_it_writes_what_it_promises(workdir):
  folder, outcome = workdir
  assert all((folder / name).stat().st_size for name in FILES)
  assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(outcome))
  hybrid, plain = outcome["results"]["fastcar"], outcome["results"]["plain"]
  assert all(len(values) == 2 for values in plain.values())  # seeds
  # The gradient is too large until the scale was doubled often enough.
  trials = hybrid["one_epoch_test"]
  assert [trial["scale"] for trial in trials] == [2**k for k in range(len(trials))]
  assert len(trials) > 1
  assert [trial["gradient"] < 2 for trial in trials] == [False] * (len(trials) - 1) + [True]
  # Training goes on from the epoch that passed; epochs that failed are not trained further.
  runs = {path.parent.name: path for path in folder.glob("*/metrics.jsonl")}
  epochs = {name: len(path.read_text().splitlines()) for name, path in runs.items()}
  passed = f"fastcar_gap50_scale{trials[-1]['scale']:g}_seed"
  done = {f"{passed}0", f"{passed}1", "plain_seed0", "plain_seed1"}
  assert {name for name, count in epochs.items() if count == 2} == done
  assert set(epochs.values()) == {1, 2}


def test_baselines_are_those_of_the_training_means(workdir):
  splits = data.digits_ink()
  train, test = splits.train, splits.test
  found = workdir[1]["baselines"]
  np.testing.assert_allclose(
    found["training mean"]["mae"], np.abs(test.values - train.values.mean()).mean(), rtol=1e-5
  )
  errors = [
    np.abs(test.values[test.classes == c] - train.values[train.classes == c].mean())
    for c in range(10)
  ]
  own = found["training mean of the true class"]
  np.testing.assert_allclose(own["mae"], np.concatenate(errors).mean(), rtol=1e-5)
  assert own["accuracy"] == 100


def test_the_same_command_goes_on_and_another_configuration_raises(workdir, tmp_path, capsys):
  folder = shutil.copytree(workdir[0], tmp_path / "runs")
  config = dataclasses.replace(SMALL, seeds=1, approaches=("fastcar",))
  again = run(config, folder)
  assert "goes on after epoch 2 of 2" in capsys.readouterr().out
  for name, values in again["results"]["fastcar"].items():
    before = workdir[1]["results"]["fastcar"][name]
    assert values == (before if name == "one_epoch_test" else before[:1])
  with pytest.raises(ValueError, match=r"weight_decay: 0\.0001 saved, 0\.1 asked for"):
    run(dataclasses.replace(config, weight_decay=0.1), folder)


def test_errors_by_hand():
  part = data.PropertyImages(
    np.zeros((4, 2, 2, 1), np.uint8), np.arange(4), np.array([100.0, 100.0, 200.0, 400.0])
  )
  found = measure(part, [0, 1, 2, 0], [108.0, 109.0, 200.0, 300.0])
  assert found == pytest.approx(
    {"accuracy": 75, "mse": (64 + 81 + 1e4) / 4, "mae": 29.25, "mape": 10.5, "near": 50}
  )


def test_targets_decode_what_they_encode():
  values, classes = np.array([10.0, 12.0, 11.0, 300.0]), np.array([0, 0, 1, 2])
  hybrid = hybrid_targets(FastCAR.fit(values, classes))
  perfect = {"hybrid": hybrid.encode(classes, values)["hybrid"][:, None]}
  assert hybrid.losses(perfect, hybrid.encode(classes, values)).tolist() == [0]
  pair = pair_targets(3, 100.0, 50.0)
  wanted = pair.encode(classes, values)
  outputs = {"class": 99.0 * jax.nn.one_hot(classes, 3), "value": wanted["value"][:, None]}
  np.testing.assert_allclose(pair.losses(outputs, wanted), [0, 0], atol=1e-6)
  for targets, said in ((hybrid, perfect), (pair, outputs)):
    found = targets.decode(said)
    np.testing.assert_array_equal(found[0], classes)
    np.testing.assert_allclose(found[1], values, rtol=1e-5)


def test_a_plateau_lowers_the_learning_rate_and_a_step_does_not():
  config = PropertyConfig(schedule="plateau", patience=2, weight_decay=0.0, learning_rate=1.0)
  optimizer = make_optimizer(config, steps=1)
  state = optimizer.init(jnp.zeros(()))
  sizes = []
  # PyTorch's patience: two epochs without gain are borne, the third one is too many.
  for loss in (5.0, 4.0, 4.0, 4.0, 4.0, 3.0):
    for _ in range(2):
      update, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
    sizes.append(round(float(-update), 3))
    state = observe(config, state, jnp.float32(loss))
  assert sizes == [1, 1, 1, 1, 1, 0.1]


def test_the_mean_gradient_is_that_of_the_training_loss(tmp_path):
  splits = data.digits_ink()
  small = splits._replace(train=splits.train.subset(slice(0, 8)))
  trainer = Trainer(PropertyConfig(batch_size=8, schedule="cosine", epochs=1), small, tmp_path)
  targets = pair_targets(10)
  state = trainer.compiled(targets).init(jax.random.key(0))
  # Weight decay is no part of it, and the state of batch normalization stays.
  step = state.params["heads_value"]["bias"]
  changed = {**state.params, "heads_value": {**state.params["heads_value"], "bias": step + 1e3}}
  gradient = trainer.compiled(targets).gradient(
    dataclasses.replace(state, params=changed), trainer.examples(targets)
  )
  mean = small.train.values.mean()
  np.testing.assert_allclose(gradient["heads_value"]["bias"], [2 * (1e3 - mean)], rtol=0.02)


@pytest.mark.parametrize(
  ("change", "error", "message"),
  [
    ({"dataset": "steel", "data_dir": "/nowhere"}, FileNotFoundError, "/nowhere"),
    ({"approaches": ()}, ValueError, "approaches must name"),
    ({"epochs": 0}, ValueError, "epochs must be at least 1"),
    ({"width": 0}, ValueError, "width must be positive"),
    ({"gap": -1.0}, ValueError, "gap must be positive"),
  ],
)
def test_bad_input_raises_before_anything_is_written(change, error, message, tmp_path):
  with pytest.raises(error, match=message):
    run(dataclasses.replace(SMALL, **change), tmp_path / "runs")
  assert not (tmp_path / "runs").exists()


def test_the_command_line_names_options_and_ends_with_one_line(tmp_path, capsys):
  with pytest.raises(SystemExit) as stop:
    fastcar.main(["--preset", "steel", "--data-dir", str(tmp_path)])
  assert str(tmp_path) in str(stop.value)
  with pytest.raises(SystemExit):
    fastcar.main(["--help"])
  assert "--split" in capsys.readouterr().out


def test_the_paper_preset_is_the_papers_recipe():
  paper = PRESETS["paper"]
  assert (paper.backbone, paper.image_size, paper.epochs) == ("resnet18", None, 100)
  assert (paper.learning_rate, paper.weight_decay, paper.patience) == (1e-3, 1e-4, 5)
  assert (paper.schedule, paper.augment, paper.gap, paper.limit) == ("plateau", False, 50, 2)
  # Adam with the decay in the gradient, as PyTorch's: the first step is the learning rate's size.
  optimizer = make_optimizer(paper, steps=1)
  update, _ = optimizer.update(jnp.zeros(()), optimizer.init(jnp.ones(())), jnp.ones(()))
  assert optax.tree.norm(update) == pytest.approx(1e-3, rel=1e-3)
