"""The grid's own: models that diverge, partial tables, heat maps, decoders, the paper's models."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.grid import figures, jobs, report
from experiments.grid.config import PRESETS
from experiments.grid.models import METHODS, Cell, Decoder, network
from experiments.grid.run import run
from experiments.problems.properties import baselines
from experiments.runner import store
from experiments.runner.config import override
from experiments.runner.job import Outcome
from experiments.runner.mesh import Layout
from jaxmtl import data, models

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = override(
  PRESETS["quick"],
  backbone="one_stage",
  architectures=("hps", "mmoe"),
  methods=("EW", "CAGrad"),
  decoders=(1,),
  epochs=2,
  batch_size=256,
  checkpoint_every="1",
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A grid of one architecture, and what was said so far after each model."""
  folder = tmp_path_factory.mktemp("runs")
  partial = []
  write = report.write

  def keep(config, parts, outcomes, folder, so_far=None):
    summary = write(config, parts, outcomes, folder, so_far)
    partial.append((so_far, (folder / "results.md").read_text()))
    return summary

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(report, "write", keep)
    summary = run(override(SMALL, architectures=("hps",)), folder)
  return folder, summary, partial


def test_it_writes_what_it_promises_and_trains_nothing_again(workdir, promised):
  folder, summary, _ = workdir
  config = override(SMALL, architectures=("hps",))
  rows = ("hps, EW, decoder 1", "hps, CAGrad, decoder 1")
  promised(run, config, folder, summary, ("accuracy_decoder1.png", "mse_decoder1.png"), rows)


def test_tables_are_written_after_each_model(workdir):
  _, summary, partial = workdir
  assert [so_far for so_far, _ in partial] == ["1 of 2 models", None]
  first = partial[0][1]
  assert "**Partial: 1 of 2 models.**" in first
  assert "hps, EW, decoder 1" in first
  assert "hps, CAGrad, decoder 1" not in first
  assert summary["models"] == [
    {"architecture": "hps", "method": method, "decoder": 1} for method in ("EW", "CAGrad")
  ]


def outcome(cell, folder, accuracy, mse, failure=None):
  values = {"accuracy": {"class": np.array([accuracy])}, "mse": {"value": np.array([mse])}}
  values |= {name: {"value": np.array([mse / 100])} for name in ("mae", "mape", "near")}
  row = {"epoch": 1, "step": 4, "seconds": 1.0}
  return Outcome(
    str(cell), ("class", "value"), {} if failure else values, [row], 9.0, 1, 0.1, failure, folder
  )


def test_a_model_that_diverges_is_a_row_and_leaves_the_others_theirs(tmp_path):
  splits = data.digits_ink()
  config = override(SMALL, methods=("EW", "DWA", "UW"))
  first, second, broken, *_ = config.cells()
  found = {
    first: outcome(first, tmp_path, 90.0, 5000.0),
    second: outcome(second, tmp_path, 95.0, 6000.0),
    broken: outcome(broken, tmp_path, 0, 0, "the loss of task 'value' is nan"),
  }
  summary = report.write(config, splits, found, tmp_path, "3 of 6 models")
  assert [row["failure"] for row in summary["results"]] == [None, None, found[broken].failure]
  assert summary["results"][2]["values"] == {}
  table = (tmp_path / "results.md").read_text()
  assert "| hps, UW, decoder 1 | diverged | - |" in table
  assert "| best by column, decoder 1 | 95.00 | 5000 |" in table
  assert "best of 1 other models: 'hps, DWA, decoder 1' 95.00" in summary["conclusions"][0]
  assert (tmp_path / "accuracy_decoder1.png").exists()
  assert (tmp_path / "mse_decoder1.png").exists()
  # Nothing but a diverged model is reported too.
  report.write(config, splits, {broken: found[broken]}, tmp_path, "1 of 6 models")


def row_of(accuracy, mse, failure=None):
  values = {"accuracy": {"class": [accuracy]}, "mse": {"value": [mse]}}
  return {"failure": failure, "values": {} if failure else values}


