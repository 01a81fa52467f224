"""UPGrad and DualProj against all active sets tried in NumPy, and their optimality conditions."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmtl
from jaxmtl.aggregation.dual_cone import REGULARIZATION, project_onto_dual_cone

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
both = pytest.mark.parametrize("method", [jaxmtl.upgrad, jaxmtl.dual_proj])
_project = jit(jax.vmap(project_onto_dual_cone))  # a batch of Gramians at once


def gramians(num_tasks, count=12):
  """Gramians [count, T, T] of gradients of all ranks, of many scales, and hard ones."""
  rng = np.random.default_rng(num_tasks)
  rows = rng.normal(size=(count, num_tasks, 2 * num_tasks))
  rows[0, :, 1:] = 0  # rank one, of both signs
  rows[1] -= 1.01 * rows[1].mean(0)  # nearly stationary
  rows[2, num_tasks // 2 :] = -rows[2, : num_tasks - num_tasks // 2]  # opposite
  rows[3] *= 10.0 ** np.linspace(-3, 3, num_tasks)[:, None]
  rows[4] = 0
  rows[5, :, 0] -= 10 * (-1.0) ** np.arange(num_tasks)  # two opposing camps
  rows[6, 1:] = rows[6, :1]  # duplicates
  return rows @ rows.transpose(0, 2, 1)


def regularised(gramian):
  trace = np.trace(gramian)
  return gramian / (trace if trace > 0 else 1) + REGULARIZATION * np.eye(len(gramian))


def best_of_all_active_sets(gramian, bounds):
  """The v >= u of least v' H v, H regularised: the feasible stationary point of some face."""
  matrix, best = regularised(gramian), (np.inf, None)
  for tight in itertools.product([False, True], repeat=len(bounds)):
    tight = np.array(tight)
    v = bounds.copy()
    cross = matrix[np.ix_(~tight, tight)] @ bounds[tight]
    v[~tight] = np.linalg.solve(matrix[np.ix_(~tight, ~tight)], -cross)
    if np.all(v >= bounds - 1e-12):
      best = min(best, (v @ matrix @ v, v), key=lambda pair: pair[0])
  return best[1]


def test_projection_is_the_best_of_all_active_sets(x64):
  batch, lower = gramians(4), np.diag([0.1, 0.2, 0.3, 0.4])
  got, state = _project(batch, np.broadcast_to(lower, (len(batch), 4, 4)))
  for gramian, rows in zip(batch, got, strict=True):
    for bounds, v in zip(lower, rows, strict=True):
      want = best_of_all_active_sets(gramian, bounds)
      np.testing.assert_allclose(v, want, rtol=1e-8, atol=1e-10)
  assert np.all(state.converged)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_tasks", [2, 8, 20])
def test_optimality_conditions(num_tasks, dtype, x64):
  batch = gramians(num_tasks).astype(dtype)
  lower = np.broadcast_to(np.eye(num_tasks, dtype=dtype) / num_tasks, batch.shape)
  got, state = _project(batch, lower)
  assert np.all(state.converged)
  assert np.max(state.iterations) <= 3 * num_tasks
  v, tolerance = np.asarray(got, np.float64), 100 * np.finfo(dtype).eps
  assert np.all(v >= lower)
  for rows, bounds, gramian in zip(v, lower, batch, strict=True):
    matrix = regularised(gramian.astype(np.float64))
    products, size = rows @ matrix, np.abs(rows) @ np.abs(matrix)
    assert np.all(products >= -tolerance * size)
    # A product that is not zero has its bound tight.
    assert np.all(np.minimum(rows - bounds, products) <= tolerance * np.maximum(size, rows))


@both
def test_conflict_is_within_the_regularisation(method, x64):
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(30, 5, 8)) * 10 ** rng.uniform(-1, 1, size=(30, 5, 1))
  aggregator = method(5)
  weigh = jit(jax.vmap(lambda g: aggregator.weigh(g, aggregator.init(None))[0]))
  batch = rows @ rows.transpose(0, 2, 1)
  weights = np.asarray(weigh(batch))
  trace = np.trace(batch, axis1=1, axis2=2)[:, None]
  assert np.all(np.einsum("bij,bj->bi", batch, weights) >= -1.001e-4 * weights * trace)
  assert np.min(batch.mean(1)) < 0  # the mean does conflict


@both
def test_without_conflict_it_is_the_preferred_sum(method, x64):
  rows = np.abs(np.random.default_rng(1).normal(size=(3, 6)))
  mask = jnp.array([True, False, True])

  def weights(*options):
    aggregator = method(3, *options)
    return jit(aggregator.weigh)(rows @ rows.T, aggregator.init(None), mask=mask)[0]

  np.testing.assert_allclose(weights(), [0.5, 0, 0.5], rtol=1e-12)
  np.testing.assert_allclose(weights([0.2, 0.7, 0.1]), [0.2, 0, 0.1], rtol=1e-12)


def test_both_agree_on_one_projection(x64):
  """With a preference for one task alone, UPGrad has that projection only, as DualProj."""
  rows = np.random.default_rng(2).normal(size=(4, 3))
  found = []
  for method in (jaxmtl.upgrad, jaxmtl.dual_proj):
    aggregator = method(4, preference=[0.0, 2.0, 0.0, 0.0])
    found.append(jit(aggregator.weigh)(rows @ rows.T, aggregator.init(None))[0])
  np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_nan_does_not_converge():
  aggregator = jaxmtl.upgrad(2)
  gramian = jnp.array([[1.0, jnp.nan], [jnp.nan, 1.0]])
  _, state = jit(aggregator.weigh)(gramian, aggregator.init(None))
  assert not bool(state.converged)


@both
def test_options_are_checked(method):
  with pytest.raises(ValueError, match=r"preference has shape \(2,\) but must have \(3,\)"):
    method(3, preference=[0.5, 0.5])
  for bad in ([1.0, -1.0], [0.0, 0.0], [1.0, np.inf]):
    with pytest.raises(ValueError, match="preference must be finite, >= 0 and not all zero"):
      method(2, preference=bad)
