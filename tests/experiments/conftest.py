"""A network for tests of what experiments do with any network."""

import functools

import flax.linen as nn
import matplotlib.figure
import pytest
import sklearn.manifold

from jaxmtl import models
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


@pytest.fixture(scope="module")
def one_convolution():
  """In place of DeepLab's heads, whose options are looked at all the same."""
  create = models.deeplab

  def create_small(backbone, outputs, *args, **options):
    network = create(backbone, outputs, *args, **options)
    return network.clone(heads={task: Conv(count, (1, 1)) for task, count in outputs.items()})

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(models, "deeplab", create_small)
    yield
