"""FastCAR's own: the one-epoch test, what its runs depend on, baselines, figures."""

import dataclasses
import json
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.fastcar import figures
from experiments.fastcar.config import NAMES, PRESETS
from experiments.fastcar.jobs import maker, mean_gradient, pair_jobs
from experiments.fastcar.run import run
from experiments.problems.properties import examples_of, pair_targets, property_problem
from experiments.problems.property_options import recipe_of
from experiments.runner.config import override
from experiments.runner.feeds import Call, DeviceFeed
from experiments.runner.job import fresh_state
from experiments.runner.mesh import Layout
from experiments.runner.methods import Method, update_of
from experiments.runner.run import Runner
from jaxmtl import data, models, plots
from jaxmtl.labels import FastCAR

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = override(
  PRESETS["quick"],
  approaches=("fastcar", "standardised", "plain"),
  epochs=2,
  batch_size=256,
  seeds=2,
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return folder, run(SMALL, folder)


def test_it_writes_what_it_promises_and_trains_nothing_again(workdir, promised):
  files = ("predictions.png", "ranges.png", "curves.png")
  promised(run, SMALL, *workdir, files, ("FastCAR", "MTL, standardised targets", "MTL"))


def last_trial(summary):
  return summary["one_epoch_test"]["fastcar"][-1]


def epochs_of(folder):
  return {
    path.parent.name: [json.loads(line)["epoch"] for line in path.read_text().splitlines()]
    for path in folder.glob("*/metrics.jsonl")
  }


def test_the_scale_is_doubled_until_the_gradient_is_small_and_training_goes_on_from_there(workdir):
  folder, summary = workdir
  trials = summary["one_epoch_test"]["fastcar"]
  assert [trial["scale"] for trial in trials] == [2**k for k in range(len(trials))]
  assert len(trials) > 1
  assert [trial["gradient"] < 2 for trial in trials] == [False] * (len(trials) - 1) + [True]
  # Epochs that failed are not trained further.
  names = [f"fastcar_gap50_scale{trial['scale']:g}" for trial in trials]
  trained = {name: [1] for name in names[:-1]}
  assert epochs_of(folder) == trained | {
    name: [1, 2] for name in (names[-1], "standardised", "plain")
  }
  # What the test measured is in its epoch's row, of both seeds; the first one decides.
  for name, trial in zip(names, trials, strict=True):
    first, *others = map(json.loads, (folder / name / "metrics.jsonl").read_text().splitlines())
    assert len(first["mean_gradient"]) == 2
    assert first["mean_gradient"][0] == trial["gradient"]
    assert all("mean_gradient" not in row for row in others)


def test_baselines_are_those_of_the_training_means(workdir):
  splits = data.digits_ink()
  train, test = splits.train, splits.test
  found = workdir[1]["baselines"]
  np.testing.assert_allclose(
    found["training mean"]["mae"]["value"],
    np.abs(test.values - train.values.mean()).mean(),
    rtol=1e-5,
  )
  errors = [
    np.abs(test.values[test.classes == c] - train.values[train.classes == c].mean())
    for c in range(10)
  ]
  own = found["training mean of the true class"]
  np.testing.assert_allclose(own["mae"]["value"], np.concatenate(errors).mean(), rtol=1e-5)
  assert own["accuracy"]["class"] == 100
  table = (workdir[0] / "results.md").read_text()
  assert "| training mean | - |" in table
  assert "| training mean of the true class | given |" in table
  assert "minutes, 2 seed(s)" in table
  # Both metrics against both forms of multi-task learning.
  assert len(workdir[1]["conclusions"]) == 4


@pytest.mark.parametrize(
  "changes",
  [
    {"approaches": ("plain", "standardised")},
    {"limit": 1e9, "approaches": ("plain",)},
    {"adjust": "gap", "max_trials": 3, "gap": 20.0, "approaches": ("standardised",)},
    # As many trials would do, and the test could have begun with the labels that it ended with.
    {"max_trials": 9},
  ],
)
def test_options_of_the_labels_change_no_other_run(
  changes, workdir, tmp_path, monkeypatch, blank_figures
):
  folder = shutil.copytree(workdir[0], tmp_path / "runs")
  before = epochs_of(folder)

  def train(*_, **__):
    raise AssertionError("nothing is to be trained")

  monkeypatch.setattr("jaxmtl.training.fit", train)
  again = run(override(SMALL, **changes), folder)
  first = {row["name"]: row for row in workdir[1]["results"]}
  assert [row for row in again["results"] if row != first[row["name"]]] == []
  assert epochs_of(folder) == before


def test_a_run_depends_on_the_labels_that_its_test_ended_with(workdir, tmp_path, monkeypatch):
  folder = shutil.copytree(workdir[0], tmp_path / "runs")
  scale = last_trial(workdir[1])["scale"]

  def train(*_, **__):
    raise AssertionError("nothing is to be trained")

  monkeypatch.setattr("jaxmtl.training.fit", train)
  monkeypatch.setattr("experiments.runner.run.Calls", train)  # nor compiled
  # The scaled approach begins where the other one ended, and adjusts another way.
  again = run(
    override(SMALL, approaches=("fastcar_scaled",), scale=scale, adjust="gap", max_trials=1), folder
  )
  (row,) = again["results"]
  assert row["name"] == "FastCAR, scaled"
  assert row["values"] == workdir[1]["results"][0]["values"]
  assert [trial["scale"] for trial in again["one_epoch_test"]["fastcar_scaled"]] == [scale]
  with pytest.raises(AssertionError, match="nothing is to be trained"):
    run(override(SMALL, approaches=("plain",), weight_decay=0.1), folder)


def test_each_trial_is_told_and_none_that_passes_is_an_error(tmp_path, capsys, monkeypatch):
  compiled = []
  compile_one = jax.stages.Lowered.compile

  def count(lowered, *args, **options):
    compiled.append(lowered.as_text())
    return compile_one(lowered, *args, **options)

  monkeypatch.setattr(jax.stages.Lowered, "compile", count)
  config = override(SMALL, approaches=("fastcar",), limit=1e-9, max_trials=2, seeds=1)
  with pytest.raises(ValueError, match=r"limit=1e-09 is exceeded .* scale 1: .*; .* scale 2: "):
    run(config, tmp_path / "runs")
  said = capsys.readouterr().out
  assert "fastcar_gap50_scale1: one-epoch test, trial 1 of at most 2" in said
  assert "fastcar_gap50_scale2: one-epoch test, trial 2 of at most 2" in said
  assert "after one epoch, limit 1e-09: too large" in said
  # Trials differ in their data alone; where JAX keeps constants beside the text, nobody can tell.
  apart = getattr(jax.config, "jax_use_simplified_jaxpr_constants", True)
  assert (len(set(compiled)) < len(compiled)) == apart


def test_what_a_plateau_trained_can_be_trained_on(tmp_path, capsys, blank_figures):
  config = override(SMALL, approaches=("plain",), schedule="plateau", epochs=1)
  run(config, tmp_path)
  run(override(config, epochs=3, patience=5), tmp_path)
  assert "plain: goes on after epoch 1 of 3" in capsys.readouterr().out
  assert epochs_of(tmp_path) == {"plain": [1, 2, 3]}


def test_the_mean_gradient_is_that_of_the_training_loss():
  splits = data.digits_ink()
  small = splits._replace(train=splits.train.subset(slice(0, 8)))
  targets = pair_targets(10)
  heads = {"class": nn.Dense(10), "value": nn.Dense(1)}
  problem = property_problem(small, targets, models.MultiHead(SMALL.network.build(), heads))
  feed = DeviceFeed(examples_of(small.train, targets), 8)
  recipe = recipe_of(SMALL.training, SMALL.step, feed.steps)
  update = update_of(Method(), problem, recipe, feed.steps)
  variables = problem.init(jax.random.key(0), None)
  # Weight decay is no part of it, and the state of batch normalization stays.
  value = variables["params"]["heads_value"]
  value["bias"] = value["bias"] + 1e3
  state = fresh_state(update, jax.random.key(0), variables)
  chunk = feed.chunk(Call(0, 1, 1, False, Layout()))
  gradient = jax.jit(mean_gradient(problem, feed))(state, chunk)
  mean = small.train.values.mean()
  np.testing.assert_allclose(gradient["heads_value"]["bias"], [2 * (1e3 - mean)], rtol=0.02)


def test_predictions_are_of_the_weights_that_were_measured(workdir, tmp_path):
  splits = data.digits_ink()
  config = override(SMALL, approaches=("plain",))
  job = pair_jobs(config, splits, maker(config, splits, Layout()))["plain"]
  combined = override(config, combine="mgda")
  other = pair_jobs(combined, splits, maker(combined, splits, Layout()))["plain"]
  assert set(other.identity) - set(job.identity) == {"combine"}
  outcome = Runner(workdir[0]).run(job)
  said = figures.predictions(job, outcome)
  errors = np.abs(said.values - splits.test.values)
  assert errors.mean() == pytest.approx(outcome.values["mae"]["value"][0], rel=1e-5)
  right = 100 * np.mean(said.classes == splits.test.classes)
  assert right == pytest.approx(outcome.values["accuracy"]["class"][0])

  lost = dataclasses.replace(outcome, failure="the loss is nan")
  predicted = {"plain": said, "fastcar": said._replace(values=said.values + 1e6)}
  outcomes = {"standardised": lost, "plain": outcome}
  found = figures.draw(splits, outcomes, predicted, {}, tmp_path)
  assert {path.name for path in tmp_path.iterdir()} == set(found)
  figure = found["predictions.png"]
  count = len(splits.test)
  assert [axes.get_title() for axes in figure.axes] == ["MTL", f"FastCAR ({count} outside)"]
  for axes in figure.axes:
    points = np.concatenate([dots.get_offsets() for dots in axes.collections])
    assert len(points) == count
    assert np.isfinite(points).all()
  filled = sum(len(d.get_offsets()) for d in figure.axes[0].collections if d.get_facecolor().size)
  assert filled == np.sum(said.classes == splits.test.classes)
  assert "hollow: wrong class" in figure.get_suptitle()
  names = [text.get_text() for text in figure.legends[0].get_texts()]
  assert names == list(splits.class_names)
  signs = {(s.get_color(), s.get_marker()) for s in figure.legends[0].legend_handles}
  assert len(signs) == len(names)
  # An approach has its colour whichever others are there, and no class has it.
  (line,) = found["curves.png"].axes[0].lines
  assert line.get_label() == "MTL"
  assert line.get_color() == plots.palette(NAMES.values())["MTL"]
  assert line.get_xdata().tolist() == [1, 2]
  np.testing.assert_allclose(line.get_ydata(), outcome.curve("validation", "mape", "value").mean(0))
  assert not {color for color, _ in signs} & set(plots.COLORS)


def test_the_ranges_show_the_centre_that_the_title_announces(tmp_path):
  splits = data.digits_ink()
  hybrid = FastCAR.fit(splits.train.values, splits.train.classes)
  (figure,) = figures.draw(splits, {}, {}, {"fastcar": hybrid}, tmp_path).values()
  (axes,) = figure.axes
  assert [path.name for path in tmp_path.iterdir()] == ["ranges.png"]
  assert "dotted" in figure.get_suptitle()
  (dotted,) = [line for line in axes.lines if line.get_linestyle() == ":"]
  assert set(dotted.get_xdata()) == {float(hybrid.centre)}
  assert dotted.get_color() == "black"
  assert dotted.get_linewidth() > 1
  assert axes.get_xlim()[0] < float(hybrid.centre) < axes.get_xlim()[1]
  solid = [line for line in axes.lines if line is not dotted]
  assert len(solid) == 2 * len(splits.class_names)
  texts = [text.get_text() for text in axes.texts]
  assert f"centre {float(hybrid.centre):.0f}" in texts
  assert "+0" in texts


def test_a_gap_that_is_lost_in_rounding_is_named_before_anything_is_written(tmp_path):
  with pytest.raises(ValueError, match="gap=1e-06 is lost in float32"):
    run(override(SMALL, gap=1e-6), tmp_path / "runs")
  assert not (tmp_path / "runs").exists()


def test_the_paper_preset_is_the_papers_recipe():
  paper = PRESETS["paper"]
  assert (paper.network.backbone, paper.network.width) == ("resnet18", None)
  assert (paper.images.image_size, paper.training.epochs) == (None, 100)
  assert (paper.training.learning_rate, paper.training.batch_size) == (1e-3, 32)
  step = paper.step
  assert (step.weight_decay, step.patience, step.augment) == (1e-4, 5, False)
  assert (step.schedule, paper.labels.gap, paper.labels.limit) == ("plateau", 50, 2)
  assert jnp.isfinite(paper.labels.scale)
