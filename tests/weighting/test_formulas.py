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
  got, state = run(jaxmtl.uncertainty(3, optimizer=optax.sgd(0.1, momentum=0.9)), losses)
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


class Adam:
  """Adam on a vector, step by step."""

  def __init__(self, size, rate):
    self.first, self.second, self.count, self.rate = np.zeros(size), np.zeros(size), 0, rate

  def step(self, gradient):
    self.count += 1
    self.first = 0.9 * self.first + 0.1 * gradient
    self.second = 0.999 * self.second + 0.001 * gradient**2
    mean, square = self.first / (1 - 0.9**self.count), self.second / (1 - 0.999**self.count)
    return -self.rate * mean / (np.sqrt(square) + 1e-8)


def softmax_pullback(shares, cotangent):
  return shares * (cotangent - shares @ cotangent)


def test_gls_descends_the_geometric_mean():
  losses = np.random.default_rng(2).uniform(0.5, 2, (3, 4)).astype(np.float32)
  got, _ = run(jaxmtl.gls(4), losses)
  want = jax.vmap(jax.grad(lambda row: jnp.prod(row) ** 0.25))(losses)
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_gls_leaves_out_losses_that_are_not_positive():
  losses = np.array([[1.0, 0, 3], [1, 2, 3], [1, -1, 3], [1, -1, 3]])
  masks = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 0, 1]], bool)
  got, state = run(jaxmtl.gls(3), losses, masks)
  assert state.rejected.tolist() == [0, 2, 0]
  rest, _ = run(jaxmtl.gls(2), losses[:, [0, 2]])
  np.testing.assert_allclose(got[[0, 2, 3]][:, [0, 2]], rest[[0, 2, 3]], rtol=1e-6)
  np.testing.assert_array_equal(got[[0, 2, 3], 1], 0)


def test_gls_raises_where_it_sees_the_losses():
  weighting = jaxmtl.gls(3)
  losses, state = jnp.array([1.0, -2.0, 1.0]), weighting.init(None)
  with pytest.raises(ValueError, match=r"losses\[1\] is -2.0 but must be positive"):
    weighting.weigh(losses, state)
  assert np.all(np.isfinite(weighting.weigh(losses, state, jnp.array([True, False, True]))[0]))
  assert np.isnan(weighting.weigh(losses.at[1].set(jnp.nan), state)[0]).tolist() == [
    False,
    True,
    False,
  ]


def test_imtl_l_descends_its_objective():
  losses = np.random.default_rng(3).uniform(0.5, 2, (6, 3))
  got, state = run(jaxmtl.imtl_l(3, optax.sgd(0.1, momentum=0.9)), losses)
  s, momentum = np.zeros(3), np.zeros(3)
  for step, row in enumerate(losses):
    np.testing.assert_allclose(got[step], np.exp(s), rtol=1e-5)
    momentum = 0.9 * momentum + np.exp(s) * row - 1
    s = s - 0.1 * momentum
  np.testing.assert_allclose(state.log_weights, s, rtol=1e-5)


@pytest.mark.parametrize("factory", [jaxmtl.imtl_l, jaxmtl.uncertainty])
def test_a_learned_weight_goes_on_where_the_labels_do(factory):
  """Steps without labels are as if they had not been, momentum and Adam's clock included."""
  losses = np.random.default_rng(4).uniform(0.5, 2, (8, 2))
  masks = np.array([[1, t % 3 == 0] for t in range(8)], bool)
  weighting = factory(2, optimizer=optax.adam(0.1))
  got, _ = run(weighting, losses, masks)
  want, _ = run(weighting, losses[masks[:, 1]])
  np.testing.assert_allclose(got[masks[:, 1], 1], want[:, 1], rtol=1e-6)


def test_stch_descends_the_smooth_maximum():
  mu, reference, preference = 0.3, np.array([0.1, 0.2, 0.0]), np.array([0.2, 0.5, 0.4])
  losses = np.random.default_rng(5).uniform(0.5, 2, (3, 3)).astype(np.float32)
  objective = lambda x: mu * jax.nn.logsumexp(preference * (x - reference) / mu)  # noqa: E731
  got, _ = run(jaxmtl.stch(3, mu, reference, preference), losses)
  np.testing.assert_allclose(got, jax.vmap(jax.grad(objective))(losses), rtol=1e-5)
  largest, _ = run(jaxmtl.stch(3, 1e-4), losses)
  np.testing.assert_allclose(largest, np.eye(3)[losses.argmax(1)] / 3, atol=1e-6)


