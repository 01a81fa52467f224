"""SAM, pseudo-task augmentation and the measure of universality."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.linear_model

import jaxmtl
from jaxmtl import losses, regularization, training


def quadratics(params, model_state, batch, key):
  """Two conflicting losses; the metric says where they were taken."""
  del key
  found = {"a": jnp.sum((params - batch) ** 2), "b": 2 * jnp.sum((params + batch) ** 4)}
  return found, training.Aux({"seen": params}, metrics={"at": params})


def test_sam_takes_gradients_at_the_worst_point_nearby():
  aggregator = jaxmtl.mgda(2)
  params, batch = jnp.array([1.0, -0.5]), jnp.array([0.3, 0.2])
  step = training.train_step(
    regularization.sam(quadratics, radius=0.1), optax.sgd(0.1), 2, aggregator=aggregator
  )
  state, metrics = jax.jit(step.update)(
    step.init(params, jax.random.key(0), {"seen": params}), batch
  )

  @jax.jit
  def by_hand(params):
    losses_fn = lambda p: quadratics(p, None, batch, None)[0]  # noqa: E731
    grad = jax.grad(lambda p: sum(losses_fn(p).values()))(params)
    worst = params + 0.1 * grad / jnp.linalg.norm(grad)
    found, grads = jaxmtl.task_value_and_grad(losses_fn)(worst)
    update, _ = aggregator.update(grads, aggregator.init(params))
    return found, params - 0.1 * update

  found, moved = by_hand(params)
  np.testing.assert_allclose(metrics["losses"], found, rtol=1e-6)
  np.testing.assert_allclose(state.params, moved, rtol=1e-5)
  np.testing.assert_array_equal(state.model_state["seen"], params)


def test_sam_at_a_minimum_stays_there():
  flat = regularization.sam(lambda w: (jnp.stack([jnp.sum(w**2)]), ()))
  grad = jax.grad(lambda w: flat(w)[0].sum())(jnp.zeros(3))
  np.testing.assert_array_equal(grad, 0)


@pytest.fixture(scope="module")
def task():
  rng = np.random.default_rng(0)
  features = rng.normal(size=(40, 3)).astype(np.float32)
  # Noise keeps the best head finite.
  labels = (features[:, 0] + rng.normal(size=40) > 0) + 0 + (rng.random(40) > 0.6)
  return features, labels.astype(np.int32)


def test_pta_gives_every_decoders_loss(task):
  features, labels = task
  heads = {"y": nn.Dense(3)}
  decoders = jax.jit(lambda key: regularization.dummy_heads(key, heads, features, 2))(
    jax.random.key(0)
  )

  @jax.jit
  def both(valid):
    own = [jax.tree.map(lambda leaf, j=j: leaf[j], decoders["y"]) for j in range(2)]
    alone = [losses.cross_entropy(heads["y"].apply(v, features), labels, valid) for v in own]
    given = {"y": valid}
    return regularization.pta(heads, decoders, features, {"y": labels}, masks=given)["y"], alone

  for valid in (np.ones(40, bool), np.arange(40) < 7, np.zeros(40, bool)):
    found, alone = both(valid)
    np.testing.assert_allclose(found, alone, rtol=1e-6)
    assert found.any() == valid.any()


def test_universality_is_the_inverse_gap_to_the_best_head(task):
  features, labels = task
  heads = {"y": nn.Dense(3)}
  make = jax.jit(lambda key: regularization.dummy_heads(key, heads, features, 2))
  dummies = jax.tree.map(np.asarray, make(jax.random.key(1)))
  found = jax.jit(lambda x: regularization.universality(heads, dummies, x, {"y": labels}))(features)
  orders = jnp.array(list(itertools.permutations(range(3))))

  @jax.jit
  def renamed(variables):
    logits = heads["y"].apply(variables, features)
    return jax.vmap(lambda order: losses.cross_entropy(logits, order[labels]))(orders).min()

  arbitrary = [renamed(jax.tree.map(lambda leaf, j=j: leaf[j], dummies["y"])) for j in range(2)]
  fitted = sklearn.linear_model.LogisticRegression(C=1e9, tol=1e-9, max_iter=1000)
  best = fitted.fit(features, labels).predict_proba(features)
  best = -np.log(best[np.arange(40), labels]).mean()
  np.testing.assert_allclose(1 / found["y"], np.array(arbitrary) - best, rtol=1e-3)
