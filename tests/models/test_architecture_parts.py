"""The parts of architectures: smooth steps and selectors, stitches, branches; bad options."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmtl import models
from jaxmtl.models.architectures.dselect_k import Selectors, smooth_step
from jaxmtl.models.architectures.ltb import hard_gumbel_softmax

TASKS = ("left", "parity")
BACKBONE = models.create("convnet4", width=2)
IMAGES = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))


def build(name, **options):
  return models.multi_task(name, BACKBONE, {task: nn.Dense(10) for task in TASKS}, **options)


def initialised(name, **options):
  model = build(name, **options)
  return model, jax.jit(model.init)(jax.random.key(0), IMAGES)


def test_smooth_steps_and_their_selectors():
  x = jnp.linspace(-2, 2, 81)
  gamma = 1.5
  inside = -2 / gamma**3 * x**3 + 3 / (2 * gamma) * x + 0.5
  expected = jnp.where(x <= -gamma / 2, 0, jnp.where(x >= gamma / 2, 1, inside))
  np.testing.assert_allclose(smooth_step(x, gamma), expected, atol=1e-6)

  # Bits of both selectors far outside of the step: experts 1 (01) and 2 (10), mixed 1 : 3.
  kernel = {"kernel": jnp.zeros((1, 4)), "bias": jnp.array([9.0, -9.0, -9.0, 9.0])}
  mixture = {"kernel": jnp.zeros((1, 2)), "bias": jnp.log(jnp.array([1.0, 3.0]))}
  params = {"params": {"bits": kernel, "selectors": mixture}}

  @jax.jit
  def run(params):
    return Selectors(4, 2).apply(params, jnp.ones((1, 1)))

  weights, entropy = run(params)
  np.testing.assert_allclose(weights, [[0, 0.25, 0.75, 0]], atol=1e-6)
  assert float(entropy[0]) == 0
  slopes = jax.grad(lambda p: run(p)[1].sum())(params)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
  # In the middle all four experts are as likely: each selector's entropy is log 4.
  params["params"]["bits"]["bias"] = jnp.zeros(4)
  weights, entropy = run(params)
  np.testing.assert_allclose(weights, jnp.full((1, 4), 0.25), atol=1e-6)
  np.testing.assert_allclose(entropy, [2 * np.log(4)], rtol=1e-6)


def test_stitches_of_the_identity_leave_trunks_alone():
  model, variables = initialised("cross_stitch")
  np.testing.assert_allclose(variables["params"]["stitches_1"], 0.8 * jnp.eye(2) + 0.1, rtol=1e-6)
  stitches = {f"stitches_{stage}": jnp.eye(2) for stage in (1, 2, 3)}
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


def test_branches_are_drawn_hard_and_cool_down():
  logits = jnp.log(jnp.array([0.2, 0.5, 0.3]))
  keys = jax.random.split(jax.random.key(0), 4000)
  drawn = jax.jit(jax.vmap(hard_gumbel_softmax, in_axes=(0, None, None)))(keys, logits, 2.0)
  assert set(np.unique(drawn)) == {0, 1}
  assert (drawn.sum(-1) == 1).all()
  np.testing.assert_allclose(drawn.mean(0), [0.2, 0.5, 0.3], atol=0.025)  # 3 deviations
  values = jnp.array([1.0, 2.0, 4.0])
  slope = jax.grad(lambda x: hard_gumbel_softmax(keys[0], x, 2.0) @ values)(logits)
  noisy = logits + jax.random.gumbel(keys[0], (3,))
  np.testing.assert_allclose(slope, jax.grad(lambda x: nn.softmax(x / 2) @ values)(noisy))

  model, variables = initialised("ltb", start_temperature=4.0, end_temperature=1.0, anneal_steps=2)
  branches = jnp.array([[0.0, 1], [1, 0]])
  variables["params"]["branches_1"] = branches

  def weights(module, train):
    return module.temperature(), module.weights(1, train)

  temperatures = []
  for step in range(4):
    variables["batch_stats"]["steps"] = jnp.array(step, jnp.float32)
    temperature, chosen = model.apply(variables, False, method=weights)
    np.testing.assert_array_equal(chosen, branches)  # the largest logit, without a random stream
    temperatures.append(float(temperature))
  np.testing.assert_allclose(temperatures, [4, 2, 1, 1])

  @jax.jit
  def count(given):
    rngs = {"dropout": keys[0]}
    _, updated = model.apply(variables, given, train=True, mutable=["batch_stats"], rngs=rngs)
    return updated["batch_stats"]["steps"]

  both = dict.fromkeys(TASKS, IMAGES)
  for given in (IMAGES, both):  # a step counts once, in both forms
    assert float(count(given)) == 4


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("hsp", {}, "unknown architecture 'hsp'; known: hps"),
    ("mmoe", {"experts": 2}, r"\['experts'\].*takes: on_maps, num_experts"),
    ("mmoe", {"num_experts": 0}, "num_experts must be at least 1, got 0"),
    ("cgc", {"num_own": -1}, "num_own at least 0, got 1 and -1"),
    ("ple", {"num_own": 0}, "num_own must be at least 1, got 0"),
    ("dselect_k", {"num_experts": 3}, "power of two.*got 3"),
    ("dselect_k", {"num_selected": 5}, "from 1 to num_experts=4, got 5"),
    ("ltb", {"end_temperature": 0}, "end_temperature must be positive, got 0"),
  ],
)
def test_bad_options_are_named(name, options, message):
  with pytest.raises(ValueError, match=message):
    build(name, **options)