def test_stch_keeps_the_sum_of_the_preferences_of_tasks_with_labels():
  losses, masks = np.array([[1.0, 2, 3]]), np.array([[True, False, True]])
  got, _ = run(jaxmtl.stch(3, 0.3, preference=[0.2, 0.5, 0.4]), losses, masks)
  rest = np.array([0.2, 0.4]) * 1.1 / 0.6
  want, _ = run(jaxmtl.stch(2, 0.3, preference=rest), losses[:, [0, 2]])
  np.testing.assert_allclose(got[:, [0, 2]], want, rtol=1e-5)
  none, _ = run(jaxmtl.stch(3, 0.3, preference=[0, 1, 0]), losses, masks)
  np.testing.assert_array_equal(none, 0)


def famo_in_numpy(before, after, minimum):
  """Weights and logits of FAMO, whose parameters' steps took the losses from before to after."""
  logits, adam, out = np.zeros(before.shape[1]), Adam(before.shape[1], 0.025), []
  for old, new in zip(before, after, strict=True):
    shares, gap = softmax(logits), np.maximum(old - minimum, 0) + 1e-8
    out.append(shares / gap / np.sum(shares / gap))
    fell = np.log(gap) - np.log(np.maximum(new - minimum, 0) + 1e-8)
    logits = logits + adam.step(softmax_pullback(shares, fell) + 1e-3 * logits)
  return np.stack(out), logits


@pytest.mark.parametrize("minimum", [0.0, 0.8])  # some losses lie below the second
def test_famo_learns_from_the_losses_after_the_step(minimum):
  before, after = np.random.default_rng(6).uniform(0.5, 2, (2, 6, 3))
  weighting = jaxmtl.famo(3, minimum=minimum)
  state, revise, got = weighting.init(None), jax.jit(weighting.revise), []
  for old, new in zip(before, after, strict=True):
    weights, state = weighting.weigh(jnp.asarray(old), state)
    assert np.all(state.pending)
    got.append(weights)
    state = revise(jnp.asarray(new), state)
    assert not np.any(state.pending)
  want, logits = famo_in_numpy(before, after, minimum)
  np.testing.assert_allclose(np.stack(got), want, rtol=2e-4)
  np.testing.assert_allclose(state.logits, logits, rtol=1e-3, atol=1e-6)
  again = revise(jnp.asarray(after[0]), state)  # nothing is left to learn from
  np.testing.assert_array_equal(again.logits, state.logits)


def test_famo_in_a_chain_learns_from_the_next_losses():
  losses = np.random.default_rng(7).uniform(0.5, 2, (6, 3))
  got, _ = run(jaxmtl.famo(3), losses)
  want, _ = famo_in_numpy(losses[:-1], losses[1:], 0.0)
  np.testing.assert_allclose(got[:-1], want, rtol=2e-4)


def test_famo_compares_with_the_last_loss_that_had_labels():
  losses = np.array([[1.0, 4.0], [1.0, np.nan], [1.0, np.nan], [1.0, 1.0]])
  masks = np.array([[1, 1], [1, 0], [1, 0], [1, 1]], bool)
  _, state = run(jaxmtl.famo(2), losses, masks)
  assert state.logits[1] < 0 < state.logits[0]


def gradnorm_in_numpy(losses, norms, alpha, first):
  """GradNorm's weights; `first` holds L(0) for every step."""
  tasks = losses.shape[1]
  s, adam, out = np.zeros(tasks), Adam(tasks, 0.025), []
  for row, norm, start in zip(losses, norms / norms.mean(1, keepdims=True), first, strict=True):
    shares = softmax(s)
    out.append(tasks * shares)
    sizes = out[-1] * norm
    rate = row / start / np.mean(row / start)
    cotangent = np.sign(sizes - sizes.mean() * rate**alpha) * norm * tasks
    s = s + adam.step(softmax_pullback(shares, cotangent))
  return np.stack(out), s


