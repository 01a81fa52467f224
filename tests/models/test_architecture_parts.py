"""The parts of architectures: smooth steps and selectors, stitches, branches; bad options."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxmtl import models
from jaxmtl.models.architectures.dselect_k import Selectors, smooth_step
from jaxmtl.models.architectures.ltb import cooling, hard_gumbel_softmax

TASKS = ("left", "parity")
BACKBONE = models.create("convnet4", width=2)
IMAGES = np.random.default_rng(1).normal(size=(3, 8, 8, 1)).astype(np.float32)


def build(name, **options):
  return models.multi_task(name, BACKBONE, {task: nn.Dense(10) for task in TASKS}, **options)


def initialised(name, **options):
  model = build(name, **options)
  return model, jax.jit(model.init)(jax.random.key(0), IMAGES)


def test_smooth_steps_and_their_selectors():
  x = np.linspace(-2, 2, 81, dtype=np.float32)
  gamma = 1.5
  inside = -2 / gamma**3 * x**3 + 3 / (2 * gamma) * x + 0.5
  expected = np.where(x <= -gamma / 2, 0, np.where(x >= gamma / 2, 1, inside))
  np.testing.assert_allclose(jax.jit(smooth_step)(x, gamma), expected, atol=1e-6)

  # Bits of both selectors far outside of the step: experts 1 (01) and 2 (10), mixed 1 : 3.
  kernel = {"kernel": np.zeros((1, 4)), "bias": np.array([9.0, -9.0, -9.0, 9.0])}
  mixture = {"kernel": np.zeros((1, 2)), "bias": np.log([1.0, 3.0])}
  params = {"params": {"bits": kernel, "selectors": mixture}}
  params = jax.tree.map(np.float32, params)

  @jax.jit
  def run(params):
    return Selectors(4, 2).apply(params, jnp.ones((1, 1)))

  weights, entropy = run(params)
  np.testing.assert_allclose(weights, [[0, 0.25, 0.75, 0]], atol=1e-6)
  assert float(entropy[0]) == 0
  slopes = jax.jit(jax.grad(lambda p: run(p)[1].sum()))(params)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
  # In the middle all four experts are as likely: each selector's entropy is log 4.
  params["params"]["bits"]["bias"] = np.zeros(4, np.float32)
  weights, entropy = run(params)
  np.testing.assert_allclose(weights, np.full((1, 4), 0.25), atol=1e-6)
  np.testing.assert_allclose(entropy, [2 * np.log(4)], rtol=1e-6)


def test_stitches_of_the_identity_leave_trunks_alone():
  model, variables = initialised("cross_stitch")
  np.testing.assert_allclose(variables["params"]["stitches_1"], 0.8 * np.eye(2) + 0.1, rtol=1e-6)
  stitches = {f"stitches_{stage}": np.eye(2, dtype=np.float32) for stage in (1, 2, 3)}
  variables = {**variables, "params": {**variables["params"], **stitches}}

  def of(name):
    return {kind: tree[name] for kind, tree in variables.items() if name in tree}

  @jax.jit
  def alone(trunk, head):
    return nn.Dense(10).apply(head, BACKBONE.apply(trunk, IMAGES))

  outputs = jax.jit(model.apply)(variables, IMAGES)
  for task in TASKS:
    head = alone(of(f"trunks_{task}"), of(f"heads_{task}"))
    np.testing.assert_allclose(outputs[task], head, rtol=1e-4, atol=1e-5)


def test_branches_are_drawn_hard_by_the_temperature_of_the_step():
  logits = jnp.log(jnp.array([0.2, 0.5, 0.3]))
  keys = jax.random.split(jax.random.key(0), 4000)
  drawn = jax.jit(jax.vmap(hard_gumbel_softmax, in_axes=(0, None, None)))(keys, logits, 2.0)
  assert set(np.unique(drawn)) == {0, 1}
  drawn = np.asarray(drawn)
  assert (drawn.sum(-1) == 1).all()
  np.testing.assert_allclose(drawn.mean(0), [0.2, 0.5, 0.3], atol=0.025)  # 3 deviations
  values = np.float32([1.0, 2.0, 4.0])

  @jax.jit
  def slopes(logits):
    slope = jax.grad(lambda x: hard_gumbel_softmax(keys[0], x, 2.0) @ values)(logits)
    noisy = logits + jax.random.gumbel(keys[0], (3,))
    return slope, jax.grad(lambda x: nn.softmax(x / 2) @ values)(noisy)

  np.testing.assert_allclose(*slopes(logits), rtol=1e-6)

  asked = []
  temperature = lambda step: asked.append(step) or 2.0  # noqa: E731
  model, variables = initialised("ltb", temperature=temperature)
  branches = jnp.array([[0.0, 1], [1, 0]])
  variables["params"]["branches_1"] = branches

  def weights(module, train):
    return module.weights(1, train)

  for step in range(3):
    variables["batch_stats"]["steps"] = jnp.array(step, jnp.float32)
    chosen = model.apply(variables, False, method=weights)
    np.testing.assert_array_equal(chosen, branches)  # the largest logit, without a random stream
    model.apply(variables, True, method=weights, rngs={"dropout": keys[0]})
  assert [float(step) for step in asked] == [0, 1, 2]

  @jax.jit
  def count(given):
    rngs = {"dropout": keys[0]}
    _, updated = model.apply(variables, given, train=True, mutable=["batch_stats"], rngs=rngs)
    return updated["batch_stats"]["steps"]

  both = dict.fromkeys(TASKS, IMAGES)
  for given in (IMAGES, both):  # a step counts once, in both forms
    assert float(count(given)) == 3


def test_branches_of_libmtl():
  """A sum of all parents at first, branches from the stems on, draws outside of training too."""
  model = build("ltb", warm_up_steps=2, joins_stems=True, draws_always=True)
  params = jax.eval_shape(model.init, jax.random.key(0), IMAGES)["params"]
  assert [name for name in sorted(params) if "branches" in name] == [
    f"branches_{stage}" for stage in range(4)
  ]
  branches = {f"branches_{stage}": jnp.zeros((2, 2)) for stage in range(4)}

  @functools.partial(jax.jit, static_argnames="train")
  def weights(steps, train, **rngs):
    variables = {"params": branches, "batch_stats": {"steps": jnp.asarray(steps, jnp.float32)}}
    method = lambda module: module.weights(0, train)  # noqa: E731
    return model.apply(variables, method=method, rngs=rngs)

  def drawn(steps, train, **rngs):
    found = np.asarray(weights(steps, train, **rngs))
    assert (np.sort(found, axis=-1) == [0, 1]).all()
    return found.argmax(-1).tolist()

  key = jax.random.key(3)
  for steps in (0, 1):
    np.testing.assert_array_equal(weights(steps, train=True, dropout=key), jnp.ones((2, 2)))
  # After the last step of the warm-up what it trained is measured, not what comes next.
  np.testing.assert_array_equal(weights(2, train=False), jnp.ones((2, 2)))
  drawn(2, train=True, dropout=key)
  for train in (True, False):
    found = {tuple(drawn(9, train, dropout=jax.random.key(i))) for i in range(20)}
    assert found == {(0, 0), (0, 1), (1, 0), (1, 1)}
  # Without a stream the draw is of the number of steps.
  found = [tuple(drawn(steps, train=False)) for steps in range(3, 40)]
  assert set(found) == {(0, 0), (0, 1), (1, 0), (1, 1)}
  assert found == [tuple(drawn(steps, train=False)) for steps in range(3, 40)]


def test_stitches_start_as_told():
  def stitches(tasks="abc", **options):
    model = models.CrossStitch(BACKBONE, {task: nn.Dense(2) for task in tasks}, **options)
    # What is not returned is not computed.
    start = jax.jit(lambda key: model.init(key, IMAGES)["params"]["stitches_1"])
    return start(jax.random.key(0))

  np.testing.assert_allclose(stitches(), 0.85 * np.eye(3) + 0.05, rtol=1e-6)
  np.testing.assert_array_equal(stitches(own_weight=1, other_weight=1), np.ones((3, 3)))
  np.testing.assert_array_equal(stitches("a"), [[1]])


@pytest.mark.parametrize("name", ["mmoe", "cgc", "ple", "dselect_k"])
def test_gates_see_a_grid_or_all(name):
  def kernels(**options):
    model = build(name, num_experts=2, **options)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((2, 16, 16, 3)))
    flat = flatten_dict(variables["params"])
    found = [path for path in sorted(flat) if "gates_" in path[0] and path[-1] == "kernel"]
    return [flat[path].shape[0] for path in found if TASKS[0] in path[0]]

  # Maps of convnet4 of width 2 behind each of PLE's stages but the last: 8x8, 4x4, 2x2.
  later = {"ple": ([2, 2, 2], [128, 32, 8]), "dselect_k": ([192], [768])}.get(name, ([], []))
  assert kernels() == [192, *later[0]]
  assert kernels(gates_see_all=True) == [768, *later[1]]


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("hsp", {}, "unknown architecture 'hsp'; known: hps"),
    ("mmoe", {"experts": 2}, r"\['experts'\].*takes: on_maps, upsample, num_experts"),
    ("mmoe", {"num_experts": 0}, "num_experts must be at least 1, got 0"),
    ("cgc", {"num_own": -1}, "num_own at least 0, got 1 and -1"),
    ("ple", {"num_own": 0}, "num_own must be at least 1, got 0"),
    ("dselect_k", {"num_experts": 3}, "power of two.*got 3"),
    ("dselect_k", {"num_selected": 5}, "from 1 to num_experts=4, got 5"),
    ("ltb", {"warm_up_steps": -1}, "warm_up_steps must not be negative, got -1"),
  ],
)
def test_bad_options_are_named(name, options, message):
  with pytest.raises(ValueError, match=message):
    build(name, **options)
  with pytest.raises(ValueError, match="end must be positive, got 0"):
    cooling(10, end=0)
