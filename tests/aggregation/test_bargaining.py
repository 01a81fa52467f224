"""Nash-MTL and FairGrad: the equations that their weights solve, and where none do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmtl
from jaxmtl.aggregation.bargaining import solve_bargaining

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
_solve = jit(jax.vmap(solve_bargaining, (0, None)))  # a batch of Gramians at once


def rows_from(seed, num_tasks, size=20, batch=()):
  return np.random.default_rng(seed).normal(size=(*batch, num_tasks, size))


@functools.cache
def compiled(method, num_tasks, **options):
  aggregator = getattr(jaxmtl, method)(num_tasks, **options)
  return aggregator, jit(aggregator.update)


def solve(method, rows, mask=None, **options):
  aggregator, update = compiled(method, len(rows), **options)
  rows = jnp.asarray(rows)
  mask = jnp.ones(len(rows), bool) if mask is None else jnp.asarray(mask)
  out, state = update(rows, aggregator.init(rows[0]), mask=mask)
  return np.asarray(out, np.float64), state


@pytest.mark.parametrize("power", [1.0, 0.5, 0.25, 2.0])
@pytest.mark.parametrize("num_tasks", [1, 3, 20])
def test_solution_under_vmap(num_tasks, power, x64):
  """Also of gradients that nearly oppose each other, and of lengths from 1e-3 to 1e3."""
  rows = rows_from(0, num_tasks, batch=(10,))
  rows[1] -= 0.95 * rows[1].mean(0) * (num_tasks > 1)
  rows[2:6] *= 10 ** np.random.default_rng(1).uniform(-3, 3, size=(4, num_tasks, 1))
  batch = rows @ rows.transpose(0, 2, 1)
  x, state = _solve(batch, power)
  assert np.all(state.converged)
  assert np.all(np.asarray(x) > 0)
  np.testing.assert_allclose(np.einsum("bij,bj->bi", batch, x) * x**power, 1, rtol=1e-7)
  assert np.max(state.iterations) < 30


@pytest.mark.parametrize("num_tasks", [3, 20])
def test_solution_in_single_precision(num_tasks):
  rows = rows_from(2, num_tasks, batch=(10,))
  rows[:5] *= 10 ** np.random.default_rng(3).uniform(-3, 3, size=(5, num_tasks, 1))
  batch = rows @ rows.transpose(0, 2, 1)
  x, state = _solve(batch.astype(np.float32), 1.0)
  assert np.all(state.converged)
  np.testing.assert_allclose(np.einsum("bij,bj->bi", batch, x) * x, 1, rtol=1e-3)


def test_nash_is_the_bargain_on_the_normalised_gramian(x64):
  rows = rows_from(4, 4)
  gramian = rows @ rows.T
  update, state = solve("nash_mtl", rows, max_norm=0.0)
  normalised = gramian / np.linalg.norm(gramian)
  np.testing.assert_allclose(normalised @ state.alpha, 1 / state.alpha, rtol=1e-9)
  np.testing.assert_allclose(update, state.alpha @ rows, rtol=1e-9)
  np.testing.assert_allclose(update @ update, 4 * np.linalg.norm(gramian), rtol=1e-9)


def test_fairgrad_is_no_worse_off_at_larger_alpha(x64):
  """The worst-off task's share of the progress grows with alpha."""
  rows = rows_from(5, 4) * np.array([[0.1], [1.0], [1.0], [10.0]])
  gains = [rows @ solve("fairgrad", rows, alpha=alpha)[0] for alpha in (0.5, 1.0, 4.0)]
  shares = [gain.min() / gain.sum() for gain in gains]
  assert 0 < shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("alpha", [1.0, 2.0])
@pytest.mark.parametrize("factor", [1e15, 1e-3, 1e-20])
def test_fairgrad_scales_with_a_power_of_the_gradients(factor, alpha):
  rows = rows_from(6, 3).astype(np.float32)
  plain, _ = solve("fairgrad", rows, alpha=alpha)
  scaled, state = solve("fairgrad", np.float32(factor) * rows, alpha=alpha)
  want = factor ** ((1 - alpha) / (1 + alpha)) * plain
  np.testing.assert_allclose(scaled, want, rtol=2e-3, atol=1e-3 * np.abs(want).max())
  assert bool(state.converged)


