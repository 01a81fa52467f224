import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import pytest

from experiments import grid
from experiments.grid import PRESETS, Config, run
from experiments.grid_training import METHODS, Cell, Decoder
from experiments.property_training import PropertyConfig, Trainer
from jaxmtl import models, training
from jaxmtl.models.layers import PatchEmbed

SMALL = dataclasses.replace(
  PRESETS["quick"],
  architectures=("hps", "mmoe"),
  methods=("EW", "DWA"),
  decoders=(1,),
  epochs=2,
  batch_size=256,
  checkpoint_every=1,
)
FILES = ("config.json", "results.json", "results.md", "accuracy_decoder1.png", "mse_decoder1.png")


class Small(models.Backbone):
  """A backbone that compiles soon."""

  def setup(self):
    self.embed = PatchEmbed(4, 4)

  @property
  def stage_sizes(self):
    return (1,)

  def stem(self, images, train=False):
    return self.embed(images)

  def block(self, stage, index, x, train=False):
    return jax.nn.relu(x)

  def readout(self, x, train=False):
    return x.mean((1, 2))


@pytest.fixture(scope="module", autouse=True)
def small_network():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(PropertyConfig, "build_backbone", lambda config: Small())
    yield


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A grid of four models, two of which diverge."""
  folder = tmp_path_factory.mktemp("runs")
  with pytest.MonkeyPatch.context() as patch:
    train = Trainer.train

    def break_some(self, name, targets, seed, epochs=None):
      if "mmoe" in name:
        raise training.TrainingDiverged("the loss of task 'value' is nan")
      return train(self, name, targets, seed, epochs)

    patch.setattr(Trainer, "train", break_some)
    return folder, run(SMALL, folder)


def test_it_writes_what_it_promises_and_a_model_that_diverges_stops_no_other(workdir):
  folder, summary = workdir
  assert all((folder / name).stat().st_size for name in FILES)
  assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(summary))
  cells = {(r["architecture"], r["method"]): r["seeds"][0] for r in summary["results"]}
  assert list(cells) == [(a, m) for a in SMALL.architectures for m in SMALL.methods]
  for broken in (cells.pop(("mmoe", method)) for method in SMALL.methods):
    assert broken["errors"] is None
    assert "'value' is nan" in broken["failure"]
  for seed in cells.values():
    assert seed["failure"] is None
    assert 0 <= seed["errors"]["accuracy"] <= 100
    assert seed["minutes"] > 0
  table = (folder / "results.md").read_text()
  assert "| mmoe, EW, decoder 1 | diverged | - |" in table
  best = max(seed["errors"]["accuracy"] for seed in cells.values())
  assert f"| best by column, decoder 1 | {best:.2f} |" in table


def test_models_that_are_through_are_not_trained_again(workdir, tmp_path, monkeypatch, capsys):
  folder = shutil.copytree(workdir[0], tmp_path / "runs")

  def refuse(*args):
    raise AssertionError("compiled again")

  monkeypatch.setattr(Trainer, "compiled", refuse)
  again = run(SMALL, folder)
  assert again["results"] == workdir[1]["results"]
  # More methods in another order do not make them other models.
  with pytest.raises(AssertionError, match="compiled again"):
    run(dataclasses.replace(SMALL, methods=("DWA", "UW", "EW")), folder)
  monkeypatch.undo()
  monkeypatch.setattr(PropertyConfig, "build_backbone", lambda config: Small())
  # Killed after the first of two epochs.
  home = folder / "decoder1_hps_EW_seed0"
  before = json.loads((home / "outcome.json").read_text())["outcome"]["errors"]
  (home / "outcome.json").unlink()
  shutil.rmtree(home / "checkpoints" / "2")
  one = dataclasses.replace(SMALL, architectures=("hps",), methods=("EW",))
  after = run(one, folder)["results"][0]["seeds"][0]["errors"]
  assert "goes on after epoch 1 of 2" in capsys.readouterr().out
  assert after == before
  with pytest.raises(ValueError, match=r"weight_decay: 0\.0001 saved, 0\.1 asked for"):
    run(dataclasses.replace(one, weight_decay=0.1), folder)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"methods": ("EW", "pcgrat")}, "'pcgrat' is not known"),
    ({"methods": ()}, "methods must name at least one"),
    ({"architectures": ("hps", "hps")}, "none twice"),
    ({"architectures": ("hsp",)}, "unknown architecture 'hsp'"),
    ({"architectures": ("mtan",)}, "at least two stages, got Small"),
    ({"decoders": (1, 3)}, r"decoders must be 1 or 2, got \[3\]"),
    ({"epochs": 0}, "epochs must be at least 1"),
  ],
)
def test_bad_input_raises_before_anything_is_written(change, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    run(dataclasses.replace(SMALL, **change), tmp_path / "runs")
  assert not (tmp_path / "runs").exists()


def test_the_papers_grid():
  cells = PRESETS["paper"].cells()
  assert len(METHODS) == 17
  assert len(set(cells)) == 6 * 17 * 2
  assert len({repr(Cell("hps", m, 1).combine()) for m in METHODS}) == 17
  for method in METHODS:
    Cell("hps", method, 1).combine().build(2, 1)
  assert PRESETS["slice"].decoders == (1,)
  assert len(PRESETS["slice"].cells()) == 12
  assert isinstance(PRESETS["paper"].only(cells[0]), Config)


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


def test_the_command_line(capsys):
  with pytest.raises(SystemExit) as stop:
    grid.main(["--decoders", "3"])
  assert "decoders must be 1 or 2" in str(stop.value)
  with pytest.raises(SystemExit):
    grid.main(["--help"])
  assert "--architectures" in capsys.readouterr().out