def run_gradnorm(weighting, losses, norms, masks=None):
  rng = np.random.default_rng(8)
  state, weigh, out = weighting.init(None), jax.jit(weighting.weigh), []
  masks = np.ones(losses.shape, bool) if masks is None else masks
  for row, norm, mask in zip(losses, norms, masks, strict=True):
    grads = rng.normal(size=(len(row), 5))
    grads *= (norm / np.linalg.norm(grads, axis=1))[:, None]
    gramian = 7 * jnp.asarray(grads @ grads.T)  # known up to a factor
    weights, state = weigh(jnp.asarray(row), state, jnp.asarray(mask), gramian=gramian)
    out.append(np.asarray(weights))
  return np.stack(out), state


@pytest.mark.parametrize(("alpha", "steps_per_epoch"), [(1.5, 1), (0.5, 3)])
def test_gradnorm_descends_its_objective(alpha, steps_per_epoch):
  losses, norms = np.random.default_rng(9).uniform(0.5, 2, (2, 8, 3))
  weighting = jaxmtl.gradnorm(3, alpha, steps_per_epoch=steps_per_epoch)
  got, state = run_gradnorm(weighting, losses, norms)
  means = np.stack([losses[: min(t + 1, steps_per_epoch)].mean(0) for t in range(8)])
  want, s = gradnorm_in_numpy(losses, norms, alpha, means)
  np.testing.assert_allclose(got, want, rtol=1e-4)
  np.testing.assert_allclose(state.logits, s, rtol=1e-3, atol=1e-6)
  np.testing.assert_allclose(state.first, means[-1], rtol=1e-5)


def test_gradnorm_starts_a_task_with_its_first_labels():
  losses, norms = np.random.default_rng(10).uniform(0.5, 2, (2, 4, 3))
  masks = np.ones((4, 3), bool)
  masks[:2, 1] = False
  _, state = run_gradnorm(jaxmtl.gradnorm(3), losses, norms, masks)
  np.testing.assert_allclose(state.first, [losses[0, 0], losses[2, 1], losses[0, 2]], rtol=1e-6)


def test_gradnorm_needs_the_gramian():
  weighting = jaxmtl.gradnorm(3)
  with pytest.raises(ValueError, match="gramian is missing"):
    weighting.weigh(jnp.ones(3), weighting.init(None))
  with pytest.raises(ValueError, match=r"gramian has shape \(2, 2\) but must have \(3, 3\)"):
    weighting.weigh(jnp.ones(3), weighting.init(None), gramian=jnp.eye(2))


def test_options_are_checked():
  with pytest.raises(ValueError, match="mu must be positive, got 0"):
    jaxmtl.stch(2, mu=0)
  with pytest.raises(ValueError, match=r"reference has shape \(1,\) but must have \(2,\)"):
    jaxmtl.stch(2, 1.0, reference=[0.0])
  with pytest.raises(ValueError, match="preference must be finite, >= 0 and not all zero"):
    jaxmtl.stch(2, 1.0, preference=[1.0, -1.0])
  for factory in (jaxmtl.famo, jaxmtl.gradnorm):
    with pytest.raises(ValueError, match="learning_rate must be positive, got 0"):
      factory(2, learning_rate=0)
  with pytest.raises(ValueError, match="weight_decay must be >= 0, got -1"):
    jaxmtl.famo(2, weight_decay=-1)
  with pytest.raises(ValueError, match="alpha must be >= 0, got -1"):
    jaxmtl.gradnorm(2, alpha=-1)
  with pytest.raises(ValueError, match="steps_per_epoch must be at least 1, got 0"):
    jaxmtl.gradnorm(2, steps_per_epoch=0)
  with pytest.raises(ValueError, match="temperature must be positive, got 0"):
    jaxmtl.dwa(2, temperature=0)
  with pytest.raises(ValueError, match="steps_per_epoch must be at least 1, got 0"):
    jaxmtl.dwa(2, steps_per_epoch=0)
  with pytest.raises(ValueError, match=r"distribution must be .* got 'uniform'"):
    jaxmtl.rlw(2, distribution="uniform")
  for weights in ((1.0,), (1.0, -1.0), (1.0, float("nan"))):
    with pytest.raises(ValueError, match=r"weights (must hold 2 finite|has shape \(1,\))"):
      jaxmtl.constant(2, weights)
