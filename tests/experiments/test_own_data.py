"""Images of one's own in every experiment that takes them, and fine-tuning from another run."""

import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import predict
from experiments.auto_lambda import run as auto_lambda
from experiments.benchmark import run as benchmark
from experiments.binary_labels import run as binary_labels
from experiments.binary_labels.config import PRESETS as BINARY
from experiments.dgr import run as dgr
from experiments.dgr.config import PRESETS as DGR
from experiments.dgr.jobs import Plan
from experiments.problems.own_data import OwnDataOptions, load_own
from experiments.runner.config import override
from jaxmtl import data, training

pytestmark = pytest.mark.usefixtures("one_layer", "blank_figures")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Dark images, then bright ones, with a bar of some length above or below; labels with gaps."""
  folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
  lines = ["path,light,side,length"]
  for i in range(80):
    length, side = rng.integers(1, 8), rng.integers(2)
    pixels = np.full((8, 8), 160 if i >= 40 else 40, np.uint8)
    pixels[4 * side : 4 * side + 4, :length] += 60
    Image.fromarray(pixels).save(folder / f"{i}.png")
    light = "" if i % 11 == 0 else ("dark", "bright")[i >= 40]
    shown = "" if i % 9 == 0 else ("above", "below")[side]
    lines.append(f"{i}.png,{light},{shown},{'' if i % 7 == 0 else length / 2}")
  (folder / "labels.csv").write_text("\n".join(lines))
  return folder


@pytest.fixture(scope="module")
def table(photos):
  return str(photos / "labels.csv")


def answers(home, photos, tmp_path):
  """What a training says about all images, by file."""
  path = tmp_path / "answers.csv"
  predict.main([str(home), str(photos), "--csv", str(path)])
  with path.open(newline="") as file:
    return {row["image"].rpartition("/")[2]: row for row in csv.DictReader(file)}


def accuracy(found, table, task, column=None):
  """Of the answers on the test part, in per cent."""
  splits = data.load_files(table)
  names, said = splits.classes[column or task], [found[p.name][task] for p in splits.test.paths]
  labels = splits.test.labels[column or task]
  return 100 * np.mean([names[k] == s for k, s in zip(labels, said, strict=True) if k >= 0])


def test_auto_lambda_judges_each_column_by_its_own_metric(table, photos, tmp_path, capsys):
  args = ["--dataset", table, "--tasks", "light", "length", "--methods", "equal", "--primaries"]
  args += ["length", "--auxiliary-methods", "gcs", "--compare", "none", "--seeds", "1"]
  args += ["--epochs", "2", "--batch-size", "8", "--data-dir", "elsewhere"]
  auto_lambda.main([*args, "--workdir", str(tmp_path)])
  assert "Note: images in files have no use for --data-dir." in capsys.readouterr().out
  single, equal, auxiliary = json.loads((tmp_path / "results.json").read_text())["results"]
  changes = []
  for row in (single, equal, auxiliary):
    assert row["values"]["accuracy"].keys() == {"light"}
    assert row["values"]["mae"].keys() == {"length"}
  for metric, task, sign in (("accuracy", "light", 1), ("mae", "length", -1)):
    alone, mine = (row["values"][metric][task][0] for row in (single, equal))
    changes.append(sign * 100 * (mine - alone) / alone)
  assert equal["delta_mtl"][0] == pytest.approx(np.mean(changes))
  alone, helped = (row["values"]["mae"]["length"][0] for row in (single, auxiliary))
  assert auxiliary["delta_mtl"][0] == pytest.approx(100 * (alone - helped) / alone)
  text = (tmp_path / "results.md").read_text()
  assert "| method | light: accuracy (%) | length: mean absolute error | Delta_MTL (%) |" in text
  assert f"Images of {table}" in text
  assert "test accuracy (%) or mean absolute error after the last epoch; Delta_MTL over all" in text
  assert "| method | length: mean absolute error | Delta_MTL (%) |" in text
  found = answers(tmp_path / "multi-task_equal", photos, tmp_path)
  assert accuracy(found, table, "light") == pytest.approx(equal["values"]["accuracy"]["light"][0])


SMALL_DGR = override(
  DGR["quick"],
  **{"methods": ("equal",), "compared": (), "hidden": 0, "weight": 0.1, "num_dummies": 2},
  **{"dummy_counts": (2,), "epochs": 2, "batch_size": 8, "seeds": 1, "probe_images": 12},
)


def test_dgr_learns_classes_with_gaps_from_the_host(table, photos, tmp_path):
  config = override(SMALL_DGR, dataset=table, tasks=("light", "side"), feed="host")
  rows = dgr.run(config, tmp_path)["results"]
  assert [row["name"] for row in rows] == ["single task", "equal", "equal+dgr"]
  # The first images are all dark: probes see images from anywhere.
  probes = rows[-1]["values"]["probe_kNN"]
  assert all(value is not None for by_seed in probes.values() for value in by_seed)
  assert rows[-1]["values"]["universality"].keys() == {"light", "side"}
  assert (tmp_path / "tsne.png").exists()
  found = answers(tmp_path / "equal+dgr", photos, tmp_path)
  for task in config.tasks:
    measured = rows[-1]["values"]["accuracy"][task][0]
    assert accuracy(found, table, task) == pytest.approx(measured)


@pytest.mark.parametrize("name", ["equal+dgr", "equal+pta", "equal+sam"])
def test_a_task_without_a_label_in_a_batch_has_no_part(name, table):
  tasks = ("light", "side")
  config = override(SMALL_DGR, dataset=table, tasks=tasks, compared=("sam", "pta"), hidden=0)
  plan = Plan(config, load_own(table, config.own_data, tasks=tasks), config.check())
  weights = dict.fromkeys(config.methods, 0.1)
  job = {job.name: job for job in [*plan.before(), *plan.with_dgr(weights)]}[name]
  setting = jax.tree.map(lambda leaf: leaf[0], job.settings)
  key, rng = jax.random.key(0), np.random.default_rng(0)
  variables = dict(jax.jit(job.problem.init)(key, setting))
  params = variables.pop("params")
  image = rng.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
  some = np.array([0, 1, -1, 0, 1, -1], np.int32)

  @jax.jit
  def found(light, side):
    batch = job.problem.prepare(key, {"image": image, "light": light, "side": side})
    return job.problem.losses_fn(params, variables, batch, key)

  losses, aux = found(some, np.full(6, -1, np.int32))
  assert losses[1] == 0 < losses[0]
  assert aux.mask.tolist() == [True, False]
  if name == "equal+dgr":
    assert aux.metrics["dummy_gradient_norm"][1] == 0 < aux.metrics["dummy_gradient_norm"][0]
  # What is not labelled may hold any class below 0.
  other, _ = found(np.where(some < 0, -7, some), np.full(6, -7, np.int32))
  np.testing.assert_allclose(other, losses, rtol=1e-6)
  assert (found(some, some)[0] > 0).all()


def test_what_dgr_cannot_learn_is_named(table, photos, tmp_path):
  lines = (photos / "labels.csv").read_text().splitlines()
  parts = ["split", *(("train", "test")[i % 2] for i in range(80))]
  whole = photos / "parts.csv"
  whole.write_text("\n".join(f"{a},{b}" for a, b in zip(lines, parts, strict=True)))
  for options, message in (
    ({"dataset": table}, r"column 'length' of .* has numbers, .* --tasks: light, side; or take"),
    ({"dataset": str(whole), "weight": None, "tasks": ("light",)}, "without --weight, .* part"),
    ({"dataset": table, "tasks": ("colour",)}, "has no column 'colour'"),
  ):
    with pytest.raises(ValueError, match=message):
      dgr.run(override(SMALL_DGR, **options), tmp_path / "none")
  assert not (tmp_path / "none").exists()


SMALL_BINARY = override(
  BINARY["quick"],
  **{"label_kinds": ("none", "binary"), "dim": 1, "decoder_width": 4, "fraction": 1.0},
  # test_binary_labels.py trains with one.
  aggregator="none",
  **{"epochs": 2, "batch_size": 8, "seeds": 2, "evaluate_every": "1", "log_every": "1"},
)


def test_binary_labels_leaves_out_what_has_no_label(table, photos, tmp_path, capsys):
  config = override(SMALL_BINARY, dataset=table, label_key="light", feed="host")
  on_device = binary_labels.load(override(config, feed="device"))
  assert "8 image(s) without a label in column 'light' are left out." in capsys.readouterr().out
  summary = binary_labels.run(config, tmp_path)
  assert "8 image(s) without a label in column 'light' are left out." in capsys.readouterr().out
  # Whichever way they are fed; with them on the device all else is as with the digits.
  splits = data.load_files(table)
  assert summary["labelled_images"] == len(on_device.parts["train"]["main"])
  assert (on_device.parts["train"]["main"] >= 0).all()
  assert summary["labelled_images"] == (splits.train.labels["light"] >= 0).sum() < len(splits.train)
  alone, binary = summary["results"]
  assert np.isfinite(binary["values"]["cosine"]["main, auxiliary"]).all()
  found = answers(tmp_path / "baseline", photos, tmp_path)
  assert {row["main"] for row in found.values()} <= {"dark", "bright"}
  assert len(alone["values"]["accuracy"]["main"]) == 2


def test_binary_labels_asks_which_column(table, photos, tmp_path):
  one = photos / "one.csv"
  lines = [line.split(",") for line in (photos / "labels.csv").read_text().splitlines()]
  one.write_text("\n".join(f"{path},{light}" for path, light, *_ in lines))
  images = binary_labels.load(override(SMALL_BINARY, dataset=str(one)))
  assert images.tasks["main"].names == ("bright", "dark")
  for options, message in (
    ({}, "label_key must name the column of .*, one of light, side, length, as in --label-key"),
    ({"label_key": "length"}, "column 'length' of .* has numbers, .* --classification length"),
    ({"label_key": "light", "feed": "host", "fraction": 0.5}, "give --fraction 1, or leave"),
  ):
    with pytest.raises(ValueError, match=message):
      binary_labels.run(override(SMALL_BINARY, dataset=table, **options), tmp_path / "none")
  assert not (tmp_path / "none").exists()


def test_a_run_goes_on_with_other_tasks_from_the_command_line(table, photos, tmp_path):
  first, second = tmp_path / "first", tmp_path / "second"
  common = ["--dataset", table, "--methods", "equal", "--batch-size", "8", "--epochs", "1"]
  common += ["--seeds", "1"]
  benchmark.main([*common, "--tasks", "light", "--workdir", str(first)])
  more = ["--tasks", "side", "--learning-rate", "1e-12"]
  more += ["--pretrained", str(first / "equal"), "--workdir", str(second)]
  benchmark.main([*common, *more])
  before, after = (
    training.load_weights(home / "equal" / "weights.safetensors")["params"]
    for home in (first, second)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), before["backbone"], after["backbone"]
  )
  assert set(after) == {"backbone", "heads_side"}
  assert "pre-trained" in (second / "results.md").read_text()
  found = answers(second / "equal", photos, tmp_path)
  assert set(found["3.png"]) == {"image", "side", "side probability"}


def test_files_of_other_ends_are_no_data(tmp_path):
  (tmp_path / "labels.txt").write_text("path,light\n")
  with pytest.raises(ValueError, match=r"labels.txt' is no folder, and a table must end in .csv"):
    load_own(str(tmp_path / "labels.txt"), OwnDataOptions())
  with pytest.raises(SystemExit, match="There is no folder or table of this name either"):
    benchmark.main(["--dataset", "photoz", "--data-dir", str(tmp_path), "--workdir", "none"])
