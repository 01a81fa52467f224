"""The benchmark's own: Delta_MTL, methods that diverge, presets."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.benchmark import figures, report
from experiments.benchmark.config import PRESETS
from experiments.benchmark.jobs import plan
from experiments.benchmark.run import load
from experiments.problems.images import ImageTasks, Task
from experiments.problems.task_metrics import validation_score
from experiments.runner.config import override
from experiments.runner.job import Outcome
from experiments.runner.methods import WITHOUT_OPTIONS, Method
from experiments.runner.report import together
from jaxmtl import plots
from jaxmtl.aggregation import METHODS as AGGREGATORS

SMALL = override(
  PRESETS["quick"], methods=("equal", "dwa+cagrad"), tasks=("left", "noise"), seeds=2
)


def outcome(name, tasks, values, failure=None, folder=None):
  row = {"epoch": 1, "step": 3, "seconds": 0.3}
  row["validation"] = {"accuracy": {t: values for t in tasks}}
  found = {} if failure else {"accuracy": {t: np.array(values) for t in tasks}}
  return Outcome(name, tasks, found, [row], 100.0, 1.0, 0.1, failure, folder)


@pytest.fixture
def outcomes(tmp_path):
  home = tmp_path / "home"
  singles = {
    f"single_{t}": outcome(f"single_{t}", (t,), [50.0, 60.0], folder=home) for t in SMALL.tasks
  }
  return singles | {
    "equal": outcome("equal", SMALL.tasks, [np.nan] * 2, "the loss of 'left' is nan", home),
    "dwa+cagrad": outcome("dwa+cagrad", SMALL.tasks, [55.0, 60.0], folder=home),
  }


def test_a_method_that_diverges_leaves_the_others_their_table(outcomes, tmp_path):
  _, equal, combined = report.write(SMALL, outcomes, tmp_path)["results"]
  assert equal["failure"] == "the loss of 'left' is nan"
  assert equal["values"] == {}
  np.testing.assert_allclose(combined["delta_mtl"], [10, 0])
  table = (tmp_path / "results.md").read_text()
  assert "| equal | diverged | - |" in table
  assert "Delta_MTL over left; Adam, learning rate 0.01 for every method" in table
  assert "Delta_MTL with noise (%)" in table


def test_what_there_is_so_far_is_written_and_marked(outcomes, tmp_path):
  early = {name: outcomes[name] for name in ("single_left", "single_noise")}
  assert report.write(SMALL, {"single_left": early["single_left"]}, tmp_path, "1 of 4") == {}
  report.write(SMALL, early, tmp_path, "2 of 4 trainings")
  assert "**Partial: 2 of 4 trainings.**" in (tmp_path / "results.md").read_text()
  assert json.loads((tmp_path / "results.json").read_text())["partial"] == "2 of 4 trainings"
  assert (tmp_path / "curves.png").exists()


def test_every_preset_names_methods_that_exist():
  for config in PRESETS.values():
    assert len(config.methods) >= 15
    config.check()
    for name, method in zip(config.methods, map(Method.parse, config.methods), strict=True):
      weighting, aggregator = method.build(5, 4)
      assert (weighting is None) == (method.weighting is None), name
      assert (aggregator is None) == (method.aggregator is None)
  assert {*WITHOUT_OPTIONS, *AGGREGATORS} <= set(PRESETS["full"].methods)
  assert dataclasses.asdict(Method.parse("dwa+pcgrad"))["aggregator"] == "pcgrad"


def test_figures_have_one_colour_a_method_and_rows_where_they_were_measured(outcomes, tmp_path):
  # A row between without a measurement, as with a finer cadence of logging, is no point.
  for one in outcomes.values():
    one.history.insert(0, {"epoch": 0.5, "step": 1, "seconds": 0.1})
  singles = {t: outcomes[f"single_{t}"] for t in SMALL.tasks}
  single = together("single task", singles)
  methods = {name: outcomes[name] for name in SMALL.methods}
  rows = report.write(SMALL, outcomes, tmp_path)["results"]
  found = figures.draw(
    SMALL, rows, single, methods, tmp_path, dict.fromkeys(SMALL.tasks, "accuracy")
  )
  assert {path.name for path in tmp_path.glob("*.png")} == set(found)
  colors = plots.palette(["single task", *SMALL.methods])
  for file in ("cost.png", "trade_off.png"):
    drawn = {c.get_label(): c.lines[0].get_color() for c in found[file].axes[0].containers}
    assert drawn == {n: colors[n] for n in ("single task", "dwa+cagrad")}  # equal diverged
  (axes,) = found["curves.png"].axes
  left, noise, dotted, _ = axes.lines
  assert axes.get_title() == "dwa+cagrad"
  assert not {left.get_color(), noise.get_color()} & set(plots.COLORS)
  assert (left.get_xdata().tolist(), left.get_ydata().tolist()) == ([1], [57.5])
  assert dotted.get_ydata().tolist() == [55]
  labels = [text.get_text() for text in found["curves.png"].legends[0].get_texts()]
  assert labels == ["left", "noise", "single task"]
  cells = [text.get_text() for text in found["heat_map.png"].axes[0].texts]
  assert cells == ["+5.0", "+5.0"]


def test_a_baseline_that_diverges_ends_it(outcomes, tmp_path):
  lost = outcome("single_left", ("left",), [np.nan] * 2, "the loss of 'left' is nan", tmp_path)
  with pytest.raises(ValueError, match="the baseline of task left: the loss of 'left' is nan"):
    report.write(SMALL, outcomes | {"single_left": lost}, tmp_path)


def test_patience_chooses_epochs_by_the_validation_part():
  config = override(SMALL, patience=2, methods=("equal",), train_images=60)
  images = load(config)
  jobs = {job.name: job for job in plan(config, images)}
  assert jobs["equal"].selection.patience == jobs["equal"].identity["patience"] == 2
  accuracy = {"left": np.array([50.0, 100.0]), "noise": np.array([100.0, 0.0])}
  row = {"validation": {"accuracy": accuracy}}
  assert jobs["equal"].selection.score(row).tolist() == [0.75, 0.5]
  assert jobs["single_left"].selection.score(row).tolist() == [0.5, 1.0]
  # Jobs of before the option are found again without it.
  plain = plan(dataclasses.replace(config, patience=None), images)
  assert all(job.selection is None and "patience" not in job.identity for job in plain)


def test_errors_of_numbers_count_in_their_deviations():
  images = ImageTasks({}, {"kind": Task(3), "age": Task(0, (), 40.0, 10.0)}, ((), ()))
  row = {"validation": {"accuracy": {"kind": [80.0]}, "mae": {"age": [5.0]}}}
  np.testing.assert_allclose(validation_score(images, ("kind", "age"))(row), [0.65])
