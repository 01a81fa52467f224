"""Every architecture: sizes, who learns from whom, both forms of input, training, backbones."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

import jaxmtl
from jaxmtl import data, losses, models, training
from jaxmtl.aggregation import Aggregator
from jaxmtl.models.architectures.ltb import cooling
from jaxmtl.models.layers import PatchEmbed

TASKS = ("left", "parity")
OPTIONS = {
  "dselect_k": {"num_experts": 2},
  "mmoe": {"num_experts": 2},
  "ltb": {"temperature": cooling(20)},
}


class Tiny(models.Backbone):
  """Patches of 5x5 pixels, then a stage of two dense layers on 2x2 maps and one on a 1x1 map."""

  width: int = 8

  def setup(self):
    self.embed = PatchEmbed(self.width, 5)
    self.layers = [nn.Dense(self.width, name=f"layer{i}") for i in range(3)]

  @property
  def stage_sizes(self):
    return (2, 1)

  def stem(self, images, train=False):
    return self.embed(images)

  def block(self, stage, index, x, train=False):
    x = x.mean((1, 2), keepdims=True) if stage else x
    return nn.leaky_relu(self.layers[2 * stage + index](x))

  def readout(self, x, train=False):
    return x.mean((1, 2))


def build(name, backbone=None, **options):
  heads = {task: nn.Dense(10) for task in TASKS}
  return models.multi_task(name, backbone or Tiny(), heads, **OPTIONS.get(name, {}) | options)


@functools.cache
def initialised(name):
  """A model and its variables, for all tests."""
  model = build(name)
  return model, jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 10, 10, 1)))


def shapes(model, *shape, **kwargs):
  return jax.eval_shape(
    lambda x: model.init_with_output(jax.random.key(0), x, **kwargs), jnp.ones(shape)
  )


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_parameter_counts(name):
  w, t, s = 4, len(TASKS), 4  # width, tasks, stages of convnet4
  backbone = count(shapes(models.create("convnet4", width=w), 1, 8, 8, 1)[1]["params"])
  seen = 8 * 8 + 1  # what a gate sees, and its bias
  narrow = w // 4
  bottleneck = (w * narrow + 9 * narrow * narrow + narrow * w) + 2 * (2 * narrow + w)
  attention = (w * narrow + narrow * w) + 2 * (narrow + w)
  expected = {
    "hps": backbone,
    "cross_stitch": t * backbone + (s - 1) * t * t,
    "mmoe": 2 * backbone + t * 2 * seen,
    "cgc": (1 + t) * backbone + t * 2 * seen,
    "ple": (1 + t) * backbone + t * 2 * (seen + (s - 1) * (w + 1)),
    # One bit for each of two selectors, and their mixture.
    "dselect_k": 2 * backbone + t * (2 * 1 + 2) * seen,
    # From the second stage on the first convolution sees twice as many channels.
    "mtan": backbone + (s - 1) * bottleneck + t * (s * attention + (s - 1) * w * narrow),
    "ltb": t * backbone + (s - 1) * t * t,
  }[name]
  outputs, variables = shapes(build(name, models.create("convnet4", width=w)), 2, 8, 8, 1)
  assert {task: x.shape for task, x in outputs.items()} == dict.fromkeys(TASKS, (2, 10))
  assert count(variables["params"]) == expected + t * 10 * (w + 1)
  assert models.PENALTIES not in variables


@pytest.fixture(scope="module")
def images():
  return jax.random.normal(jax.random.key(1), (4, 10, 10, 1))


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_who_learns_from_whom_and_both_forms_of_input(name, images):
  model, variables = initialised(name)
  draws = name == "ltb"  # in training each step learns about the branches drawn
  keys = jax.random.split(jax.random.key(2), 8 if draws else 1)

  def task_losses(params, key):
    outputs, updated = model.apply(
      {**variables, "params": params},
      images,
      train=True,
      mutable=["batch_stats", models.PENALTIES],
      rngs={"dropout": key},
    )
    sums = jnp.stack([jnp.square(outputs[t] - 1).sum() for t in TASKS])
    return sums + models.task_penalties(updated, TASKS)

  @jax.jit
  def everything(variables, keys):
    rows = jax.vmap(jax.jacrev(task_losses), in_axes=(None, 0))(variables["params"], keys)
    single = model.apply(variables, images)
    multi = model.apply(variables, dict.fromkeys(TASKS[::-1], images))
    fewer = model.apply(variables, {"parity": images[:3]})
    return rows, single, multi, fewer

  rows, single, multi, fewer = everything(variables, keys)
  shared = flatten_dict(models.shared_mask(variables["params"]))
  for path, leaf in flatten_dict(rows).items():
    reached = np.abs(leaf).sum(axis=0).reshape(len(TASKS), -1).any(axis=1)
    owner = next((t for t in TASKS if f"_{t}" in path[0]), None)
    if shared[path]:
      # A trunk's last stage is read by its own task only.
      assert reached.any() if path[0].startswith("trunks") else reached.all(), path
    else:
      assert reached.tolist() == [task == owner for task in TASKS], path
  assert not any(shared[path] for path in shared if path[0].startswith("heads"))
  if name in ("cross_stitch", "ltb", "hps"):
    assert all(shared[path] for path in shared if not path[0].startswith("heads"))
  assert list(fewer) == ["parity"]
  for task in TASKS:
    np.testing.assert_allclose(multi[task], single[task], atol=1e-5)
  np.testing.assert_allclose(fewer["parity"], single["parity"][:3], atol=1e-5)


@pytest.fixture(scope="module")
def digits():
  part = data.multi_digits(size=10, num_examples=(64, 1, 1)).train
  return {"image": jnp.asarray(part.images) / 255} | {t: part.labels[t] for t in TASKS}


METHODS = (jaxmtl.sum_tasks(2), jaxmtl.mgda(2), jaxmtl.pcgrad(2))  # the first: equal weights


def one_of_the_methods():
  """An aggregator whose state says which method it is, so that all share a compiled step."""

  def init(params):
    return jnp.array(0), tuple(method.init(params) for method in METHODS)

  def weigh(gramian, state, **extra):
    number, states = state

    def run(i):
      weights, new = METHODS[i].weigh(gramian, states[i], **extra)
      return weights, (*states[:i], new, *states[i + 1 :])

    weights, states = jax.lax.switch(number, [lambda i=i: run(i) for i in range(len(METHODS))])
    return weights, (number, states)

  return Aggregator(init, None, weigh)


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_it_learns_multi_digits_by_equal_weights_mgda_and_pcgrad(name, digits):
  model, variables = initialised(name)

  def losses_fn(params, model_state, batch, key):
    outputs, updated = model.apply(
      {"params": params, **model_state},
      batch["image"],
      train=True,
      mutable=["batch_stats", models.PENALTIES],
      rngs={"dropout": key},
    )
    found = jnp.stack([losses.cross_entropy(outputs[t], batch[t]) for t in TASKS])
    state = {"batch_stats": updated.get("batch_stats", {})}
    return found + models.task_penalties(updated, TASKS), training.Aux(state)

  step = training.train_step(
    losses_fn, optax.adam(0.03), 2, aggregator=one_of_the_methods(), shared=models.shared_mask
  )

  @jax.jit
  def train(variables, number):
    state = {"batch_stats": variables.get("batch_stats", {})}
    state = step.init(variables["params"], jax.random.key(1), state)
    state = dataclasses.replace(state, aggregator=(number, state.aggregator[1]))
    return jax.lax.scan(lambda s, _: step.update(s, digits), state, None, length=40)[1]["losses"]

  last = []
  for number in range(len(METHODS)):
    history = np.asarray(train(variables, jnp.array(number)))
    assert np.isfinite(history).all()
    assert history[-5:].mean() < 0.8 * history[0].mean(), METHODS[number]
    last.append(history[-1])
  # Equal weights and PCGrad differ only where gradients conflict.
  assert len({tuple(losses) for losses in last}) > 1


BACKBONES = {
  "vgg16": (models.VGG(stages=(1, 2), width=1 / 16), (12, 10, 3)),
  "resnet18": (models.create("resnet18", width=1 / 16), (48, 48, 3)),  # maps of 12, 6, 3 and 2
  "vit_b16": (models.ViT(patch_size=4, width=8, depth=4, num_heads=2), (8, 8, 3)),
}


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", ["ple", "mtan", "ltb"])
def test_stages_of_every_kind_of_backbone(name, backbone):
  pattern, size = BACKBONES[backbone]
  outputs, variables = shapes(build(name, pattern), 2, *size)
  assert {task: x.shape for task, x in outputs.items()} == dict.fromkeys(TASKS, (2, 10))
  assert any(jax.tree.leaves(models.shared_mask(variables["params"])))


def test_heads_on_maps(images):
  for name in models.ARCHITECTURES:
    model = build(name, models.create("convnet4", width=4), on_maps=True)
    outputs, _ = shapes(model, 2, 32, 32, 1)
    assert outputs["left"].shape == (2, 2, 2, 10)


class Plain(nn.Module):
  """A backbone around another module, without stages."""

  inner: nn.Module

  def __call__(self, images, train=False):
    return self.inner(images.reshape(len(images), -1))


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_backbones_without_stages(name, images):
  backbone = Plain(nn.Dense(4))
  if name in ("cross_stitch", "ple", "mtan", "ltb"):
    with pytest.raises(ValueError, match=r"needs a backbone with stages .*got Plain"):
      build(name, backbone)
  else:
    outputs, variables = shapes(build(name, backbone), *images.shape)
    assert outputs["left"].shape == (4, 10)
    kernels = [path for path in flatten_dict(variables["params"]) if "inner" in path]
    assert len(kernels) == 2 * {"hps": 1, "mmoe": 2, "cgc": 3, "dselect_k": 2}[name]
    with pytest.raises(ValueError, match="on_maps=True needs"):
      build(name, backbone, on_maps=True)


def test_images_by_unknown_task_and_too_few_to_initialise(images):
  model, variables = initialised("hps")
  with pytest.raises(ValueError, match=r"left, parity .*got sum"):
    model.apply(variables, {"sum": images})
  with pytest.raises(ValueError, match=r"all of them to initialise.*got left"):
    model.init(jax.random.key(0), {"left": images})
  with pytest.raises(ValueError, match="at least one task"):
    models.multi_task("hps", Tiny(), {})
