"""Options that change in training, and weights that a loop can read."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl.training import Aux, train_step

GRADS = jnp.asarray(np.random.default_rng(0).normal(size=(3, 7)), jnp.float32)
LOSSES = jnp.array([3.0, 1.0, 0.5])


def square(params, model_state, batch, key):
  return jnp.array([1.0, 2.0, 3.0]) * ((params - batch) ** 2).sum(), Aux()


def test_a_schedule_moves_an_option_in_a_train_step():
  weights = lambda step: jnp.array([1.0, 0.0, 0.0]) + step * jnp.array([0.0, 1.0, 0.0])  # noqa: E731
  weighting = jaxmtl.inject_hyperparams(jaxmtl.constant)(3, weights=weights)
  step = train_step(square, optax.sgd(0.0), 3, weighting=weighting)
  state, update = step.init(jnp.ones(2), jax.random.key(0)), jax.jit(step.update)
  for now in range(3):
    state, metrics = update(state, jnp.zeros(2))
    assert metrics["weights"].tolist() == [1.0, now, 0.0]


def test_a_sweep_under_vmap_is_the_runs_one_by_one():
  make = jaxmtl.inject_hyperparams(jaxmtl.cagrad)
  step = train_step(square, optax.sgd(0.1), 3, aggregator=make(3, c=0.5))
  state = step.init(jnp.ones(2), jax.random.key(0))
  radii = jnp.array([0.0, 0.4, 0.8])

  def run(c):
    start = state.aggregator._replace(hyperparams={**state.aggregator.hyperparams, "c": c})
    return step.update(state.replace(aggregator=start), jnp.zeros(2))[0].params

  together = jax.jit(jax.vmap(run))(radii)
  for c, found in zip(radii, together, strict=True):
    alone = train_step(square, optax.sgd(0.1), 3, aggregator=jaxmtl.cagrad(3, c=float(c)))
    want, _ = jax.jit(alone.update)(alone.init(jnp.ones(2), jax.random.key(0)), jnp.zeros(2))
    np.testing.assert_allclose(found, want.params, rtol=1e-5)


@pytest.mark.parametrize(
  ("make", "options"),
  [
    (jaxmtl.famo, {"learning_rate": 0.1}),  # revises
    (jaxmtl.uncertainty, {"init": -0.5}),  # learns by the step's optimiser
    (jaxmtl.gradnorm, {"alpha": 1.0}),  # needs the Gramian
    (jaxmtl.auto_lambda, {"primary": (0,)}),  # looks ahead
    (jaxmtl.fairgrad, {"alpha": 1.5}),  # weighs heads
    (jaxmtl.modo, {"gamma": 0.2}),  # two batches
    (jaxmtl.metabalance, {}),  # elementwise
  ],
)
def test_fixed_options_change_nothing(make, options):
  found = []
  for method in (make(3, **options), jaxmtl.inject_hyperparams(make)(3, **options)):
    kind = "weighting" if isinstance(method, jaxmtl.weighting.Weighting) else "aggregator"
    step = train_step(square, optax.adam(0.1, eps_root=1e-8), 3, **{kind: method})
    state, update = step.init(jnp.ones(2), jax.random.key(0)), jax.jit(step.update)
    batch = jnp.zeros(2)
    for _ in range(2):
      state, _ = update(state, (batch, batch + 0.1) if step.pairs else batch)
    found.append(state.params)
  np.testing.assert_allclose(*found, rtol=1e-6)


def test_optaxs_own_is_refused_by_a_train_step():
  wrapped = optax.inject_hyperparams(jaxmtl.cagrad, static_args=("num_tasks", "rescale"))(3)
  with pytest.raises(TypeError, match=r"aggregator must be one of .* jaxmtl.inject_hyperparams"):
    train_step(square, optax.sgd(0.1), 3, aggregator=wrapped)
  with pytest.raises(TypeError, match="weighting must be one of"):
    train_step(square, optax.sgd(0.1), 3, weighting=optax.sgd(0.1))


@pytest.mark.parametrize("name", ["rlw", "cosmos", "mgda", "pcgrad", "nash_mtl"])
def test_watched_weights_are_those_of_the_update(name):
  method = jaxmtl.watch(getattr(jaxmtl, name)(3))
  state = method.init(jnp.zeros(7))
  out, state = jax.jit(lambda g, s: method.update(g, s, losses=LOSSES))(GRADS * 1e-12, state)
  weights = optax.tree.get(state, "weights")
  assert jnp.any(weights != 0)
  want = weights[:, None] * GRADS if out.ndim == 2 else weights @ GRADS
  np.testing.assert_allclose(out * 1e12, want, rtol=1e-4, atol=1e-5)


def test_what_has_no_weights_is_not_watched():
  with pytest.raises(TypeError, match="have no weights"):
    jaxmtl.watch(jaxmtl.graddrop(3))


def test_a_third_batch_gives_the_direction_of_heads_too():
  tx = jaxmtl.heads_apart(jaxmtl.modo(3, gamma=0.0), lambda p: {"trunk": True, "head": False})
  one = {"trunk": GRADS, "head": 2 * GRADS}
  third = jax.tree.map(lambda g: 10 * g, one)
  params = jax.tree.map(lambda g: g[0], one)
  out, _ = tx.update(one, tx.init(params), params, second_gradients=one, third_gradients=third)
  np.testing.assert_allclose(out["trunk"], 10 * GRADS.mean(0), rtol=1e-5)
  np.testing.assert_allclose(out["head"], 20 * GRADS.sum(0), rtol=1e-5)