def test_heat_maps_say_what_diverged_and_what_is_missing(tmp_path):
  splits = data.digits_ink()
  config = override(SMALL, architectures=("hps", "mmoe"), methods=("EW", "DWA"), decoders=(1, 2))
  rows = [row_of(90.0, 5e3), row_of(95.0, 2e6), row_of(0, 0, "the loss is nan")]
  rows = dict(zip(config.cells(), rows, strict=False))
  found = figures.draw(config, splits, rows, baselines(splits), tmp_path, "3 of 8 models")
  files = {f"{column}_decoder{i}.png" for column in ("accuracy", "mse") for i in (1, 2)}
  assert {path.name for path in tmp_path.iterdir()} == set(found) == files
  accuracy, mse = found["accuracy_decoder1.png"], found["mse_decoder1.png"]
  axes, bar = accuracy.axes
  assert [text.get_text() for text in axes.texts] == ["90.0", "95.0", "div.", "-"]
  assert "accuracy (%)" in bar.get_ylabel()
  assert "partial: 3 of 8 models" in accuracy.get_suptitle()
  axes, bar = mse.axes
  assert [text.get_text() for text in axes.texts] == ["5", "2000", "div.", "-"]  # in thousands
  assert "MSE / 1000" in bar.get_ylabel()
  assert axes.images[0].colorbar.extend == "max"  # worse than the training mean
  red, green, blue = (axes.images[0].cmap(axes.images[0].norm(x))[:3] for x in (1, 5, 2000))
  assert sum(red) > sum(green) > sum(blue)  # the better the lighter


def test_colours_reach_from_what_needs_no_network(tmp_path):
  splits = data.digits_ink()
  config = override(SMALL, architectures=("hps",))
  rows = {cell: row_of(98.0 + i, 4e3) for i, cell in enumerate(config.cells())}
  trivial = baselines(splits)
  found = figures.draw(config, splits, rows, trivial, tmp_path)
  limits = {file: figure.axes[0].images[0].get_clim() for file, figure in found.items()}
  low, high = limits["accuracy_decoder1.png"]
  assert low < 20
  assert high == 100
  assert limits["mse_decoder1.png"] == pytest.approx(
    [trivial[name]["mse"]["value"] for name in ("training mean of the true class", "training mean")]
  )


