"""GradDrop, trimmed mean, MoCo, DB-MTL and ExcessMTL against their formulas in plain NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmtl
from jaxmtl.aggregation.projection import project_on_simplex

quick = settings(deadline=None, derandomize=True, max_examples=25)
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SIZE = 6
# Steps in which tasks have labels: the last one appears late, one step has none at all.
MASKS = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 1]], bool)
LOSSES = np.random.default_rng(1).uniform(0.1, 3, MASKS.shape)


def gradients(dtype=np.float64):
  return np.random.default_rng(0).normal(size=(*MASKS.shape, SIZE)).astype(dtype)


def split(rows):
  """[..., 6] as two leaves."""
  return {"a": rows[..., :2], "b": rows[..., 2:].reshape(*rows.shape[:-1], 2, 2)}


def joined(tree):
  return np.concatenate([tree["a"], np.reshape(tree["b"], (*np.shape(tree["a"])[:-1], 4))], -1)


@functools.cache
def compiled(name, num_tasks, **options):
  transform = getattr(jaxmtl, name)(num_tasks, **options)
  return transform, jit(
    lambda grads, state, mask, losses: transform.update(grads, state, mask=mask, losses=losses)
  )


def run(rows, name, **options):
  """Updates [steps, 6] and states of one step after another; rows without labels are NaN."""
  transform, update = compiled(name, rows.shape[1], **options)
  state, updates, states = transform.init(split(jnp.asarray(rows[0, 0]))), [], []
  for row, mask, losses in zip(rows, MASKS, LOSSES, strict=False):
    row = np.where(mask[:, None], row, np.nan).astype(row.dtype)
    out, state = update(split(jnp.asarray(row)), state, mask, jnp.where(mask, losses, np.nan))
    updates.append(joined(out))
    states.append(state)
  return np.array(updates), states


def simplex(values):
  """Projection by bisection on the threshold."""
  low, high = values.min() - 1, values.max()
  for _ in range(200):
    middle = (low + high) / 2
    low, high = (middle, high) if np.maximum(values - middle, 0).sum() > 1 else (low, middle)
  return np.maximum(values - low, 0)


def softmax(values):
  powers = np.exp(values - values.max())
  return powers / powers.sum()


# --- GradDrop


def test_graddrop_is_its_formula(x64):
  rows = np.random.default_rng(2).normal(size=(5, 4000)) + 0.3
  rows[:, :9] = np.abs(rows[:, :9])
  rows[:, 9:99] = 0
  leak = np.array([0.0, 1.0, 0.3, 0.0, 0.9])
  for options in ({}, {"leak": leak}):
    transform = jaxmtl.graddrop(5, key=3, **options)
    state = transform.init(rows[0])
    got, _ = jit(transform.update)(jnp.asarray(rows), state)
    key = jax.random.split(jax.random.split(state.key)[1], 1)[0]
    draw = np.asarray(jax.random.uniform(key, (4000,), jnp.float32), np.float64)
    size = np.abs(rows).sum(0)
    share = (1 + rows.sum(0) / np.where(size > 0, size, 1)) / 2
    kept = np.where((share > draw) & (rows > 0) | (share < draw) & (rows < 0), rows, 0)
    leaks = options.get("leak", np.zeros(5))[:, None]
    np.testing.assert_allclose(got, (leaks * rows + (1 - leaks) * kept).sum(0), atol=1e-12)


def test_graddrop_keeps_a_sign_as_often_as_its_share():
  rows = jnp.tile(jnp.array([[3.0], [1.0], [-1.0]]), (1, 20_000))
  transform = jaxmtl.graddrop(3)
  update = jit(transform.update)
  first, state = update(rows, transform.init(rows[0]))
  second, _ = update(rows, state)
  assert set(np.unique(first)) == {4.0, -1.0}
  for out in (first, second):
    assert abs(np.mean(out > 0) - 0.8) < 0.015  # five standard deviations
  assert abs(np.mean((first > 0) & (second > 0)) - 0.64) < 0.015  # and independently
  everything = jaxmtl.graddrop(3, leak=np.ones(3))
  np.testing.assert_array_equal(jit(everything.update)(rows, state)[0], 3)


# --- Trimmed mean


def trimmed(rows, trim):
  trim = min(trim, (len(rows) - 1) // 2)
  return np.sort(rows, axis=0)[trim : len(rows) - trim].mean(0)


@pytest.mark.parametrize("trim", [0, 1, 3])
@given(seed=st.integers(0, 2**32 - 1), mask=st.lists(st.booleans(), min_size=7, max_size=7))
@quick
def test_trimmed_mean_is_the_mean_of_the_sorted_middle(trim, seed, mask):
  mask = np.array(mask)
  with jax.enable_x64(True):
    rows = np.random.default_rng(seed).integers(-3, 4, size=(7, SIZE)) * 0.1  # many equal ones
    transform, update = compiled("trimmed_mean", 7, trim=trim)
    garbage = np.where(mask[:, None], rows, np.inf)
    out, _ = update(split(jnp.asarray(garbage)), transform.init(None), mask, None)
    want = trimmed(rows[mask], trim) if mask.any() else np.zeros(SIZE)
    np.testing.assert_allclose(joined(out), want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("outlier", [1e15, 1e38, np.inf])
def test_trimmed_mean_is_exact_beside_outliers(outlier):
  rows = np.random.default_rng(3).normal(size=(6, SIZE)).astype(np.float32)
  want = trimmed(np.float64(np.concatenate([rows, np.full((1, SIZE), np.inf)])), 1)
  transform, update = compiled("trimmed_mean", 7)
  everyone = np.ones(7, bool)
  for place in range(7):
    with_outlier = np.insert(rows, place, outlier, axis=0)
    out, _ = update(split(jnp.asarray(with_outlier)), transform.init(None), everyone, None)
    np.testing.assert_allclose(joined(out), want, rtol=1e-6, atol=1e-7)
    with_outlier[place, 2] = np.nan  # which is no outlier, but shows
    out, _ = update(split(jnp.asarray(with_outlier)), transform.init(None), everyone, None)
    np.testing.assert_array_equal(np.isnan(joined(out)), np.arange(SIZE) == 2)


# --- MoCo


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(-3, 12))
@quick
def test_projection_is_the_nearest_point_of_the_simplex(seed, scale):
  with jax.enable_x64(True):
    rng = np.random.default_rng(seed)
    values, mask = 10**scale * rng.normal(size=5), rng.random(5) < 0.7
    got = np.asarray(_project(values, mask))
    want = np.zeros(5)
    want[mask] = simplex(values[mask]) if mask.any() else 0
    np.testing.assert_allclose(got, want, atol=1e-10 + 1e-15 * 10**scale)
    np.testing.assert_allclose(got.sum(), mask.any(), rtol=1e-12)


_project = jit(project_on_simplex)


@pytest.mark.parametrize("projection", ["softmax", "simplex"])
@pytest.mark.parametrize("authors", [True, False])
def test_moco_over_six_steps(authors, projection, x64):
  """The authors multiply unit gradients by the loss, and let both steps fall."""
  beta, gamma, rho = 0.3, 2.0, 0.1
  options = {} if authors else {"times_loss": False, "beta_sigma": 0.0, "gamma_sigma": 0.0}
  options |= {"beta": beta, "gamma": gamma, "rho": rho, "projection": projection}
  updates, states = run(gradients(), "moco", **options)
  steps = np.zeros(3)
  project = {"softmax": softmax, "simplex": simplex}[projection]
  y, weights = np.zeros((3, SIZE)), np.full(3, 1 / 3)
  for rows, mask, losses, update, state in zip(
    gradients(), MASKS, LOSSES, updates, states, strict=True
  ):
    steps += mask
    unit = rows[mask] / np.linalg.norm(rows[mask], axis=1, keepdims=True)
    unit *= losses[mask, None] if authors else 1
    fall = steps[mask, None] ** -0.5 if authors else 1
    y[mask] -= beta * fall * (y[mask] - unit)
    want = np.zeros(SIZE)
    if mask.any():
      share = weights[mask].sum()
      start = weights[mask] / share if share > 0 else np.full(mask.sum(), 1 / mask.sum())
      step = gamma * max(steps.max(), 1) ** (-0.5 * authors)
      now = project(start - step * (y[mask] @ y[mask].T + rho * np.eye(len(start))) @ start)
      weights[mask], want = share * now, now @ y[mask]
    np.testing.assert_allclose(update, want, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(joined(state.means), y, rtol=1e-9)
    np.testing.assert_allclose(state.weights, weights, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(state.weights.sum(), 1, rtol=1e-9)


def test_moco_goes_to_the_shortest_combination(x64):
  rows = jnp.asarray(gradients()[0] * np.array([[1.0], [50.0], [1e-3]]))
  transform = jaxmtl.moco(
    3, projection="simplex", times_loss=False, beta_sigma=0.0, gamma_sigma=0.0
  )
  step = lambda _, carry: transform.update(rows, carry[1])  # noqa: E731
  out, _ = jit(lambda s: jax.lax.fori_loop(0, 2000, step, (rows[0], s)))(transform.init(rows[0]))
  inner = np.asarray(rows) @ np.asarray(out) / np.linalg.norm(rows, axis=1)
  assert np.min(inner) >= out @ out - 1e-6  # optimality of the shortest vector in the hull
  assert 0.1 < np.linalg.norm(out) < 1


# --- DB-MTL


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_db_mtl_over_six_steps(sigma, x64):
  updates, states = run(gradients(), "db_mtl", beta=0.8, sigma=sigma)
  means, steps = np.zeros((3, SIZE)), np.zeros(3, int)
  for rows, mask, losses, update, state in zip(
    gradients(), MASKS, LOSSES, updates, states, strict=True
  ):
    steps += mask
    beta = (0.8 / np.maximum(steps, 1) ** sigma)[:, None]
    new = beta * means + (1 - beta) * rows / (losses[:, None] + 1e-8)
    means = np.where(mask[:, None], new, means)
    norms = np.linalg.norm(means, axis=1)
    want = np.zeros(SIZE)
    if mask.any():
      want = norms[mask].max() * (means[mask] / norms[mask, None]).sum(0)
    np.testing.assert_allclose(update, want, rtol=1e-9)
    np.testing.assert_allclose(joined(state.means), means, rtol=1e-9)
    np.testing.assert_array_equal(state.steps, steps)


def test_db_mtl_of_a_negative_loss_is_nan():
  transform, update = compiled("db_mtl", 3)
  grads = split(jnp.asarray(gradients(np.float32)[0]))
  everyone, losses = np.ones(3, bool), np.array([1.0, -0.5, 2.0], np.float32)
  out, state = update(grads, transform.init(split(jnp.zeros(SIZE))), everyone, losses)
  assert np.all(np.isnan(joined(out)))
  np.testing.assert_array_equal(joined(state.means), 0)
  out, _ = update(grads, state, everyone, np.array([0.0, 1.0, 2.0], np.float32))
  assert np.all(np.isfinite(joined(out)))


# --- ExcessMTL


@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_excess_mtl_over_six_steps(scale, x64):
  eta = 0.7
  updates, states = run(scale * gradients(), "excess_mtl", eta=eta)
  s, first, weights = np.zeros((3, SIZE)), np.full(3, np.nan), np.full(3, 1 / 3)
  for rows, mask, update, state in zip(scale * gradients(), MASKS, updates, states, strict=True):
    s[mask] += rows[mask] ** 2
    risk = (rows**2 / np.sqrt(s + 1e-7)).sum(1)
    first = np.where(mask & np.isnan(first), risk, first)
    want = np.zeros(SIZE)
    if mask.any():
      share = weights[mask].sum()
      now = weights[mask] * np.exp(eta * risk[mask] / (first[mask] + 1e-7))
      now /= now.sum()
      weights[mask], want = share * now, now @ rows[mask]
    np.testing.assert_allclose(update, want, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(joined(state.roots), np.sqrt(s + 1e-7), rtol=1e-9)
    np.testing.assert_allclose(np.exp(state.log_weights), weights, rtol=1e-9)
    np.testing.assert_allclose(state.first, np.where(np.isnan(first), -1, first), rtol=1e-9)


@pytest.mark.parametrize("factor", [1e15, 1e20])
def test_excess_mtl_of_huge_gradients_weighs_as_of_others(factor):
  """Squares leave float32's range; the quotient of the risks does not."""
  _, want = run(gradients(np.float32), "excess_mtl", eta=0.5)
  rows = (factor * gradients()).astype(np.float32)
  _, got = run(rows, "excess_mtl", eta=0.5)
  for a, b in zip(got, want, strict=True):
    np.testing.assert_allclose(a.log_weights, b.log_weights, atol=1e-4)


