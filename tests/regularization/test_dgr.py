"""DGR: the closed form against autodiff and NumPy, limits, and any method on top."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmtl
from jaxmtl import losses, models, regularization, training

BATCH = 6
# Features, classes: F^T R is cheaper with the first, Gramians with the second.
DIRECT, GRAM = (3, 4), (40, 30)


def draw(heads, features, count=3):
  """Dummies, made in one compiled call."""
  return jax.jit(lambda key: regularization.dummy_heads(key, heads, features, count))(
    jax.random.key(0)
  )


def value_and_grad(heads, dummies, **options):
  """`(features, targets, mask) -> (penalty, gradient for the features)`."""

  def total(features, targets, mask):
    masks = {name: mask for name in heads}
    found = regularization.dgr(
      heads, dummies, features, targets, weight=1.0, masks=masks, **options
    )
    return sum(found.values())

  return jax.value_and_grad(total)


@pytest.mark.parametrize(
  ("shape", "loss_fn"),
  [(GRAM, losses.cross_entropy), (DIRECT, losses.mean_squared_error)],
  ids=["gram", "direct"],
)
def test_the_closed_form_is_autodiff(x64, shape, loss_fn):
  length, classes = shape
  heads = {"a": nn.Dense(classes), "b": nn.Dense(classes, use_bias=False)}
  dummies = draw(heads, jnp.ones((1, length)))
  # Biases start at zero, where their forward pass could go wrong unseen.
  dummies = jax.tree.map(lambda x: np.asarray(x, float) + 0.1 * np.arange(x.shape[-1]), dummies)

  @jax.jit
  def both(*args):
    return [
      value_and_grad(heads, dummies, loss_fns=loss_fn, estimator=estimator)(*args)
      for estimator in ("exact", "autodiff")
    ]

  @settings(max_examples=20, deadline=None)
  @given(st.integers(0, 2**31 - 1), st.floats(-3, 3), st.integers(0, BATCH))
  def check(seed, exponent, valid):
    rng = np.random.default_rng(seed)
    features = 10**exponent * rng.normal(size=(BATCH, length))
    targets = rng.integers(classes, size=BATCH)
    if loss_fn is losses.mean_squared_error:
      targets = rng.normal(size=(BATCH, classes))
    mask = rng.permutation(BATCH) < valid
    given_targets = dict.fromkeys(heads, targets)
    (mine, grad), (other, want) = jax.tree.map(np.asarray, both(features, given_targets, mask))
    np.testing.assert_allclose(mine, other, rtol=1e-9)
    np.testing.assert_allclose(grad, want, rtol=1e-6, atol=1e-9 * np.abs(want).max())

  check()


@pytest.mark.parametrize("shape", [DIRECT, GRAM], ids=["direct", "gram"])
def test_the_formula_in_float32(shape):
  length, classes = shape
  heads = {"a": nn.Dense(classes)}
  features = np.random.default_rng(0).normal(size=(BATCH, length)).astype(np.float32)
  labels = np.arange(BATCH) % classes
  dummies = draw(heads, features, 2)
  of_features = jax.jit(lambda x: regularization.dgr(heads, dummies, x, {"a": labels}, weight=0.5))
  penalty = of_features(features)["a"]
  norms = []
  for j in range(2):
    kernel, bias = (np.asarray(dummies["a"]["params"][k][j], float) for k in ("kernel", "bias"))
    logits = features @ kernel + bias
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    residuals = (p - np.eye(classes)[labels]) / BATCH
    norms.append(np.sqrt(((features.T @ residuals) ** 2).sum() + (residuals.sum(0) ** 2).sum()))
  np.testing.assert_allclose(penalty, 0.5 * np.mean(norms), rtol=1e-6)


@pytest.fixture(scope="module")
def two_layers():
  """Heads of two layers, dummies, features and labels."""
  heads = {
    "a": nn.Sequential([nn.Dense(5), nn.relu, nn.Dense(3)]),
    "b": nn.Dense(2),
  }
  # None at a kink of the heads' ReLU, which finite differences would step across.
  features = np.random.default_rng(0).normal(size=(BATCH, 4)).astype(np.float32)
  dummies = draw(heads, features)
  labels = {"a": np.arange(BATCH) % 3, "b": np.arange(BATCH) % 2, "unused": np.zeros(1)}
  return heads, dummies, features, labels


def test_finite_differences_come_close_and_nobody_else_gets_a_gradient(two_layers):
  heads, dummies, features, labels = two_layers

  def total(features, dummies, estimator):
    return sum(
      regularization.dgr(heads, dummies, features, labels, estimator=estimator, weight=1).values()
    )

  grads = jax.value_and_grad(total, (0, 1))

  @jax.jit
  def both(*args):
    return [grads(*args, estimator) for estimator in ("exact", "finite_difference")]

  (exact, (of_features, of_dummies)), (near, (by_differences, _)) = jax.tree.map(
    np.asarray, both(features, dummies)
  )
  np.testing.assert_allclose(near, exact, rtol=1e-6)
  error = np.linalg.norm(by_differences - of_features) / np.linalg.norm(of_features)
  assert 0 < error < 2e-2
  assert all(not leaf.any() for leaf in jax.tree.leaves(of_dummies))


def test_weights_and_numbers_of_dummies_under_one_vmap(two_layers):
  heads, dummies, features, labels = two_layers
  counts, weights = jnp.array([1, 2, 3]), jnp.array([1.0, 0.1, 2.0])

  @jax.jit
  @jax.vmap
  def sweep(weight, count):
    return regularization.dgr(heads, dummies, features, labels, weight=weight, num_used=count)

  @jax.jit
  def one_by_one():
    parts = [jax.tree.map(lambda leaf, n=n: leaf[:n], dummies) for n in (1, 2, 3)]
    return [
      regularization.dgr(heads, first, features, labels, weight=weight)
      for first, weight in zip(parts, weights, strict=True)
    ]

  found = sweep(weights, counts)
  for i, alone in enumerate(one_by_one()):
    for task in heads:
      np.testing.assert_allclose(found[task][i], alone[task], rtol=1e-5)


def test_bfloat16_features(two_layers):
  heads, dummies, features, labels = two_layers
  step = jax.jit(value_and_grad(heads, dummies))
  valid = jnp.ones(BATCH, bool)
  value, grad = step(features.astype(jnp.bfloat16), labels, valid)
  wide, wide_grad = step(features.astype(jnp.bfloat16).astype(np.float32), labels, valid)
  assert (value.dtype, grad.dtype) == (jnp.float32, jnp.bfloat16)
  np.testing.assert_allclose(value, wide, rtol=1e-6)
  np.testing.assert_allclose(grad.astype(jnp.float32), wide_grad, rtol=1e-2)


@pytest.mark.parametrize("estimator", ["exact", "finite_difference"])
def test_zero_huge_and_tiny_gradients_stay_finite(estimator):
  heads = {"a": nn.Dense(2, use_bias=False)}
  features = np.random.default_rng(1).normal(size=(BATCH, 3)).astype(np.float32)
  dummies = draw(heads, features)
  step = jax.jit(
    value_and_grad(heads, dummies, loss_fns=losses.mean_squared_error, estimator=estimator)
  )
  # All dummies are right with features of zero; nothing is valid.
  ones = np.ones((BATCH, 2), np.float32)
  right, unknown = {"a": 0 * ones}, {"a": np.nan * ones}
  for x, y, mask in ((0 * features, right, True), (features, unknown, False)):
    value, grad = step(x, y, np.full(BATCH, mask))
    assert value == 0
    assert not grad.any()
  small, unit, large = (
    step(s * features, {"a": s * ones}, np.full(BATCH, True))[0]
    for s in np.float32([1e-15, 1, 1e15])
  )
  found = [float(small) * 1e30, float(large) / 1e30]
  np.testing.assert_allclose(found, [unit, unit], rtol=1e-4)
  half = np.arange(BATCH) < 3
  mixed = {"a": np.where(half[:, None], ones, np.float32(np.nan))}
  value, grad = map(np.asarray, step(features, mixed, half))
  assert np.isfinite(grad).all()
  np.testing.assert_array_equal(grad[3:], 0)
  assert value > 0


class Encoder(nn.Module):
  """One layer."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.tanh(nn.Dense(4)(x))


