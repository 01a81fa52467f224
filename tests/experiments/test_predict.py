"""Images of one's own as a new user meets them: train, stop, go on, predict."""

import csv
import json
import os
import signal

import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image

from experiments import predict
from experiments.benchmark import run as benchmark
from jaxmtl import data, models, training

pytestmark = pytest.mark.usefixtures("one_layer")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Bright or dark images with a bar of some length; each label is missing now and then."""
  folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
  lines = ["path,light,length"]
  for i in range(100):
    length = rng.integers(1, 8)
    pixels = np.full((8, 8), 160 if i % 2 else 40, np.uint8)
    pixels[:, :length] += 60
    (folder / "new").mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / "new" / f"{i}.png")
    light = "" if i % 11 == 0 else ("dark", "bright")[i % 2]
    lines.append(f"new/{i}.png,{light},{'' if i % 7 == 0 else length / 2}")
  (folder / "labels.csv").write_text("\n".join(lines))
  return folder


def command(photos, folder, *more):
  args = [*("--dataset", photos / "labels.csv"), *("--methods", "equal"), *("--seeds", 1)]
  args += [*("--epochs", 20), *("--checkpoint-every", 10), *("--batch-size", 10)]
  args += ["--evaluate-every", 10]
  benchmark.main([str(arg) for arg in (*args, "--workdir", folder, *more)])


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
  """The folder of a training that was stopped and went on, and what was printed."""
  folder = tmp_path_factory.mktemp("runs")
  read, count = data.ImageFiles.__getitem__, []

  def stops(files, index):
    count.append(index)
    if len(count) == 500:
      os.kill(os.getpid(), signal.SIGTERM)
    return read(files, index)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(data.ImageFiles, "__getitem__", stops)
    with pytest.raises(SystemExit) as stop:
      command(photos, folder, "--feed", "host")
  assert stop.value.code == 0
  assert not (folder / "results.json").exists()
  command(photos, folder, "--feed", "host")
  return folder


def test_four_commands_from_a_table_to_answers(photos, trained, tmp_path, capsys):
  summary = json.loads((trained / "results.json").read_text())
  _, equal = summary["results"]
  assert set(equal["values"]) >= {"accuracy", "mae"}
  assert equal["values"]["accuracy"].keys() == {"light"}
  assert equal["values"]["accuracy"]["light"][0] > 90
  assert equal["values"]["mae"]["length"][0] < 0.5
  text = (trained / "results.md").read_text()
  assert "| method | light: accuracy (%) | length: mean absolute error | Delta_MTL (%) |" in text
  rows = [json.loads(x) for x in (trained / "equal" / "metrics.jsonl").read_text().splitlines()]
  assert [row["epoch"] for row in rows] == list(range(1, 21))

  answers = tmp_path / "answers.csv"
  predict.main(
    [str(trained), str(photos / "new"), "--run", "equal", "--csv", str(answers)],
  )
  with answers.open(newline="") as file:
    found = {os.path.basename(row["image"]): row for row in csv.DictReader(file)}
  assert len(found) == 100
  assert list(found["3.png"]) == ["image", "light", "light probability", "length"]
  # The same as the training's own figures, in the table's unit.
  test = data.load_files(photos / "labels.csv").test
  answers = [found[path.name] for path in test.paths]
  light, length = test.labels["light"], test.labels["length"]
  right = [
    ("bright", "dark")[k] == a["light"] for k, a in zip(light, answers, strict=True) if k >= 0
  ]
  assert 100 * np.mean(right) == pytest.approx(equal["values"]["accuracy"]["light"][0])
  error = np.nanmean(np.abs(length - [float(a["length"]) for a in answers]))
  assert error == pytest.approx(equal["values"]["mae"]["length"][0], rel=1e-3)


def test_errors_count_downwards_in_delta_mtl(trained):
  single, equal = json.loads((trained / "results.json").read_text())["results"]
  alone, mine = (row["values"]["mae"]["length"][0] for row in (single, equal))
  change = equal["values"]["relative_change"]["length"][0]
  assert change == pytest.approx(100 * (alone - mine) / alone)
  light = equal["values"]["relative_change"]["light"][0]
  assert equal["delta_mtl"][0] == pytest.approx((change + light) / 2)


def test_which_training_must_be_clear(trained, photos, capsys):
  one = str(photos / "new" / "3.png")
  for args, message in (
    ([str(trained), one], "choose one with --run: equal, single_length, single_light"),
    ([str(trained), one, "--run", "equl"], "no training 'equl'; it has equal, single"),
    ([str(photos), one], "has no finished training"),
    ([str(photos / "none"), one], "workdir: there is no folder"),
    ([str(trained / "equal"), str(photos / "none.png")], "there is no image"),
    ([str(trained / "equal"), str(photos / "labels.csv")], "is no image"),
    ([str(trained / "equal"), str(trained / "equal" / "tensorboard")], "has no image"),
    ([str(trained / "equal"), one, "--batch-size", "0"], "batch_size must be at least 1, got 0"),
    (
      [str(trained / "equal"), one, "--csv", str(photos / "none" / "a.csv")],
      "csv: there is no fol",
    ),
    ([str(trained / "equal"), one, "--csv", str(photos)], "is a folder; name a file"),
    ([str(trained / "equal"), one, "--csv", str(photos / "labels.csv")], "has no predictions"),
  ):
    with pytest.raises(SystemExit) as stop:
      predict.main(args)
    assert message in str(stop.value)
    assert "\n" not in str(stop.value)
  predict.main([str(trained / "equal"), one])
  assert "light probability" in capsys.readouterr().out
  # Another size is brought to that of the training.
  Image.open(one).resize((32, 20)).save(photos / "large.png")
  (row,) = predict.run(predict.Config(str(trained), (str(photos / "large.png"),), "single_light"))
  assert row["light"] == "bright"


def test_probabilities_are_the_mean_over_seeds(tmp_path):
  model = models.multi_task("hps", models.create("convnet4"), {"kind": nn.Dense(3)})
  images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
  given = data.normalize(images, np.float32([0.5]), np.float32([0.25]))
  keys = jax.vmap(jax.random.key)(np.arange(2))
  variables = jax.jit(jax.vmap(model.init, (0, None)))(keys, given)
  training.save_weights(tmp_path / "weights.safetensors", variables)
  description = {
    "backbone": "convnet4",
    "width": 16.0,
    "architecture": "hps",
    "shape": [8, 8, 1],
    "statistics": [[0.5], [0.25]],
    "tasks": {"kind": {"classes": 3, "names": [], "mean": 0.0, "scale": 1.0}},
  }
  (tmp_path / "network.json").write_text(json.dumps(description))
  network = training.load_trained(tmp_path)
  assert (network.tasks, network.runs) == ({"kind": ("0", "1", "2")}, 2)
  logits = jax.jit(jax.vmap(model.apply, (0, None)))(variables, given)["kind"]
  wanted = jax.nn.softmax(logits, axis=-1).mean(0)
  np.testing.assert_allclose(network.predict(images)["kind"], wanted, rtol=1e-5)
  with pytest.raises(ValueError, match=r"uint8 of shape \(8, 8, 1\), got float64"):
    network.predict(images / 255)
  description["tasks"]["kind"]["classes"] = 4
  (tmp_path / "network.json").write_text(json.dumps(description))
  with pytest.raises(ValueError, match=r"heads_kind.*bias.* of shape \(4,\), .* has \(3,\)"):
    training.load_trained(tmp_path)
  (tmp_path / "network.json").write_text("{}")
  with pytest.raises(ValueError, match="does not describe a network"):
    training.load_trained(tmp_path)
