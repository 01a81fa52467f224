"""Networks for dense prediction: counts, sizes, resizing, torchvision's file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

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
    # With the same heads, whose outputs alone are others in Cityscapes.
    ("mtan", 92_347_921, None, 112_649_554, 31_439_424),
  ],
)
def test_parameters_are_those_of_the_released_programs(
  architecture, nyuv2, cityscapes, with_noise, shared
):
  assert counts(NYUV2, architecture) == (nyuv2, shared)
  if cityscapes:
    assert counts(CITYSCAPES, architecture) == (cityscapes, shared)
  assert counts(NYUV2 | {"noise": 1}, architecture) == (with_noise, shared)


def small(architecture="hps", stride=8, blocks=(1, 1, 1, 1), **options):
  backbone = models.ResNet(blocks, bottleneck=False, width=1 / 16, output_stride=stride)
  return models.deeplab(backbone, {"a": 2, "b": 3}, architecture, features=4, **options)


@pytest.mark.parametrize("architecture", ["hps", "mtan", "cross_stitch"])
def test_any_size_of_image_is_the_outputs(architecture):
  net, images = small(architecture, blocks=(2, 2, 2, 2)), jnp.ones((1, 37, 50, 3))
  outputs, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
  assert {t: x.shape for t, x in outputs.items()} == {"a": (1, 37, 50, 2), "b": (1, 37, 50, 3)}


def test_a_batch_of_one_trains():
  backbone = models.ResNet((1, 1, 1, 1), bottleneck=False, width=1 / 16, output_stride=8)
  net = models.deeplab(backbone, {"a": 2}, features=4)
  images = np.ones((1, 37, 50, 3), np.float32) * np.linspace(0, 1, 50, dtype=np.float32)[:, None]
  # As good as any, and compiling the initialisation would take half of the time.
  rng, shapes = np.random.default_rng(0), jax.eval_shape(net.init, jax.random.key(0), images)
  variables = jax.tree.map(lambda x: rng.uniform(0.1, 1, x.shape).astype(np.float32), shapes)

  @jax.jit
  @jax.grad
  def gradients(params):
    outputs, _ = net.apply(
      {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
    )
    return sum(jnp.square(x - 1).mean() for x in outputs.values())

  grads = gradients(variables["params"])
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
  resize = jax.jit(models.resize_aligned, static_argnums=1)
  got = resize(x[None, :, :, None], size)[0, :, :, 0]
  np.testing.assert_allclose(got, want, atol=1e-6)
  one = resize(np.full((1, 1, 1, 2), 3.0, np.float32), size)
  np.testing.assert_array_equal(one, np.full((1, *size, 2), 3.0))


def test_bad_options_are_named():
  backbone = models.create("resnet18", output_stride=8)
  with pytest.raises(ValueError, match=r"outputs\['a'\] must be at least 1, got 0"):
    models.deeplab(backbone, {"a": 0})
  with pytest.raises(ValueError, match=r"rates must be a list of dilations, .* got 6"):
    models.deeplab(backbone, {"a": 1}, rates=6)
  with pytest.raises(ValueError, match="features must be at least 1, got 0"):
    models.deeplab(backbone, {"a": 1}, features=0)
  with pytest.raises(ValueError, match="unknown architecture 'split'"):
    models.deeplab(backbone, {"a": 1}, "split")


def test_blocks_computed_again_give_the_same_gradients_and_parameters():
  rng = np.random.default_rng(0)
  images = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
  again, plain = (
    models.ResNet((1, 1, 1, 1), bottleneck=False, width=1 / 64, remat=remat) for remat in (1, 0)
  )
  shapes, others = (jax.eval_shape(net.init, jax.random.key(1), images) for net in (again, plain))
  assert shapes == others
  variables = jax.tree.map(lambda x: rng.uniform(-1, 1, x.shape).astype(np.float32), shapes)

  @jax.jit
  def gradients(params):
    def loss(params, net):
      found, _ = net.apply({**variables, "params": params}, images, True, mutable=["batch_stats"])
      return jnp.square(found - 1).mean()

    return [jax.grad(loss)(params, net) for net in (again, plain)]

  got, want = gradients(variables["params"])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)


# What torchvision calls a classifier's tensors, in the order of ours, without `classifier.`.
TORCHVISION = {
  "aspp/point": ("0.convs.0.0", "0.convs.0.1"),
  "aspp/rate_0": ("0.convs.1.0", "0.convs.1.1"),
  "aspp/rate_1": ("0.convs.2.0", "0.convs.2.1"),
  "aspp/rate_2": ("0.convs.3.0", "0.convs.3.1"),
  "aspp/mean": ("0.convs.4.1", "0.convs.4.2"),
  "aspp/project": ("0.project.0", "0.project.1"),
  "mix": ("1", "2"),
}
NORMS = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


@pytest.fixture(scope="module")
def checkpoint():
  """Shapes of a small network's variables, and a file of torchvision's names for them."""
  net, rng = small(blocks=(2, 2, 2, 2)), np.random.default_rng(0)
  shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 16, 16, 3)))
  made = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
  file = {f"backbone.{n}": x for n, x in models.to_torch("resnet18", made).items()}
  file |= {"aux_classifier.0.weight": np.ones(1), "classifier.2.num_batches_tracked": np.ones(())}
  head = {c: made[c]["heads_b"] for c in ("params", "batch_stats")}
  for ours, (conv, norm) in TORCHVISION.items():
    inside = {c: tree["aspp"] if "/" in ours else tree for c, tree in head.items()}
    name = ours.removeprefix("aspp/")
    kernel = inside["params"][f"{name}_conv"]["kernel"]
    file[f"classifier.{conv}.weight"] = kernel.transpose(3, 2, 0, 1)
    both = {**inside["params"][f"{name}_norm"], **inside["batch_stats"][f"{name}_norm"]}
    file |= {f"classifier.{norm}.{NORMS[leaf]}": x for leaf, x in both.items()}
  last = head["params"]["last"]
  file |= {
    "classifier.4.weight": last["kernel"].transpose(3, 2, 0, 1),
    "classifier.4.bias": last["bias"],
  }
  return shapes, made, {name: np.ascontiguousarray(x) for name, x in file.items()}


def load(file, variables, tmp_path, **options):
  save_file(file, tmp_path / "net.safetensors")
  return models.load_pretrained("resnet18", tmp_path / "net.safetensors", variables, **options)


def assert_same(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_array_equal(g, w)


def test_torchvisions_file_goes_into_the_trunk_and_the_heads_that_are_named(checkpoint, tmp_path):
  shapes, made, file = checkpoint
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  trunk = load(file, zeros, tmp_path)
  both = load(file, zeros, tmp_path, heads=("b",))
  parts = load(file, zeros, tmp_path, heads=("a", "b"), last=False)
  for c in ("params", "batch_stats"):
    for loaded in (trunk, both, parts):
      assert_same(loaded[c]["backbone"], made[c]["backbone"])
    assert_same(trunk[c]["heads_b"], zeros[c]["heads_b"])
    assert_same(both[c]["heads_b"], made[c]["heads_b"])
    assert_same(both[c]["heads_a"], zeros[c]["heads_a"])
    for task in ("heads_a", "heads_b"):
      assert_same(parts[c][task]["aspp"], made[c]["heads_b"]["aspp"])
      assert_same(parts[c][task]["mix_norm"], made[c]["heads_b"]["mix_norm"])
  assert_same(parts["params"]["heads_a"]["last"], zeros["params"]["heads_a"]["last"])


def test_a_file_of_imagenet_goes_into_the_trunk(checkpoint, tmp_path):
  _, made, _ = checkpoint
  file = models.to_torch("resnet18", made) | {"fc.weight": np.ones((2, 2), np.float32)}
  loaded = load(file, made, tmp_path)
  assert_same(loaded, made)


@pytest.mark.parametrize(
  ("change", "options", "message"),
  [
    ({}, {"heads": ("c",)}, r"heads must be tasks of the variables, of \['a', 'b'\], got 'c'"),
    ({}, {"heads": ("a",)}, r"another shape .*classifier.4.weight \(3, 4, 1, 1\), needed \(2, 4"),
    ({"classifier.5.weight": np.ones(1)}, {"heads": ("b",)}, r"without a place .*classifier\.5"),
    ({"classifier.1.weight": None}, {"heads": ("b",)}, r"missing tensors .*classifier\.1\.weight"),
  ],
)
def test_a_classifier_that_does_not_fit_is_an_error(checkpoint, tmp_path, change, options, message):
  shapes, _, file = checkpoint
  file = {name: x for name, x in (file | change).items() if x is not None}
  with pytest.raises(ValueError, match=message):
    load(file, shapes, tmp_path, **options)
