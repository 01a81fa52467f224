import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmtl import losses

ELEMENTWISE = (losses.binary_cross_entropy, losses.smooth_l1, losses.mean_squared_error)


def _cross_entropy(outputs, targets, mask=None):
  """Give cross-entropy the signature of the others: targets' first column is the class."""
  labels = jnp.where(jnp.isnan(targets[..., 0]), -1, targets[..., 0] * 2).astype(jnp.int32)
  return losses.cross_entropy(outputs, labels, mask)


ALL = (_cross_entropy, *ELEMENTWISE)


@functools.cache
def _value_and_grad(loss):
  """Compile once for all examples of a property test."""
  return jax.jit(jax.value_and_grad(loss))


def _batch(seed=0, batch=6, width=5):
  rng = np.random.default_rng(seed)
  outputs = 3 * rng.normal(size=(batch, width)).astype(np.float32)
  return outputs, rng.integers(0, 2, (batch, width)).astype(np.float32)


@pytest.mark.parametrize("loss", ALL)
@settings(max_examples=15, deadline=None)
@given(mask=st.permutations([True] * 2 + [False] * 4), seed=st.integers(0, 99))
def test_masked_loss_is_the_loss_of_the_kept_rows(loss, mask, seed):
  outputs, targets = _batch(seed)
  kept = np.array(mask)
  value, gradient = map(np.asarray, _value_and_grad(loss)(outputs, targets, kept))
  alone, alone_gradient = _value_and_grad(loss)(outputs[kept], targets[kept])
  np.testing.assert_allclose(value, alone, rtol=1e-5)
  np.testing.assert_allclose(gradient[kept], alone_gradient, rtol=1e-4, atol=1e-7)
  np.testing.assert_array_equal(gradient[~kept], 0)


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("junk", [np.nan, np.inf, -1e30])
def test_masked_rows_may_hold_anything(loss, junk):
  outputs, targets = _batch()
  mask = np.array([True, False, True, True, False, True])
  spoiled = np.where(mask[:, None], outputs, np.float32(junk))
  bad_targets = np.where(mask[:, None], targets, np.float32(np.nan))
  value, gradient = _value_and_grad(loss)(spoiled, bad_targets, mask)
  np.testing.assert_allclose(value, _value_and_grad(loss)(outputs, targets, mask)[0], rtol=1e-6)
  assert np.isfinite(gradient).all()
  np.testing.assert_array_equal(gradient[~mask], 0)


@pytest.mark.parametrize("loss", ALL)
def test_nothing_valid_gives_exact_zeros(loss):
  outputs = targets = np.full((3, 4), np.nan, np.float32)
  for mask in (np.zeros(3, bool), np.zeros(3, np.float32), np.zeros(3, np.int32)):
    value, gradient = _value_and_grad(loss)(outputs, targets, mask)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("loss", ALL)
def test_bfloat16_accumulates_in_float32(loss):
  outputs, targets = _batch(batch=64, width=512)
  outputs = outputs.astype(jnp.bfloat16)
  value, gradient = _value_and_grad(loss)(outputs, targets)
  assert value.dtype == jnp.float32
  assert gradient.dtype == jnp.bfloat16
  wide, _ = _value_and_grad(loss)(outputs.astype(np.float32), targets)
  np.testing.assert_allclose(value, wide, rtol=1e-6)


@pytest.mark.parametrize("loss", ALL)
def test_float64_stays_float64(loss):
  with jax.enable_x64(True):
    outputs = jax.ShapeDtypeStruct((6, 5), jnp.float64)
    assert jax.eval_shape(loss, outputs, outputs).dtype == jnp.float64


def test_values():
  z, t = np.float32([0.5, -2.0]), np.float32([1.0, 0.25])
  p = 1 / (1 + np.exp(-z))

  @jax.jit
  def found():
    errors = jnp.array([0.0, 0.5, -1.0, 4.0])
    return (
      losses.binary_cross_entropy(z, t),
      losses.cross_entropy(jnp.array([[1.0, 2.0, 3.0]]), jnp.array([2])),
      losses.smooth_l1(errors, jnp.zeros(4), beta=2.0),
      losses.mean_squared_error(errors, jnp.zeros(4)),
    )

  of_bits = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
  want = [of_bits, 0.40760597, (0 + 0.0625 + 0.25 + 3.0) / 4, 17.25 / 4]
  np.testing.assert_allclose(found(), want, rtol=1e-6)


