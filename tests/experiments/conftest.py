"""A network for tests of what experiments do with any network."""

import flax.linen as nn
import pytest

from jaxmtl import models
from jaxmtl.models.normalization import batch_norm


class OneLayer(nn.Module):
  """A backbone that compiles soon."""

  @nn.compact
  def __call__(self, images, train=False):
    x = nn.Dense(6)(images.reshape(len(images), -1))
    return nn.relu(batch_norm(train, name="norm")(x))


@pytest.fixture(scope="module")
def one_layer():
  """In place of convnet4, whose options are looked at all the same."""
  create = models.create

  def create_small(name, **options):
    network = create(name, **options)
    return OneLayer() if name == "convnet4" else network

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(models, "create", create_small)
    yield