def test_excess_mtl_of_many_parameters_and_far_apart_risks():
  """P = 1e4 with eta = 1, and a first risk of zero or of 1e-20: weights stay on the simplex."""
  big = 1e15 * jnp.ones(10_000)
  transform = jaxmtl.excess_mtl(3, eta=1.0)
  update, state = jit(transform.update), transform.init(big)
  for rows in ([0 * big, 1e-35 * big, big], [big, big, big], [big, big, 0 * big]):
    for _ in range(2):
      out, state = update(jnp.stack(rows), state)
      assert np.all(np.isfinite(out))
      assert np.all(np.isfinite(state.log_weights))
      np.testing.assert_allclose(jnp.exp(state.log_weights).sum(), 1, rtol=1e-5)
  for mask in np.eye(3, dtype=bool):  # also the tasks whose weight vanished, when alone
    out, _ = update(jnp.stack([big, 2 * big, 3 * big]), state, mask=mask)
    np.testing.assert_allclose(out, big * (1 + mask.argmax()), rtol=1e-5)


# --- All


@pytest.mark.parametrize("name", ["moco", "db_mtl", "excess_mtl"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_leaves_the_state_as_it_was(name, bad):
  """So that training goes on after optax.apply_if_finite has skipped the step."""
  _, states = run(gradients(np.float32), name)
  rows = gradients(np.float32)[1]
  rows[2, 3] = bad
  update = compiled(name, 3)[1]
  grads, losses = split(jnp.asarray(rows)), np.ones(3)
  out, state = update(grads, states[-1], np.ones(3, bool), losses)
  assert np.any(np.isnan(joined(out)))
  jax.tree.map(np.testing.assert_array_equal, state, states[-1])
  _, state = update(grads, states[-1], np.array([True, True, False]), losses)
  assert np.any(joined(state[0])[:2] != joined(states[-1][0])[:2])
  np.testing.assert_array_equal(joined(state[0])[2], joined(states[-1][0])[2])


@pytest.mark.parametrize("name", ["moco", "db_mtl", "excess_mtl"])
def test_history_of_bfloat16_parameters_is_float32(name):
  params = {"w": jnp.zeros((4, 2), jnp.bfloat16)}
  state = getattr(jaxmtl, name)(3).init(params)
  assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {jnp.dtype("f4"), jnp.dtype("i4")}
  assert state[0]["w"].shape == (3, 4, 2)


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("graddrop", {"leak": [0.5, 0.5]}, r"leak has shape \(2,\) but must have \(3,\)"),
    ("graddrop", {"leak": [0.5, 1.5, 0.0]}, r"leak must be in \[0, 1\], got \[0.5, 1.5, 0.0\]"),
    ("graddrop", {"leak": [0.5, np.nan, 0.0]}, r"leak must be in \[0, 1\]"),
    ("trimmed_mean", {"trim": 2}, "trim=2 on either side leaves none of num_tasks=3; .* most 1"),
    ("trimmed_mean", {"trim": -1}, "trim must be a non-negative integer or None, got -1"),
    ("trimmed_mean", {"trim": 1.0}, "trim must be a non-negative integer or None, got 1.0"),
    ("moco", {"beta": 0.0}, r"beta must be in \(0, 1\], got 0.0"),
    ("moco", {"beta_sigma": -1.0}, "beta_sigma must be at least 0, got -1.0"),
    ("moco", {"gamma": -1.0}, "gamma must be at least 0, got -1.0"),
    ("moco", {"rho": np.nan}, "rho must be at least 0, got nan"),
    ("moco", {"projection": "sphere"}, "projection must be 'softmax' or 'simplex', got 'sphere'"),
    ("db_mtl", {"beta": 1.0}, r"beta must be in \[0, 1\), got 1.0"),
    ("db_mtl", {"sigma": -0.5}, "sigma must be at least 0, got -0.5"),
    ("excess_mtl", {"eta": -0.1}, "eta must be at least 0, got -0.1"),
  ],
)
def test_options_are_checked(name, options, message):
  with pytest.raises(ValueError, match=message):
    getattr(jaxmtl, name)(3, **options)
