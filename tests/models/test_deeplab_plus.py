"""DeepLabV3+: shapes, the head that is of use in training alone, ReCo's network."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import models


def small(**options):
  backbone = models.ResNet((1, 1, 1, 1), bottleneck=False, width=1 / 16, output_stride=16)
  return models.DeepLabV3Plus(backbone, 5, features=4, low_features=3, **options)


def test_without_its_representation_head_the_classes_are_the_same():
  images = jax.random.normal(jax.random.key(0), (2, 37, 50, 3))
  net, bare = small(dimension=6), small(dimension=None)
  variables = jax.jit(net.init)(jax.random.key(1), images)
  outputs = jax.jit(net.apply)(variables, images)
  assert {name: x.shape for name, x in outputs.items()} == {
    "classes": (2, 10, 13, 5),
    "representation": (2, 10, 13, 6),
  }
  left = models.drop_heads(variables, "representation")
  assert jax.tree.structure(left) == jax.tree.structure(
    jax.eval_shape(bare.init, jax.random.key(0), images)
  )
  np.testing.assert_array_equal(jax.jit(bare.apply)(left, images)["classes"], outputs["classes"])
  shared = models.shared_mask(variables["params"])
  assert all(jax.tree.leaves(shared["backbone"]))
  assert not any(jax.tree.leaves(shared["heads_representation"]))


def test_recos_network():
  net = models.DeepLabV3Plus(models.create("resnet101", output_stride=16), 19)
  images = jnp.ones((1, 65, 65, 3))
  outputs, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
  assert outputs["classes"].shape == (1, 17, 17, 19)
  assert outputs["representation"].shape == (1, 17, 17, 256)
  params = variables["params"]
  assert params["aspp"]["rate_0_conv"]["kernel"].shape == (3, 3, 2048, 256)
  assert params["low_conv"]["kernel"].shape == (1, 1, 256, 48)
  assert params["heads_classes"]["mix_conv"]["kernel"].shape == (3, 3, 304, 256)
  # Trunk, pyramid, the early map, two heads.
  heads = [304 * 256 * 9 + 2 * 256 + 256 * n + n for n in (19, 256)]
  pyramid = 2048 * 256 * (1 + 3 * 9 + 1) + 5 * 256 * 256 + 6 * 2 * 256
  trunk = 42_500_160
  count = sum(leaf.size for leaf in jax.tree.leaves(params))
  assert count == trunk + pyramid + 256 * 48 + 2 * 48 + sum(heads)