def test_more_models_in_another_order_are_no_other_runs(workdir, tmp_path, monkeypatch, capsys):
  folder = shutil.copytree(workdir[0], tmp_path / "runs")
  fit = "jaxmtl.training.fit"

  def train(*_, **__):
    raise AssertionError("trained again")

  with monkeypatch.context() as patch:
    patch.setattr(fit, train)
    patch.setattr("experiments.runner.run.Calls", train)  # nor compiled
    both = override(SMALL, architectures=("hps",), methods=("CAGrad", "EW"), num_experts=9)
    assert run(both, folder)["results"] == workdir[1]["results"][::-1]
    with pytest.raises(AssertionError, match="trained again"):
      run(override(both, methods=("CAGrad", "UW", "EW")), folder)
  # Killed after the first of two epochs.
  home = folder / "decoder1_hps_EW"
  before = workdir[1]["results"][0]["values"]
  (home / "outcome.json").unlink()
  last = max((home / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
  shutil.rmtree(last)
  one = override(SMALL, architectures=("hps",), methods=("EW",))
  assert run(one, folder)["results"][0]["values"] == before
  rows = [json.loads(line)["epoch"] for line in (home / "metrics.jsonl").read_text().splitlines()]
  assert rows == [1, 2]


def test_what_a_model_depends_on():
  def identity(config, architecture):
    found = jobs.plan(config, data.digits_ink(), Layout())
    job = next(j for cell, j in found.items() if cell.architecture == architecture)
    return store.identity_of(job)

  more = override(SMALL, num_experts=2, methods=("EW", "GLS"), decoders=(1, 2))
  assert identity(more, "hps") == identity(SMALL, "hps")
  assert identity(more, "mmoe")["num_experts"] == 2
  assert identity(SMALL, "mmoe")["num_experts"] == 4
  # Learning to branch anneals over the whole training; others on a plateau know no end.
  changes = {"schedule": "plateau", "backbone": "resnet32", "width": 0.25}
  open_ended = override(SMALL, architectures=("hps", "ltb"), **changes)
  assert "epochs" not in identity(open_ended, "hps")
  assert identity(open_ended, "ltb")["epochs"] == 2
  assert identity(SMALL, "hps")["epochs"] == 2
  # LibMTL's conventions belong to what a model is.
  assert identity(open_ended, "ltb")["joins_stems"]
  assert identity(SMALL, "mmoe")["gates_see_all"]
  drops = override(SMALL, methods=("GradDrop",))
  assert identity(drops, "hps")["graddrop"]
  assert "graddrop" not in identity(drops, "mmoe")
  # Methods on one network share its first parameters, and what measures it.
  found = list(jobs.plan(SMALL, data.digits_ink(), Layout()).values())
  assert found[0].problem.init is found[1].problem.init
  assert found[0].problem.init is not found[2].problem.init


def test_the_papers_grid():
  cells = PRESETS["paper"].cells()
  assert len(METHODS) == 17
  assert len(set(cells)) == 6 * 17 * 2
  cells_of_hps = [Cell("hps", method, 1) for method in METHODS]
  assert len({(repr(cell.combine()), cell.drops_signs) for cell in cells_of_hps}) == 17
  for method in METHODS:
    Cell("hps", method, 1).combine().build(2, 1)
  assert PRESETS["slice"].decoders == (1,)
  assert len(PRESETS["slice"].cells()) == 12
  for config in PRESETS.values():
    assert dataclasses.is_dataclass(config)
    assert config.run.seeds == 1


def test_decoders_have_the_papers_layers():
  maps = jnp.ones((2, 7, 7, 8))
  shapes = {}
  for number in (1, 2):
    output, variables = jax.eval_shape(
      Decoder(6, reduces=number == 2).init_with_output, jax.random.key(0), maps
    )
    assert output.shape == (2, 6)
    params = variables["params"]
    shapes[number] = {k: v["kernel"].shape for k, v in params.items() if "kernel" in v}
  assert shapes[1] == {"hidden": (8, 512), "output": (512, 6)}
  assert shapes[2] == {
    "conv0": (3, 3, 8, 16),
    "conv1": (3, 3, 16, 32),
    "reduced": (32, 512),
    "hidden": (512, 512),
    "output": (512, 6),
  }


@pytest.mark.parametrize("architecture", ["hps", "mmoe"])
def test_a_network_gives_class_and_value(architecture):
  cell = Cell(architecture, "EW", 1)
  model = network(cell, models.create("one_stage"), {"class": 10, "value": 1}, 2, 5, 1)
  images = jnp.zeros((2, 8, 8, 1))
  output, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
  assert {head: value.shape for head, value in output.items()} == {
    "class": (2, 10),
    "value": (2, 1),
  }


def of_libmtl(architecture, method="EW", **duration):
  backbone = models.ConvNet4(width=2)
  sizes = {"class": 3, "value": 1}
  duration = {"epochs": 1, "steps_per_epoch": 1} | duration
  return network(Cell(architecture, method, 1), backbone, sizes, 2, **duration)


def test_networks_are_those_of_libmtl():
  stitched = of_libmtl("cross_stitch")
  assert (stitched.own_weight, stitched.other_weight) == (1, 1)
  assert all(of_libmtl(name).gates_see_all for name in ("mmoe", "cgc", "ple", "dselect_k"))
  branched = of_libmtl("ltb", epochs=200, steps_per_epoch=10)
  assert branched.joins_stems
  assert branched.draws_always
  assert branched.warm_up_steps == 20  # epochs 0 and 1 are before 200 / 100
  assert of_libmtl("ltb", epochs=30, steps_per_epoch=10).warm_up_steps == 10
  steps = jnp.array([0.0, 9, 10, 30, 1999])
  epochs = np.array([0, 0, 1, 3, 199])
  np.testing.assert_allclose(branched.temperature(steps), 10 / np.sqrt(epochs + 1), rtol=1e-6)


def test_graddrop_is_on_what_hard_sharing_has_in_common():
  assert of_libmtl("hps", "GradDrop").graddrop
  assert not of_libmtl("hps").graddrop
  assert Cell("hps", "GradDrop", 1).combine() == METHODS["EW"]
  assert Cell("mmoe", "GradDrop", 1).combine().aggregator == "graddrop"
  config = override(SMALL, architectures=("hps",), methods=("EW", "GradDrop"))
  plain, drops = (j.problem for j in jobs.plan(config, data.digits_ink(), Layout()).values())
  assert plain.init is drops.init
  assert plain.losses_fn is not drops.losses_fn