def test_any_method_on_top_and_heads_learn_as_without():
  aggregator = jaxmtl.mgda(2)
  heads = {"a": nn.Dense(3), "b": nn.Dense(2)}
  model = models.MultiHead(Encoder(), heads)
  batch = {"x": np.random.default_rng(2).normal(size=(BATCH, 5)).astype(np.float32)}
  batch |= {"a": np.arange(BATCH) % 3, "b": np.arange(BATCH) % 2}
  params = jax.jit(model.init)(jax.random.key(0), batch["x"])["params"]
  dummies = draw(heads, jnp.ones((1, 4)))

  def losses_fn(params, model_state, batch, key):
    features = model.apply({"params": params}, batch["x"], method="encode")
    outputs = model.apply({"params": params}, features, method="decode")
    penalties = regularization.dgr(
      heads, model_state["dummies"], features, batch, weight=model_state["weight"]
    )
    found = {t: losses.cross_entropy(outputs[t], batch[t]) + penalties[t] for t in heads}
    return found, training.Aux(model_state)

  step = training.train_step(
    losses_fn, optax.sgd(1.0), 2, aggregator=aggregator, shared=models.shared_mask
  )
  update = jax.jit(step.update)
  after = {}
  for weight in (0.0, 0.3):
    state = step.init(params, jax.random.key(0), {"dummies": dummies, "weight": weight})
    after[weight], _ = update(state, batch)
    kept = zip(*map(jax.tree.leaves, (after[weight].model_state["dummies"], dummies)), strict=True)
    assert all(np.array_equal(mine, drawn) for mine, drawn in kept)
  for task in heads:
    mine, other = (after[w].params[f"heads_{task}"]["kernel"] for w in (0.3, 0.0))
    np.testing.assert_allclose(mine, other, atol=1e-7)
  # The encoder's update is that of the plain transform on explicit gradients of penalised losses.
  constants = {"dummies": dummies, "weight": 0.3}

  def explicit(backbone):
    return losses_fn({**params, "backbone": backbone}, constants, batch, None)[0]

  @jax.jit
  def by_hand(backbone):
    _, grads = jaxmtl.task_value_and_grad(explicit)(backbone)
    update, _ = aggregator.update(grads, aggregator.init(backbone))
    return jax.tree.map(lambda p, u: p - u, backbone, update)

  expected = by_hand(params["backbone"])
  for mine, want in zip(
    *map(jax.tree.leaves, (after[0.3].params["backbone"], expected)), strict=True
  ):
    np.testing.assert_allclose(mine, want, atol=1e-5)
  moved, other = (np.asarray(after[w].params["backbone"]["Dense_0"]["kernel"]) for w in (0.3, 0.0))
  assert np.abs(moved - other).max() > 1e-3


def test_what_does_not_fit_is_named(two_layers):
  heads, dummies, features, labels = two_layers
  with pytest.raises(ValueError, match="num_dummies must be at least 1, got 0"):
    regularization.dummy_heads(jax.random.key(0), heads, features, 0)
  with pytest.raises(ValueError, match="heads is empty"):
    regularization.dummy_heads(jax.random.key(0), {}, features)
  with pytest.raises(ValueError, match=r"estimator must be one of exact, .* got 'fast'"):
    regularization.dgr(heads, dummies, features, labels, estimator="fast")
  with pytest.raises(ValueError, match="epsilon must be positive, got 0"):
    regularization.dgr(heads, dummies, features, labels, epsilon=0)
  with pytest.raises(ValueError, match=r"targets has nothing for task 'b'; it has \['a'\]"):
    regularization.dgr(heads, dummies, features, {"a": labels["a"]})
