"""A network for tests of what experiments do with any network."""

import contextlib
import functools
import io
import json
import math
import pathlib

import flax.linen as nn
import matplotlib.figure
import pytest
import sklearn.manifold

from jaxmtl import models, training
from jaxmtl.models.conv import Conv
from jaxmtl.models.layers import PatchEmbed
from jaxmtl.models.normalization import batch_norm


class OneLayer(nn.Module):
  """A backbone that compiles soon."""

  @nn.compact
  def __call__(self, images, train=False):
    x = nn.Dense(6)(images.reshape(len(images), -1))
    return nn.relu(batch_norm(train, name="norm")(x))


class OneStage(models.Backbone):
  """A backbone of maps that compiles soon."""

  def setup(self):
    self.embed = PatchEmbed(4, 4)

  @property
  def stage_sizes(self):
    return (1,)

  def stem(self, images, train=False):
    return self.embed(images)

  def block(self, stage, index, x, train=False):
    return nn.relu(x)

  def readout(self, x, train=False):
    return x.mean((1, 2))


@pytest.fixture(autouse=True, scope="session")
def short_maps():
  """Maps of features after as few steps as scikit-learn allows, a tenth of its usual ones.

  Any gradient is small enough for it to end, which it looks at each 50 steps.
  """
  with pytest.MonkeyPatch.context() as patch:
    short = functools.partial(sklearn.manifold.TSNE, max_iter=250, min_grad_norm=1e9)
    patch.setattr(sklearn.manifold, "TSNE", short)
    yield


@pytest.fixture(autouse=True, scope="session")
def small_files_of_figures():
  """Figures are written in few pixels, and drawn once, not a first time to make room for texts.

  The fixture `drawn` draws one as it is.
  """
  save = matplotlib.figure.Figure.savefig

  def save_small(figure, path, **options):
    layout = figure.get_layout_engine()
    figure.set_layout_engine("none")
    save(figure, path, **options | {"dpi": 30})
    figure.set_layout_engine(layout)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(matplotlib.figure.Figure, "savefig", save_small)
    yield


def save_blank(figure, path, **options):
  """In place of a figure's `savefig`."""
  pathlib.Path(path).touch()


@pytest.fixture
def blank_figures(monkeypatch):
  """Figures are made and not drawn, in tests that look at other files."""
  monkeypatch.setattr(matplotlib.figure.Figure, "savefig", save_blank)


@pytest.fixture(scope="module")
def one_layer():
  """In place of convnet4, whose options are looked at all the same; one_stage beside it."""
  create = models.create

  def create_small(name, **options):
    if name == "one_stage":
      return OneStage()
    network = create(name, **options)
    return OneLayer() if name == "convnet4" else network

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(models, "create", create_small)
    yield


@pytest.fixture
def one_convolution(monkeypatch):
  """In place of DeepLab's heads, whose options are looked at all the same."""
  create = models.deeplab

  def create_small(backbone, outputs, *args, **options):
    network = create(backbone, outputs, *args, **options)
    return network.clone(heads={task: Conv(count, (1, 1)) for task, count in outputs.items()})

  monkeypatch.setattr(models, "deeplab", create_small)


def finite(value):
  if isinstance(value, dict):
    return all(map(finite, value.values()))
  if isinstance(value, list):
    return all(map(finite, value))
  return not isinstance(value, float) or math.isfinite(value)


@pytest.fixture(scope="session")
def promised():
  """Finds what every experiment promises in a folder where it is finished.

  Its files, its rows, and that the same command trains nothing again.
  """

  def check(run, config, folder, summary, files, rows):
    for file in ("config.json", "results.json", "results.md", *files):
      assert (folder / file).exists(), file
    assert json.loads((folder / "results.json").read_text()) == summary
    assert summary["partial"] is None
    assert tuple(row["name"] for row in summary["results"]) == rows
    for row in summary["results"]:
      assert set(row) == {
        *("name", "setting", "values", "paper", "delta_mtl", "ms_per_step", "minutes", "failure")
      }
      assert finite(row["values"])
      assert row["ms_per_step"] > 0
    table = (folder / "results.md").read_text()
    assert all(f"| {row} |" in table for row in rows)
    for job in folder.glob("*/job.json"):
      home = job.parent
      logged = [json.loads(line) for line in (home / "metrics.jsonl").read_text().splitlines()]
      assert [row["step"] for row in logged] == sorted(row["step"] for row in logged)
      assert (home / "weights.safetensors").exists()
      assert list((home / "tensorboard").iterdir())

    def train(*_, **__):
      raise AssertionError("nothing is to be trained")

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
      patch.setattr(training, "fit", train)
      # Figures are made again of the same numbers, and were drawn.
      patch.setattr(matplotlib.figure.Figure, "savefig", save_blank)
      again = run(config, folder)
    assert again["results"] == summary["results"]
    assert "on disk already" in said.getvalue()

  return check
