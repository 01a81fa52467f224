"""Pre-trained weights: round trips through files for every backbone, and what errors name."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxmtl import models
from jaxmtl.models.pretrained.positions import resize_positions

_TINY = {"width": 8, "depth": 4, "num_heads": 2, "patch_size": 4}
# Small options, and each library that has the backbone with one of its names.
BACKBONES = {
  "convnet4": ({"width": 4}, {"torchvision": "features.13.running_var"}),
  "vgg16": ({"width": 1 / 16}, {"torchvision": "features.41.weight", "timm": "features.0.weight"}),
  "vgg19": ({"width": 1 / 16}, {"torchvision": "features.50.weight"}),
  "resnet18": ({"width": 1 / 16}, {"torchvision": "layer4.1.bn2.bias"}),
  "resnet18_small": ({"width": 1 / 16}, {"torchvision": "layer4.1.bn2.bias"}),
  "resnet32": ({"width": 1 / 8}, {"torchvision": "layer3.4.conv2.weight"}),
  "resnet50": ({"width": 1 / 16}, {"timm": "layer2.0.downsample.1.running_mean"}),
  "resnet101": ({"width": 1 / 16}, {"torchvision": "layer3.22.conv3.weight"}),
  "resnet110": ({"width": 1 / 8}, {"torchvision": "layer1.17.bn1.weight"}),
  "resnext50": ({"width": 1 / 4}, {"torchvision": "layer1.0.conv2.weight"}),
  "vit_b16": (
    _TINY,
    {
      "timm": "blocks.3.attn.qkv.weight",
      "torchvision": "encoder.layers.encoder_layer_3.self_attention.in_proj_weight",
    },
  ),
  "beit_b16": (_TINY, {"timm": "blocks.2.attn.relative_position_bias_table"}),
  "mixer_b16": (
    {"width": 8, "depth": 4, "patch_size": 4},
    {"timm": "blocks.3.mlp_tokens.fc1.weight"},
  ),
  "swin_t": (
    {"width": 8, "num_heads": (1, 2, 2, 4), "window": 3},
    {
      "timm": "layers.3.downsample.reduction.weight",
      "torchvision": "features.6.reduction.weight",
    },
  ),
}


def _variables(model, size=32, seed=0):
  """Random numbers in the place of every parameter and statistic."""
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, size, size, 3)))
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def _assert_equal(ours, theirs):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("name", BACKBONES)
def test_round_trip_through_a_file(name, tmp_path):
  options, sources = BACKBONES[name]
  model = models.create(name, **options)
  variables = _variables(model)
  for source, known in sources.items():
    state = models.to_torch(name, variables, source)
    assert known in state
    state["head.weight"] = state["fc.bias"] = np.ones(3, np.float32)
    state["bn1.num_batches_tracked"] = np.array(5)
    save_file(state, tmp_path / "net.safetensors")
    template = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    _assert_equal(models.load_pretrained(name, tmp_path / "net.safetensors", template), variables)


def test_every_backbone_is_covered():
  with pytest.raises(ValueError, match="known: ") as error:
    models.create("?")
  assert set(re.findall(r"\w+", str(error.value).split("known: ")[1])) == set(BACKBONES)


def test_multi_head_keeps_its_heads(tmp_path):
  backbone = models.create("convnet4", width=4)
  model = models.MultiHead(backbone, {"digit": nn.Dense(3)})
  whole, pretrained = _variables(model), _variables(backbone, seed=1)
  save_file(models.to_torch("convnet4", pretrained), tmp_path / "net.safetensors")
  loaded = models.load_pretrained("convnet4", tmp_path / "net.safetensors", whole)
  _assert_equal(loaded["params"]["backbone"], pretrained["params"])
  _assert_equal(loaded["batch_stats"]["backbone"], pretrained["batch_stats"])
  _assert_equal(loaded["params"]["heads_digit"], whole["params"]["heads_digit"])
  _assert_equal(models.to_torch("convnet4", loaded), models.to_torch("convnet4", pretrained))


def _saved(path, state):
  save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, path)
  return path


def test_other_spellings_and_biases_in_front_of_normalization(tmp_path):
  path = tmp_path / "net.safetensors"
  model = models.create("swin_t", **BACKBONES["swin_t"][0])
  variables = _variables(model)
  state = models.to_torch("swin_t", variables, "timm")
  old = {
    re.sub(r"layers\.(\d)\.down", lambda m: f"layers.{int(m[1]) - 1}.down", name): value
    for name, value in state.items()
  }
  _assert_equal(models.load_pretrained("swin_t", _saved(path, old), variables), variables)

  model = models.create("vit_b16", **_TINY)
  variables = _variables(model)
  state = models.to_torch("vit_b16", variables, "torchvision")
  old = {
    n.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): v for n, v in state.items()
  }
  old = {f"module.{name}": value for name, value in old.items()}
  _assert_equal(models.load_pretrained("vit_b16", _saved(path, old), variables), variables)

  model = models.create("vgg16", width=1 / 16)
  variables = _variables(model)
  state = models.to_torch("vgg16", variables)
  state["features.3.bias"] = np.arange(4, dtype=np.float32)
  loaded = models.load_pretrained("vgg16", _saved(path, state), variables)
  expected = variables["batch_stats"]["norm0_1"]["mean"] - np.arange(4)
  np.testing.assert_allclose(loaded["batch_stats"]["norm0_1"]["mean"], expected, rtol=1e-6)


def test_positions_are_resized_for_images_of_another_size(tmp_path):
  for name in ("vit_b16", "beit_b16"):
    model = models.create(name, **_TINY)
    small, large = _variables(model, 16), _variables(model, 32)
    path = _saved(tmp_path / "net.safetensors", models.to_torch(name, small, "timm"))
    loaded = models.load_pretrained(name, path, large)
    assert jax.tree.map(jnp.shape, loaded) == jax.tree.map(jnp.shape, large)
    with pytest.raises(ValueError, match="of another shape"):
      models.load_pretrained(name, path, large, resize=False)
  table = loaded["params"]["stage0_block0"]["attn"]["relative_position_bias_table"]
  before = small["params"]["stage0_block0"]["attn"]["relative_position_bias_table"]
  assert table.shape == (15 * 15 + 3, 2)
  np.testing.assert_array_equal(table[-3:], before[-3:])
  np.testing.assert_allclose(table[7 * 15 + 7], before[3 * 7 + 3], rtol=1e-5)  # no offset


def test_a_linear_embedding_stays_linear_when_resized():
  grid = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij"), -1).reshape(64, 2)
  value = np.concatenate([np.full((1, 2), 9.0), grid])[None]
  new = resize_positions("pos_embed", value, (1, 1 + 16 * 4, 2), grid=(16, 4))
  np.testing.assert_array_equal(new[0, 0], [9, 9])
  new = new[0, 1:].reshape(16, 4, 2)
  np.testing.assert_allclose(new[4:12, 2, 0], (np.arange(4, 12) + 0.5) / 2 - 0.5, atol=1e-5)
  assert new[3, 1, 1] + new[3, 2, 1] == pytest.approx(7)  # half as many columns, symmetric
  with pytest.raises(ValueError, match=r"pos_embed needs a map of 6 positions.*grid="):
    resize_positions("pos_embed", value, (1, 7, 2))


def test_errors_name_every_tensor(tmp_path):
  model = models.create("resnet18", width=1 / 16)
  variables = _variables(model)
  state = models.to_torch("resnet18", variables)
  path = tmp_path / "net.safetensors"
  bad = {name: value for name, value in state.items() if name != "layer1.0.bn2.bias"}
  bad["conv1.weight"] = np.ones((4, 1, 7, 7), np.float32)
  bad["extra.weight"] = np.ones(2, np.float32)
  with pytest.raises(ValueError) as error:  # noqa: PT011
    models.load_pretrained("resnet18", _saved(path, bad), variables)
  message = str(error.value)
  assert "missing tensors" in message
  assert "layer1.0.bn2.bias" in message
  assert "conv1.weight (4, 1, 7, 7), needed (4, 3, 7, 7)" in message
  assert "extra.weight" in message
  good = state | {"extra.weight": np.ones(2, np.float32)}
  loaded = models.load_pretrained("resnet18", _saved(path, good), variables, ignore=[r"extra\..*"])
  _assert_equal(loaded, variables)
  with pytest.raises(ValueError, match=r"no tensor of mixer_b16: it holds .*bn1"):
    models.load_pretrained(
      "mixer_b16", path, _variables(models.create("mixer_b16", **BACKBONES["mixer_b16"][0]))
    )
  with pytest.raises(ValueError, match=r"'resnet34'.*resnet18"):
    models.load_pretrained("resnet34", path, variables)
  with pytest.raises(ValueError, match=r"\['timm'\].*'torchvision'"):
    models.to_torch("beit_b16", variables, "torchvision")
  with pytest.raises(FileNotFoundError, match=r"none\.pth"):
    models.load_pretrained("resnet18", tmp_path / "none.pth", variables)
