"""Backbones run part by part; dilation; dropout; images of another size."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmtl import models
from jaxmtl.models.layers import drop_rates
from jaxmtl.models.swin import SwinBlock

_VIT = {"patch_size": 4, "width": 8, "depth": 4, "num_heads": 2}
# Few blocks: what runs them does not know how many there are.
_SMALL = {
  "convnet4": {"width": 4},
  "vgg16": {"width": 1 / 16},
  "resnet18": {"width": 1 / 16, "sizes": (2, 1, 1, 1)},
  "resnet18_small": {"width": 1 / 16, "sizes": (2, 1, 1, 1)},
  "resnet32": {"width": 1 / 4, "depth": 14},
  "resnet50": {"width": 1 / 16, "sizes": (2, 1, 1, 1)},
  "vit_b16": _VIT,
  "beit_b16": _VIT,
  "mixer_b16": {"patch_size": 4, "width": 8, "depth": 4},
  "swin_t": {"width": 8, "num_heads": (1, 2, 2, 4), "sizes": (2, 1, 1, 1)},
}


@pytest.mark.parametrize("name", _SMALL)
def test_stem_stages_and_readout_make_the_whole(name):
  model, images = models.create(name, **_SMALL[name]), jnp.ones((2, 32, 32, 3))
  variables = jax.eval_shape(model.init, jax.random.key(0), images)

  def parts(module, images):
    x = module.stem(images)
    for stage, size in enumerate(module.stage_sizes):
      for index in range(size):
        x = module.block(stage, index, x)
    return module.readout(x)

  def whole(module, images):
    return module(images)

  def trace(method):
    return jax.make_jaxpr(lambda v, x: model.apply(v, x, method=method))(variables, images)

  assert str(trace(parts)) == str(trace(whole))  # the same operations
  made = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, method=parts), images)
  assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, variables)
  maps = jax.eval_shape(lambda v, x: model.apply(v, x, method="maps"), variables, images)
  assert len(maps) == len(model.stage_sizes)
  assert all(x.ndim == 4 and x.shape[0] == 2 for x in maps)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize(
  ("stride", "sizes"), [(32, [16, 8, 4, 2]), (16, [16, 8, 4, 4]), (8, [16, 8, 8, 8])]
)
def test_output_stride_keeps_resolution_and_parameters(name, stride, sizes):
  images = jnp.ones((1, 64, 64, 3))

  def shapes(method, **options):
    model = models.create(name, width=1 / 16, sizes=(2, 2, 2, 2), **options)
    return jax.eval_shape(
      lambda x: model.init_with_output(jax.random.key(0), x, method=method), images
    )

  maps, variables = shapes("maps", output_stride=stride)
  assert [x.shape[1] for x in maps] == sizes
  _, plain = shapes("__call__")
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, plain)
  with pytest.raises(ValueError, match="got 4"):
    models.create(name, output_stride=4).init(jax.random.key(0), images)


def test_overlapping_max_pool_equals_linen():
  x = jax.random.normal(jax.random.key(0), (2, 7, 6, 3)) - 3  # zero padding would win
  expected = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
  np.testing.assert_array_equal(models.max_pool(x, 3, strides=2, padding=1), expected)


def test_dropout_and_stochastic_depth_act_in_training_only():
  assert drop_rates(0.3, (2, 2)) == [[0.0, pytest.approx(0.1)], [pytest.approx(0.2), 0.3]]
  images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
  model = models.ViT(patch_size=4, width=8, depth=2, num_heads=2, drop_path=1.0)
  variables = jax.jit(model.init)(jax.random.key(0), images)
  run = jax.jit(model.apply, static_argnames=("train", "method"))
  # The first block is never dropped, the second one always.
  first = run(variables, run(variables, images, method="stem"), method=_first_stages)
  dropped = run(variables, images, train=True, rngs={"dropout": jax.random.key(2)})
  np.testing.assert_allclose(dropped, first, atol=1e-5)
  assert float(jnp.abs(run(variables, images) - first).max()) > 1e-3


def test_a_small_residual_network_drops_whole_channels_in_training_only():
  model = models.create("resnet18_small", width=1 / 8, sizes=(1, 1, 1, 1), dropout=0.5)
  images = jax.random.normal(jax.random.key(1), (4, 64, 64, 3))

  @jax.jit
  def run(images):
    variables = model.init(jax.random.key(0), images)
    x = model.apply(variables, images, method="stem")
    options = {"train": True, "rngs": {"dropout": jax.random.key(2)}, "mutable": ["batch_stats"]}
    stem, _ = model.apply(variables, images, method="stem", **options)
    features, _ = model.apply(variables, jnp.ones((4, 8, 8, 64)), method="readout", **options)
    return x, stem, features, model.apply(variables, images)

  quiet, stem, features, whole = run(images)
  assert quiet.shape == (4, 64, 64, 8)
  assert whole.shape == (4, 4 * 64)  # averages over 4 x 4 pixels of an eighth's map
  silent = np.asarray((stem == 0).all((1, 2)))
  assert 0.05 < silent.mean() < 0.5  # a quarter of the channels
  assert not np.asarray((quiet == 0).all((1, 2))).any()
  assert set(np.unique(features)) == {0.0, 2.0}
  assert 0.4 < np.mean(features == 0) < 0.6


def test_what_residual_networks_cannot_be_is_named():
  images = jnp.ones((1, 24, 24, 3))
  with pytest.raises(ValueError, match=r"at least of pool=4 pixels, got \(3, 3\)"):
    jax.eval_shape(models.create("resnet18_small").init, jax.random.key(0), images)
  with pytest.raises(ValueError, match=r"dropout is for basic blocks, got 0\.5"):
    jax.eval_shape(models.create("resnet50", dropout=0.5).init, jax.random.key(0), images)


def _first_stages(model, x):
  return model.readout(model.stage(1, model.stage(0, x)))


@pytest.mark.parametrize("name", ["vit_b16", "beit_b16", "mixer_b16"])
def test_images_of_another_size_are_named(name):
  model = models.create(name, **_SMALL[name])
  variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 16, 16, 3)))
  with pytest.raises(ValueError, match="initialise"):
    jax.eval_shape(model.apply, variables, jnp.ones((1, 32, 32, 3)))
  with pytest.raises(ValueError, match="patch_size=4, got 18x18"):
    jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 18, 18, 3)))


def test_beit_takes_oblong_images_that_it_is_told_of():
  images = jnp.ones((1, 16, 32, 3))
  with pytest.raises(ValueError, match=r"need image_size=\(16, 32\)"):
    jax.eval_shape(models.BEiT(**_VIT).init, jax.random.key(0), images)
  model = models.BEiT(image_size=(16, 32), **_VIT)
  maps, variables = jax.eval_shape(
    lambda x: model.init_with_output(jax.random.key(0), x, method="maps"), images
  )
  assert maps[0].shape == (1, 4, 8, 8)
  table = variables["params"]["stage0_block0"]["attn"]["relative_position_bias_table"]
  assert table.shape == (7 * 15 + 3, 2)
  with pytest.raises(ValueError, match="got images of 16x16"):
    jax.eval_shape(model.apply, variables, images[:, :, :16])


def test_shifted_windows_see_neighbours_and_not_across_the_edges():
  block, size = SwinBlock(num_heads=1, window=4, shift=True), 8
  maps = jax.random.normal(jax.random.key(0), (1, size, size, 4))
  variables = jax.jit(block.init)(jax.random.key(1), maps)
  pixels = jnp.eye(size * size).reshape(-1, 1, size, size, 1)

  @jax.jit
  def reach(pixels):
    push = jax.random.normal(jax.random.key(2), (4,))
    changed = jax.vmap(lambda pixel: block.apply(variables, maps + pixel * push))(pixels)
    return jnp.abs(changed - block.apply(variables, maps)).max(axis=(1, 4))

  seen = np.asarray(reach(pixels)).reshape(size * size, size * size) > 1e-6
  # Windows of 4 that start at -2, 2 and 6, in both directions.
  group = (np.arange(size) + 2) // 4
  window = (3 * group[:, None] + group[None, :]).reshape(-1)
  np.testing.assert_array_equal(seen, window[:, None] == window[None, :])
