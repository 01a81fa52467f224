"""Networks for dense prediction: counts, sizes, resizing, torchvision's file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmtl import models

NYUV2 = {"segmentation": 13, "depth": 1, "normal": 3}
CITYSCAPES = {"segmentation": 19, "part": 10, "disparity": 1}
OPTIONS = {"mtan": {"attention_bias": True}}


def counts(outputs, architecture, size=(64, 96)):
  """Parameters in all, and shared ones."""
  backbone = models.create("resnet50", output_stride=8)
  net = models.deeplab(backbone, outputs, architecture, **OPTIONS.get(architecture, {}))
  made, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), jnp.ones((1, *size, 3)))
  assert {t: x.shape for t, x in made.items()} == {t: (1, *size, n) for t, n in outputs.items()}
  params = variables["params"]
  mask = models.shared_mask(params)
  shared = jax.tree.map(lambda leaf, is_shared: leaf.size if is_shared else 0, params, mask)
  return sum(leaf.size for leaf in jax.tree.leaves(params)), sum(jax.tree.leaves(shared))


@pytest.mark.parametrize(
  ("architecture", "nyuv2", "cityscapes", "with_noise", "shared"),
  [
    ("hps", 71_888_721, 71_892_062, 88_014_418, 23_508_032),
    ("mtan", 92_347_921, 92_351_262, 112_649_554, 31_439_424),
  ],
)
def test_parameters_are_those_of_the_released_programs(
  architecture, nyuv2, cityscapes, with_noise, shared
):
  assert counts(NYUV2, architecture) == (nyuv2, shared)
  assert counts(CITYSCAPES, architecture) == (cityscapes, shared)
  assert counts(NYUV2 | {"noise": 1}, architecture) == (with_noise, shared)


def small(architecture="hps", stride=8, **options):
  backbone = models.create("resnet18", width=1 / 16, output_stride=stride)
  return models.deeplab(backbone, {"a": 2, "b": 3}, architecture, features=4, **options)


@pytest.mark.parametrize("architecture", ["hps", "mtan", "cross_stitch"])
def test_any_size_of_image_and_a_batch_of_one_train(architecture):
  net, images = small(architecture), jnp.ones((1, 37, 50, 3)) * jnp.linspace(0, 1, 50)[:, None]
  variables = jax.jit(net.init)(jax.random.key(0), images)

  @jax.jit
  def step(params):
    def loss(params):
      outputs, _ = net.apply(
        {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
      )
      return sum(jnp.square(x - 1).mean() for x in outputs.values()), outputs

    return jax.value_and_grad(loss, has_aux=True)(params)

  (_, outputs), grads = step(variables["params"])
  assert {t: x.shape for t, x in outputs.items()} == {"a": (1, 37, 50, 2), "b": (1, 37, 50, 3)}
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
  head = grads["heads_a"]["aspp"]
  assert np.abs(head["rate_0_conv"]["kernel"]).max() > 0
  # One number a channel is normalised to 0, where a ReLU has no gradient.
  assert np.abs(head["mean_conv"]["kernel"]).max() == 0


@pytest.mark.parametrize("stride", [8, 16])
def test_rates_follow_the_stride(stride):
  net = small(stride=stride)
  assert net.heads["a"].rates == {8: (12, 24, 36), 16: (6, 12, 18)}[stride]


def interpolated(x, count):
  places = np.arange(count) * (len(x) - 1) / max(count - 1, 1)
  return np.interp(places, np.arange(len(x)), x)


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (9, 5), (12, 20)])
def test_corners_stay_where_they_are(size):
  x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
  want = np.stack([interpolated(row, size[1]) for row in x])
  want = np.stack([interpolated(column, size[0]) for column in want.T], axis=1)
  got = models.resize_aligned(jnp.asarray(x)[None, :, :, None], size)[0, :, :, 0]
  np.testing.assert_allclose(got, want, atol=1e-6)
  one = models.resize_aligned(jnp.full((1, 1, 1, 2), 3.0), size)
  np.testing.assert_array_equal(one, np.full((1, *size, 2), 3.0))


def test_bad_options_are_named():
  backbone = models.create("resnet18", output_stride=8)
  with pytest.raises(ValueError, match=r"outputs\['a'\] must be at least 1, got 0"):
    models.deeplab(backbone, {"a": 0})
  with pytest.raises(ValueError, match="unknown architecture 'split'"):
    models.deeplab(backbone, {"a": 1}, "split")


def test_blocks_computed_again_give_the_same_gradients_and_parameters():
  images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))

  def gradients(remat):
    backbone = models.create("resnet18", width=1 / 16, output_stride=16, remat=remat)
    net = models.deeplab(backbone, {"a": 2}, features=2)
    variables = jax.jit(net.init)(jax.random.key(1), images)

    def loss(params):
      found, _ = net.apply({**variables, "params": params}, images, True, mutable=["batch_stats"])
      return jnp.square(found["a"] - 1).mean()

    return jax.jit(jax.grad(loss))(variables["params"])

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    gradients(True),
    gradients(False),
  )
