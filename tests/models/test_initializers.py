"""First weights: deviations by formula in every family of backbones, and in linear heads."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxmtl import models

# Variance of a kernel by its receptive field and channels, and whether it is uniform.
FORMULAS = {
  "he_fan_out": (lambda area, c_in, c_out: 2 / (area * c_out), False),
  "torch": (lambda area, c_in, c_out: 1 / (3 * area * c_in), True),
  "xavier": (lambda area, c_in, c_out: 2 / (area * (c_in + c_out)), True),
}
# Basic blocks, bottlenecks, groups, and shortcuts of both.
BACKBONES = {
  "convnet4": {"width": 16},
  "vgg16": {"width": 1 / 4},
  "resnet32": {"depth": 8},
  "resnet18": {"width": 1 / 4, "sizes": (1, 1, 1, 1)},
  "resnet50": {"width": 1 / 4, "sizes": (1, 1, 1, 1)},
  "resnext50": {"width": 1 / 4, "sizes": (1, 1, 1, 1), "groups": 4},
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_kernel_of_a_backbone_is_drawn_as_told(name):
  drawn = []

  def note(key, shape, dtype):
    drawn.append(shape)
    return jnp.zeros(shape, dtype)

  backbone = models.create(name, kernel_init=note, **BACKBONES[name])
  variables = jax.eval_shape(backbone.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
  flat = flatten_dict(variables["params"])
  kernels = [leaf.shape for path, leaf in flat.items() if path[-1] == "kernel"]
  assert sorted(drawn) == sorted(kernels)
  # No bias but those of batch normalization, which stand beside scales.
  assert all((*path[:-1], "scale") in flat for path in flat if path[-1] == "bias")


@pytest.mark.parametrize("name", FORMULAS)
def test_deviations_are_those_of_the_formulas(name):
  variance, uniform = FORMULAS[name]
  draw = jax.jit(models.create("vgg16", kernel_init=name).kernel_init, static_argnums=1)
  # A 3x3 convolution, a shortcut, a convolution of 8 groups of 4 channels, and a linear layer.
  for shape in ((3, 3, 32, 64), (1, 1, 64, 128), (3, 3, 4, 32), (400, 30)):
    kernel = draw(jax.random.key(0), shape)
    expected = np.sqrt(variance(np.prod(shape[:-2]), *shape[-2:]))
    error = 5 / np.sqrt(2 * kernel.size)  # five deviations, of a normal one
    np.testing.assert_allclose(kernel.std(), expected, rtol=error)
    largest = float(jnp.abs(kernel).max()) / expected
    assert (largest <= np.sqrt(3) + 1e-5) if uniform else (largest > 3)  # normal, not truncated


def test_defaults_are_the_fan_out():
  for name, options in BACKBONES.items():
    default = models.create(name, **options).kernel_init
    assert default is models.INITIALIZERS["he_fan_out"]


@pytest.mark.parametrize("name", [None, *FORMULAS])
def test_linear_layers_and_their_biases(name):
  x = jnp.ones((2, 400))
  output, variables = jax.jit(models.dense(100, name).init_with_output)(jax.random.key(1), x)
  params = variables["params"]
  assert sorted(params) == ["bias", "kernel"]
  np.testing.assert_allclose(output, x @ params["kernel"] + params["bias"], rtol=1e-4, atol=1e-5)
  variance = FORMULAS[name][0](1, 400, 100) if name else 1 / 400
  np.testing.assert_allclose(params["kernel"].var(), variance, rtol=0.04)
  if name == "torch":
    np.testing.assert_allclose(params["bias"].std(), np.sqrt(1 / 1200), rtol=0.25)
    assert jnp.abs(params["bias"]).max() <= 1 / 20
  else:
    np.testing.assert_array_equal(params["bias"], 0)


def test_linear_layers_are_heads_like_others():
  """Of the same names, also in sequences and under `vmap`, as domains have them."""
  heads = {kind: nn.Sequential([make(4), nn.relu, make(3)]) for kind, make in MAKERS.items()}
  model = models.MultiHead(models.create("convnet4", width=4), heads)
  params = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]
  assert jax.tree.structure(params["heads_torch"]) == jax.tree.structure(params["heads_plain"])
  network = models.multi_domain(models.create("convnet4", width=4), 2, 3, MAKERS["torch"])
  heads = jax.jit(network.init)(jax.random.key(0), jnp.ones((8, 8, 1)))["params"]["heads"]
  assert {name: leaf.shape for name, leaf in heads.items()} == {"kernel": (2, 4, 3), "bias": (2, 3)}
  assert (np.abs(heads["bias"]) > 0).all()
  assert (np.abs(heads["bias"]) <= 1 / 2).all()


MAKERS = {"torch": lambda features: models.dense(features, "torch"), "plain": nn.Dense}


def test_unknown_names_and_backbones_that_draw_their_own_way():
  with pytest.raises(ValueError, match="unknown initialiser 'he'; known: he_fan_out, torch"):
    models.create("vgg16", kernel_init="he")
  with pytest.raises(ValueError, match="unknown initialiser 'he'"):
    models.dense(2, "he")
  with pytest.raises(ValueError, match=r"unknown options \['kernel_init'\] of backbone 'vit_b16'"):
    models.create("vit_b16", kernel_init="torch")
