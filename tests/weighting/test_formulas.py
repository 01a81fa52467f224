"""Each weighting against its formula in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl


def run(weighting, losses, masks=None):
  """Weights `[steps, T]` of a history of losses."""
  state, weigh, out = weighting.init(None), jax.jit(weighting.weigh), []
  masks = np.ones(losses.shape, bool) if masks is None else masks
  for row, mask in zip(losses, masks, strict=True):
    weights, state = weigh(jnp.asarray(row), state, jnp.asarray(mask))
    out.append(np.asarray(weights))
  return np.stack(out), state


def softmax(x):
  e = np.exp(x - x.max())
  return e / e.sum()


@pytest.mark.parametrize(("steps_per_epoch", "temperature"), [(1, 2.0), (3, 2.0), (2, 0.5)])
def test_dwa_compares_epoch_means(steps_per_epoch, temperature):
  losses = np.random.default_rng(0).uniform(0.5, 2, (4 * steps_per_epoch + 1, 3))
  got, _ = run(jaxmtl.dwa(3, temperature, steps_per_epoch), losses)
  for step in range(len(losses)):
    epoch = step // steps_per_epoch
    if epoch < 2:
      want = np.ones(3)
    else:
      epochs = losses[: epoch * steps_per_epoch].reshape(epoch, steps_per_epoch, 3).mean(1)
      want = 3 * softmax(epochs[-1] / epochs[-2] / temperature)
    np.testing.assert_allclose(got[step], want, rtol=1e-5)


def test_dwa_means_only_steps_with_labels():
  losses = np.array([[1.0, 4], [3, 9], [2, 2], [2, 9], [1, 1]])
  masks = np.array([[1, 1], [1, 0], [1, 1], [1, 0], [1, 1]], bool)
  got, _ = run(jaxmtl.dwa(2, steps_per_epoch=2), losses, masks)
  np.testing.assert_allclose(got[-1], 2 * softmax(np.array([2 / 2, 2 / 4]) / 2), rtol=1e-5)


def test_dwa_has_no_ratio_before_a_task_has_two_epochs():
  losses = np.full((3, 2), 50.0)
  masks = np.array([[1, 0], [1, 1], [1, 1]], bool)  # the second task comes an epoch later
  np.testing.assert_allclose(run(jaxmtl.dwa(2), losses, masks)[0][-1], 1.0, rtol=1e-6)


def test_uncertainty_descends_its_objective():
  losses = np.random.default_rng(1).uniform(0.5, 2, (6, 3))
  got, state = run(jaxmtl.uncertainty(3), losses)
  s, momentum = np.full(3, -0.7), np.zeros(3)
  for step, row in enumerate(losses):
    np.testing.assert_allclose(got[step], 1 / (2 * np.exp(s)), rtol=1e-5)
    momentum = 0.9 * momentum + 0.5 - row / (2 * np.exp(s))
    s = s - 0.1 * momentum
  np.testing.assert_allclose(state.log_variances, s, rtol=1e-5)


def test_uncertainty_settles_where_the_variance_is_the_loss():
  losses = np.tile([[0.5, 3.0]], (300, 1))
  _, state = run(jaxmtl.uncertainty(2, optimizer=optax.sgd(0.2)), losses)
  np.testing.assert_allclose(np.exp(state.log_variances), losses[0], rtol=1e-3)


def test_uncertainty_keeps_a_task_without_labels():
  losses, masks = np.ones((3, 2)), np.array([[True, False]] * 3)
  _, state = run(jaxmtl.uncertainty(2), losses, masks)
  assert state.log_variances[1] == np.float32(-0.7)
  assert state.log_variances[0] != np.float32(-0.7)


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_rlw_sums_to_the_tasks_with_labels(distribution):
  weighting = jaxmtl.rlw(4, 0, distribution)
  masks = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0]], bool)
  weights, _ = run(weighting, np.ones((3, 4)), masks)
  np.testing.assert_allclose(weights.sum(1), masks.sum(1), rtol=1e-5)
  np.testing.assert_array_equal(weights[~masks], 0)


def draws(distribution):
  weighting = jaxmtl.rlw(3, 0, distribution)
  step = lambda state, _: weighting.weigh(jnp.ones(3), state)[::-1]  # noqa: E731
  return np.asarray(jax.jit(lambda s: jax.lax.scan(step, s, None, 4000)[1])(weighting.init(None)))


def test_rlw_dirichlet_has_the_moments_of_its_distribution():
  shares = draws("dirichlet") / 3
  np.testing.assert_allclose(shares.mean(0), 1 / 3, atol=0.02)
  np.testing.assert_allclose(shares.var(0), 2 / 36, atol=0.005)  # (1/3)(2/3)/4


def test_rlw_normal_has_normal_logits():
  logs = np.log(draws("normal"))
  differences = logs[:, 0] - logs[:, 1]  # of two normals: variance 2
  assert abs(differences.mean()) < 0.1
  np.testing.assert_allclose(differences.var(), 2, atol=0.15)


def test_seeds_of_rlw_differ_and_repeat():
  losses = np.ones((2, 3))
  first, again, other = (run(jaxmtl.rlw(3, seed), losses)[0] for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert not np.allclose(first, other)
  assert not np.allclose(first[0], first[1])


def test_options_are_checked():
  with pytest.raises(ValueError, match="temperature must be positive, got 0"):
    jaxmtl.dwa(2, temperature=0)
  with pytest.raises(ValueError, match="steps_per_epoch must be at least 1, got 0"):
    jaxmtl.dwa(2, steps_per_epoch=0)
  with pytest.raises(ValueError, match=r"distribution must be .* got 'uniform'"):
    jaxmtl.rlw(2, distribution="uniform")
  for weights in ((1.0,), (1.0, -1.0), (1.0, float("nan"))):
    with pytest.raises(ValueError, match="weights must hold 2 finite numbers"):
      jaxmtl.constant(2, weights)