def test_binary_cross_entropy_is_stable():
  logits, targets = np.float32([[1e4, -1e4]]), np.float32([[0.0, 1.0]])
  run = _value_and_grad(losses.binary_cross_entropy)
  value, gradient = run(logits, targets)
  np.testing.assert_allclose(value, 1e4)
  np.testing.assert_allclose(gradient, [[0.5, -0.5]])
  assert run(-logits, targets)[0] == 0


def test_dense_prediction_and_element_masks():
  logits = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype(np.float32)
  labels = np.zeros((2, 3, 3), np.int32)
  labels[0, 0] = -1
  kept = labels >= 0
  outputs, targets = _batch()
  mask = targets > 0

  @jax.jit
  def found():
    return (
      losses.cross_entropy(logits, labels, kept),
      losses.cross_entropy(logits[kept], labels[kept]),
      losses.mean_squared_error(outputs, targets, mask),
    )

  value, alone, masked = found()
  np.testing.assert_allclose(value, alone, rtol=1e-6)
  np.testing.assert_allclose(masked, np.square(outputs - targets)[mask].mean(), rtol=1e-6)


@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_shape_errors(loss):
  with pytest.raises(ValueError, match=r"targets must have the shape of .*\(4, 1\), got \(4,\)"):
    loss(jnp.zeros((4, 1)), jnp.zeros(4))
  with pytest.raises(ValueError, match=r"mask must cover the leading axes .* got shape \(3,\)"):
    loss(jnp.zeros((4, 2)), jnp.zeros((4, 2)), jnp.ones(3))


def test_cross_entropy_and_beta_errors():
  with pytest.raises(TypeError, match="labels must be integer"):
    losses.cross_entropy(jnp.zeros((4, 3)), jnp.zeros(4))
  with pytest.raises(ValueError, match=r"labels must have the shape .* got \(3,\)"):
    losses.cross_entropy(jnp.zeros((4, 3)), jnp.zeros(3, int))
  with pytest.raises(ValueError, match="mask must cover"):
    losses.cross_entropy(jnp.zeros((4, 3)), jnp.zeros(4, int), jnp.ones((4, 3)))
  with pytest.raises(ValueError, match="beta must be positive"):
    losses.smooth_l1(jnp.zeros(3), jnp.zeros(3), beta=0.0)


