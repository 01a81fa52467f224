"""The auto-encoder restores shapes of any size, and its code is what it decodes from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmtl.models import AutoEncoder


@pytest.mark.parametrize("shape", [(8, 8, 1), (14, 10, 3), (28, 28, 1), (32, 32, 3), (3, 3, 2)])
def test_shapes(shape):
  model, images = AutoEncoder(latent=5, width=2), jnp.ones((2, *shape))
  restored, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
  assert restored.shape == images.shape
  code = jax.eval_shape(lambda v: model.apply(v, images, method="encode"), variables)
  assert code.shape == (2, 5)


def test_everything_passes_through_the_code():
  model = AutoEncoder(latent=3, width=2)
  images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
  restored, variables = jax.jit(model.init_with_output)(jax.random.key(1), images)
  blind = jax.tree.map(jnp.zeros_like, variables["params"]["encoder"]["latent"])
  params = {**variables["params"], "encoder": {**variables["params"]["encoder"], "latent": blind}}
  without = jax.jit(model.apply)({**variables, "params": params}, images)
  assert np.ptp(np.asarray(restored), axis=0).max() > 1e-3
  np.testing.assert_allclose(np.ptp(np.asarray(without), axis=0), 0, atol=1e-6)
