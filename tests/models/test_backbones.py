"""Backbones and the decoder: shapes, published sizes, dtypes, initialisers, poolings."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmtl import models

_TINY = {"width": 8, "depth": 4, "num_heads": 2}


def _shapes(model, *shape):
  return jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.ones(shape))


def _count(variables):
  return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def _conv_norm(size, channels, features):
  return size * size * channels * features + 2 * features


def _vgg_count(depths):
  total, channels = 0, 3
  for depth, features in zip(depths, (64, 128, 256, 512, 512), strict=True):
    for _ in range(depth):
      total += _conv_norm(3, channels, features)
      channels = features
  return total


def _resnet_count(blocks):
  total = _conv_norm(3, 3, 16)
  channels = 16
  for features in (16, 32, 64):
    for i in range(blocks):
      total += _conv_norm(3, channels, features) + _conv_norm(3, features, features)
      if i == 0 and channels != features:
        total += _conv_norm(1, channels, features)
      channels = features
  return total


@pytest.mark.parametrize(
  ("name", "features", "count"),
  [
    # The common ImageNet VGG-19 with batch normalization has 143,678,248 parameters: 123,642,856 in
    # its three dense layers, 5,504 in the convolutions' biases.
    ("vgg19", 512, 143_678_248 - 123_642_856 - 5_504),
    ("vgg16", 512, _vgg_count((2, 2, 3, 3, 3))),
    ("resnet32", 64, _resnet_count(5)),
    ("resnet110", 64, _resnet_count(18)),
    ("convnet4", 64, _conv_norm(3, 3, 64) + 3 * _conv_norm(3, 64, 64)),
  ],
)
def test_shape_and_parameter_count(name, features, count):
  output, variables = _shapes(models.create(name), 2, 32, 32, 3)
  assert output.shape == (2, features)
  assert _count(variables) == count


@pytest.mark.parametrize(
  ("name", "features", "count"),
  [
    # torchvision's and timm's numbers, less the classifiers' 1000 (features + 1).
    ("resnet18", 512, 11_689_512),
    ("resnet50", 2048, 25_557_032),
    ("resnet101", 2048, 44_549_160),
    ("resnext50", 2048, 25_028_904),
    ("vit_b16", 768, 86_567_656),
    ("beit_b16", 768, 86_530_984),
    ("mixer_b16", 768, 59_880_472),
    ("swin_t", 768, 28_288_354),
  ],
)
def test_networks_for_large_images_have_the_published_sizes(name, features, count):
  output, variables = _shapes(models.create(name), 2, 224, 224, 3)
  assert output.shape == (2, features)
  assert _count(variables) == count - 1000 * (features + 1)


def test_resnet32_has_the_published_size():
  # He et al.: 464,154 with parameter-free shortcuts and a 10-class head (650).
  shortcuts = _conv_norm(1, 16, 32) + _conv_norm(1, 32, 64)
  _, variables = _shapes(models.create("resnet32"), 2, 32, 32, 3)
  assert _count(variables) - shortcuts + 650 == 464_154


def test_convnet4_takes_digits():
  assert _shapes(models.create("convnet4", width=8), 2, 8, 8, 1)[0].shape == (2, 8)


@pytest.mark.parametrize(
  "model",
  [
    models.create("convnet4", width=4, dtype=jnp.bfloat16),
    models.VGG(stages=(1, 1), width=1 / 16, dtype=jnp.bfloat16),
    models.CifarResNet(depth=8, width=0.25, dtype=jnp.bfloat16),
    models.create("resnext50", width=0.5, dtype=jnp.bfloat16),
    models.ViT(patch_size=4, dtype=jnp.bfloat16, **_TINY),
    models.BEiT(patch_size=4, dtype=jnp.bfloat16, **_TINY),
    models.Mixer(patch_size=4, width=8, depth=4, dtype=jnp.bfloat16),
    models.Swin(width=8, num_heads=(1, 2, 2, 4), dtype=jnp.bfloat16),
  ],
  ids=["convnet4", "vgg", "resnet", "resnext", "vit", "beit", "mixer", "swin"],
)
def test_bfloat16_computes_and_keeps_float32_state(model):
  images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
  variables = jax.eval_shape(model.init, jax.random.key(0), images)
  features, updates = jax.eval_shape(
    lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]), variables, images
  )
  assert features.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves((variables, updates))} == {jnp.dtype("float32")}


def test_bfloat16_is_close_to_float32():
  images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
  model = models.ViT(patch_size=4, width=16, depth=2, num_heads=2)
  variables = jax.jit(model.init)(jax.random.key(0), images)
  short = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, images)
  assert short.dtype == jnp.bfloat16
  exact = jax.jit(model.apply)(variables, images)
  np.testing.assert_allclose(short.astype(jnp.float32), exact, atol=0.05)


def test_batch_statistics_are_averaged_over_the_named_axis():
  images = jax.random.normal(jax.random.key(1), (8, 4, 4, 1))
  plain = models.create("convnet4", width=4)
  synced = models.create("convnet4", width=4, axis_name="batch")
  variables = jax.jit(plain.init)(jax.random.key(0), images)

  def forward(model, images):
    return model.apply(variables, images, train=True, mutable=["batch_stats"])[0]

  whole = jax.jit(lambda x: forward(plain, x))(images)
  halves = jax.jit(jax.vmap(lambda x: forward(synced, x), axis_name="batch"))(
    images.reshape(2, 4, 4, 4, 1)
  )
  np.testing.assert_allclose(halves.reshape(whole.shape), whole, rtol=1e-3, atol=1e-4)


def test_max_pool_equals_linen_and_shares_ties():
  x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
  np.testing.assert_array_equal(models.max_pool(x), nn.max_pool(x, (2, 2), (2, 2)))
  gradient = jax.jit(jax.grad(lambda x: models.max_pool(x).sum()))
  reference = jax.jit(jax.grad(lambda x: nn.max_pool(x, (2, 2), (2, 2)).sum()))
  np.testing.assert_array_equal(gradient(x), reference(x))
  np.testing.assert_array_equal(gradient(jnp.zeros((1, 2, 2, 1))), jnp.full((1, 2, 2, 1), 0.25))
  with pytest.raises(ValueError, match="got 1x6"):
    models.max_pool(x[:, :1])


def test_decoder_has_the_described_layers():
  output, variables = _shapes(models.DenseLabelDecoder(), 2, 512)
  assert output.shape == (2, 4096)
  deconvs = 16 * (64 * 64 + 64 * 32 + 32 * 16 + 16 * 8 + 8 * 1) + 1
  norms = 2 * (512 + 64 + 32 + 16 + 8)
  assert _count(variables) == 513 * 64 + deconvs + norms + 4097 * 4096
  assert _shapes(models.DenseLabelDecoder(final_dense=False), 2, 64)[0].shape == (2, 4096)
  with pytest.raises(ValueError, match="dim=100"):
    _shapes(models.DenseLabelDecoder(dim=100, final_dense=False), 2, 64)


def test_a_small_decoder_has_fewer_layers_and_weights():
  output, variables = _shapes(models.DenseLabelDecoder(50, side=8, width=12), 2, 30)
  assert output.shape == (2, 50)
  deconvs = 16 * (12 * 12 + 12 * 1) + 1
  assert _count(variables) == 31 * 12 + deconvs + 2 * (30 + 12) + 65 * 50
  smallest = models.DenseLabelDecoder(16, final_dense=False, side=4, width=1)
  assert _shapes(smallest, 2, 30)[0].shape == (2, 16)
  with pytest.raises(ValueError, match=r"dim must be 64 .the decoder's 8x8 map.*got dim=63"):
    _shapes(models.DenseLabelDecoder(63, final_dense=False, side=8), 2, 64)
  with pytest.raises(ValueError, match="side=12"):
    _shapes(models.DenseLabelDecoder(side=12), 2, 64)
  with pytest.raises(ValueError, match="width=0"):
    _shapes(models.DenseLabelDecoder(width=0), 2, 64)


def test_create_names_unknown_backbones_and_options():
  with pytest.raises(ValueError, match=r"'vgg11'.*vgg16"):
    models.create("vgg11")
  with pytest.raises(ValueError, match=r"\['widht'\].*width"):
    models.create("resnet32", widht=2)
  with pytest.raises(ValueError, match="got 33"):
    _shapes(models.CifarResNet(depth=33), 1, 8, 8, 3)