_A, _B = rows_from(7, 2)
STATIONARY = {
  "opposite": [_A, -_A],
  "opposite and unequal": [1e3 * _A, -1e-3 * _A],
  "balanced": [_A, _B, -_A - _B],
  "rank one": [_A, 2 * _A, -3 * _A],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", STATIONARY)
@pytest.mark.parametrize("method", ["nash_mtl", "fairgrad"])
def test_a_stationary_point_shows_in_the_state_and_hardly_moves(method, case, dtype, x64):
  rows = np.array(STATIONARY[case], dtype)
  update, state = solve(method, rows)
  solver = state.solver if method == "nash_mtl" else state
  assert not bool(solver.converged)
  plain = np.linalg.norm(rows, axis=1).max() if method == "nash_mtl" else 1
  assert np.linalg.norm(update) <= 100 * np.sqrt(np.finfo(dtype).eps) * plain
  assert int(solver.iterations) <= 60


def test_zero_gradients_take_part_with_weight_zero(x64):
  rows = rows_from(8, 3)
  rows[1] = 0
  _, state = solve("nash_mtl", rows)
  _, without = solve("nash_mtl", rows[[0, 2]])
  np.testing.assert_allclose(state.alpha, [without.alpha[0], 0, without.alpha[1]], rtol=1e-9)
  assert bool(state.solver.converged)


def test_nash_keeps_alpha_between_solves(x64):
  aggregator, update = compiled("nash_mtl", 3, update_every=3, max_norm=0.0)
  state = aggregator.init(jnp.zeros(20))
  everyone, absent = jnp.ones(3, bool), jnp.array([True, False, True])
  _, state = update(jnp.asarray(rows_from(9, 3)), state, mask=absent)
  first = np.asarray(state.alpha)
  assert first[1] == 1  # the task without labels has its first alpha still
  for seed in (10, 11):
    rows = rows_from(seed, 3)
    out, state = update(jnp.asarray(rows), state, mask=everyone)
    np.testing.assert_allclose(out, first @ rows, rtol=1e-9)
    np.testing.assert_array_equal(state.alpha, first)
  _, state = update(jnp.asarray(rows), state, mask=everyone)
  assert np.all(np.abs(state.alpha - first) > 1e-6)
  assert int(state.step) == 4


def test_a_nan_stays_for_no_later_step():
  aggregator, update = compiled("nash_mtl", 2)
  state = aggregator.init(jnp.zeros(20))
  rows = jnp.asarray(rows_from(12, 2), jnp.float32)
  everyone = jnp.ones(2, bool)
  bad, state = update(rows.at[0, 0].set(jnp.nan), state, mask=everyone)
  assert np.any(np.isnan(bad))
  assert not bool(state.solver.converged)
  assert np.all(np.isfinite(state.alpha))
  good, state = update(rows, state, mask=everyone)
  assert np.all(np.isfinite(good))
  assert bool(state.solver.converged)


@pytest.mark.parametrize("factor", [1e15, 1.0, 1e-20])
def test_max_norm_cuts_longer_updates_only(factor):
  rows = factor * rows_from(13, 3).astype(np.float32)
  plain, _ = solve("nash_mtl", rows, max_norm=0.0)
  cut, _ = solve("nash_mtl", rows, max_norm=2.0)
  length = np.linalg.norm(plain)
  assert (length > 2) == (factor >= 1)
  np.testing.assert_allclose(cut, plain * min(1, 2 / length), rtol=1e-4)


def test_options_are_checked():
  for options in ({"update_every": 0}, {"max_norm": -1.0}):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} must be at least .*, got {value}"):
      jaxmtl.nash_mtl(2, **options)
  for alpha in (0.0, -1.0, float("inf"), float("nan")):
    with pytest.raises(ValueError, match=f"alpha must be positive and finite, got {alpha}"):
      jaxmtl.fairgrad(2, alpha=alpha)
