"""PCD against its constraints, its optimality, and its moving means in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmtl

TAUS = (0.3, 0.0, 0.5, 0.02)
_pcd = jaxmtl.pcd(4, tau=TAUS, primary=1, beta=0.9)
_update = jax.jit(_pcd.update, compiler_options={"xla_backend_optimization_level": 0})


def rows_from(seed, size=10):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(4, size)) * 10.0 ** rng.uniform(-1, 1, size=(4, 1))


def normalised(history):
  """The last rows over the roots of bias-corrected means of squared norms."""
  mean = 0.0
  for rows in history:
    mean = 0.9 * mean + 0.1 * np.sum(rows**2, axis=1)
  return rows / np.sqrt(mean / (1 - 0.9 ** len(history)) + 1e-8)[:, None]


@given(seed=st.integers(0, 10**6), pull=st.floats(0, 1.2), steps=st.integers(1, 3))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_nearest_direction_that_meets_the_constraints(seed, pull, steps):
  with jax.enable_x64(True):
    state = _pcd.init(jnp.zeros(10))
    history = [rows_from(seed + step) for step in range(steps)]
    history[-1] -= pull * history[-1].mean(0)  # towards conflict
    for rows in history:
      update, state = _update(jnp.asarray(rows), state)
    assert state.solver.converged
    update, units = np.asarray(update), normalised(history)
    np.testing.assert_allclose(np.linalg.norm(update), np.linalg.norm(rows[1]), rtol=1e-7)
    # The update is a multiple of g1 + sum mu_j g_j; the multiple is what g1's coefficient says.
    coefficients = np.linalg.lstsq(units.T, update, rcond=None)[0]
    direction, multipliers = update / coefficients[1], coefficients / coefficients[1]
    progress = units @ direction - np.array(TAUS) * np.sum(units**2, axis=1)
    size = np.abs(units @ units.T).sum()
    for j in (0, 2, 3):  # feasible, a cone's multiplier, and one of both zero: so it is optimal
      assert progress[j] >= -1e-8 * size
      assert multipliers[j] >= -1e-8
      assert min(progress[j] / size, multipliers[j]) <= 1e-8


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_contradictory_constraints_leave_the_primary_gradient(dtype, x64):
  rows = rows_from(0)
  rows[3] = -2 * rows[0]
  update, state = _update(jnp.asarray(rows, dtype), _pcd.init(jnp.zeros(10, dtype)))
  assert not state.solver.converged
  np.testing.assert_allclose(update, rows[1], rtol=1e-5)
  rows[3] = 2 * rows[0]  # parallel gradients do not contradict
  assert _update(jnp.asarray(rows, dtype), _pcd.init(jnp.zeros(10, dtype)))[1].solver.converged


def test_opposite_gradients_without_wanted_progress_cancel():
  pcd = jaxmtl.pcd(2, tau=0.0)
  rows = jnp.array([[1.0, 2.0, 0.3], [-1.0, -2.0, -0.3]])
  update, state = pcd.update(rows, pcd.init(jnp.zeros(3)))
  assert state.solver.converged
  np.testing.assert_array_equal(update, 0)


def test_means_skip_what_is_missing_or_not_finite(x64):
  rows, state = rows_from(1), _pcd.init(jnp.zeros(10))
  _, state = _update(jnp.asarray(rows), state, mask=np.array([True, True, False, True]))
  np.testing.assert_array_equal(state.steps, [1, 1, 0, 1])
  broken = rows.copy()
  broken[0, 0] = np.inf
  update, after = _update(jnp.asarray(broken), state, mask=np.ones(4, bool))
  assert np.isnan(update).all()
  np.testing.assert_array_equal(after.norms, state.norms)
  no_primary = np.array([True, False, True, True])
  np.testing.assert_array_equal(_update(jnp.asarray(rows), state, mask=no_primary)[0], 0)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"primary": 3}, "primary must be a task index below num_tasks=3, or a task's name, got 3"),
    ({"tau": (0.1, 0.2)}, r"tau must be one number, or 3, got shape \(2,\)"),
    ({"tau": 1.5}, r"tau must be in \[0, 1\], got 1.5"),
    ({"beta": 1.0}, r"beta must be in \[0, 1\), got 1.0"),
    ({"eps": -1.0}, "eps must be at least 0, got -1.0"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    jaxmtl.pcd(3, **options)