@pytest.mark.parametrize("loss", ALL)
def test_weights_are_repetitions_and_a_mask_is_weights_of_zero_and_one(loss):
  outputs, targets = _batch(batch=4)
  options = {} if loss is _cross_entropy else {"weights": np.array([2, 0, 1, 3])}
  if options:
    rows = [0, 0, 2, 3, 3, 3]
    run = jax.jit(lambda: (loss(outputs, targets, **options), loss(outputs[rows], targets[rows])))
    np.testing.assert_allclose(*run(), rtol=1e-6)
  # Numbers that are not known cannot be refused: they count as weights, which agree on 0 and 1.
  mask = np.array([1.0, 0.0, 1.0, 1.0], np.float32)
  found = _value_and_grad(loss)(outputs, targets, mask)
  for a, b in zip(found, _value_and_grad(loss)(outputs, targets, mask > 0), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_class_weights_and_smoothing_are_those_of_the_formula():
  rng = np.random.default_rng(1)
  logits, labels = rng.normal(size=(7, 4)).astype(np.float32), rng.integers(0, 4, 7)
  c, u = np.array([1.0, 0.5, 0.0, 2.0]), rng.uniform(0, 2, 7)
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  of_label = -log_p[np.arange(7), labels]
  for smoothing in (0.0, 0.2):
    each = (1 - smoothing) * c[labels] * of_label - smoothing / 4 * (c * log_p).sum(-1)
    run = jax.jit(functools.partial(losses.cross_entropy, label_smoothing=smoothing))
    np.testing.assert_allclose(
      run(logits, labels, weights=u, class_weights=c),
      (u * each).sum() / (u * c[labels]).sum(),
      rtol=1e-5,
    )
    np.testing.assert_allclose(
      run(logits, labels),
      ((1 - smoothing) * of_label - smoothing * log_p.mean(-1)).mean(),
      rtol=1e-5,
    )


def test_pos_weight_and_smoothing_of_bits():
  logits, targets = _batch()
  p = np.array([1.0, 3.0, 0.5, 0.0, 2.0])
  soft = 0.9 * targets + 0.05
  log_sigmoid = lambda z: -np.logaddexp(0, -z)  # noqa: E731
  want = -(p * soft * log_sigmoid(logits) + (1 - soft) * log_sigmoid(-logits)).mean()

  @jax.jit
  def run():
    return (
      losses.binary_cross_entropy(logits, targets, pos_weight=p, label_smoothing=0.1),
      losses.binary_cross_entropy(logits, targets, pos_weight=1),
      losses.binary_cross_entropy(logits, targets),
    )

  found, one, plain = run()
  np.testing.assert_allclose(found, want, rtol=1e-5)
  np.testing.assert_allclose(one, plain, rtol=1e-6)


@pytest.mark.parametrize(
  ("loss", "bad", "message"),
  [
    (losses.cross_entropy, -1, r"labels must be classes from 0 to 2.* got -1 \(1 of 3\)"),
    (losses.cross_entropy, 255, r"labels must be classes from 0 to 2.* got 255"),
    (losses.binary_cross_entropy, 255, r"targets must be probabilities.* got 255"),
    (losses.binary_cross_entropy, np.nan, r"targets must be probabilities.* got nan"),
    (losses.mean_squared_error, np.nan, r"targets must be finite.* got nan"),
    (losses.smooth_l1, np.inf, r"targets must be finite.* got inf"),
  ],
)
def test_a_label_that_is_none_raises_or_takes_no_part(loss, bad, message):
  outputs = np.float32([[0.3, 2.0, -1.0], [1.0, 0.0, 0.5], [-0.5, 0.2, 0.0]])
  if loss is not losses.cross_entropy:
    outputs = outputs[:, 0]
  targets = np.array([1, 0, bad], np.int32 if loss is losses.cross_entropy else np.float32)
  with pytest.raises(ValueError, match=message):
    loss(outputs, targets)
  want = loss(outputs[:2], targets[:2])
  value, gradient = map(np.asarray, _value_and_grad(loss)(outputs, targets))
  np.testing.assert_allclose(value, want, rtol=1e-6)
  np.testing.assert_array_equal(gradient[2], 0)
  ignoring = jax.jit(lambda: loss(outputs, targets, ignore=bad))
  np.testing.assert_allclose(ignoring(), want, rtol=1e-6)
  # A mask that is not known, over labels that are.
  known = jax.jit(lambda mask: loss(outputs, targets, mask))
  np.testing.assert_allclose(known(np.array([True, True, True])), want, rtol=1e-6)
  assert known(np.zeros(3, bool)) == 0


def test_unsigned_labels_and_how_many_are_none():
  labels = np.array([[0, 255], [2, 7]], np.uint8)
  logits = np.random.default_rng(0).normal(size=(2, 2, 3)).astype(np.float32)
  counted = jax.jit(lambda x: losses.count_invalid(x, 3, ignore=255))
  assert counted(labels) == 1
  assert losses.count_invalid(labels, 3, mask=np.array([True, False])) == 1
  # None of 8 bits is -1: 255 is another label.
  assert losses.count_invalid(labels, 3, ignore=-1) == 2

  @jax.jit
  def both(x):
    want = losses.cross_entropy(logits[:, 0], np.array([0, 2]))
    return losses.cross_entropy(logits, x, ignore=255), want

  np.testing.assert_allclose(*both(labels), rtol=1e-6)


def test_option_errors():
  logits, labels = jnp.zeros((3, 2)), jnp.zeros(3, int)
  with pytest.raises(ValueError, match=r"mask must be bool or 0 and 1, got 0.5; .*weights="):
    losses.cross_entropy(logits, labels, jnp.array([1.0, 0.5, 2.0]))
  with pytest.raises(ValueError, match="weights must be finite and not negative, got -1"):
    losses.cross_entropy(logits, labels, weights=jnp.array([1.0, -1.0, 2.0]))
  with pytest.raises(ValueError, match=r"class_weights must hold one number a class, 2, got .*3"):
    losses.cross_entropy(logits, labels, class_weights=jnp.ones(3))
  with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1, got 1"):
    losses.binary_cross_entropy(logits, logits, label_smoothing=1.5)
  with pytest.raises(ValueError, match="pos_weight must be finite and not negative, got nan"):
    losses.binary_cross_entropy(logits, logits, pos_weight=jnp.nan)
  with pytest.raises(ValueError, match="weights must cover the leading axes"):
    losses.mean_squared_error(logits, logits, weights=jnp.ones(2))
  with pytest.raises(ValueError, match=r"valid must be bool or 0 and 1, got 0.5"):
    losses.pixel_l1(logits, logits, jnp.array([1.0, 0.5, 2.0]))


def test_soft_labels_are_probabilities():
  with pytest.raises(ValueError, match=r"soft_labels must be probabilities, .* got 5"):
    losses.focal(jnp.zeros(3), jnp.array([5.0, -3.0, 0.0]))
  with pytest.raises(ValueError, match=r"labels must be probabilities, .* got nan"):
    losses.label_entropy(jnp.array([[jnp.nan, 1.0]]))
