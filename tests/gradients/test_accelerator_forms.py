"""The forms that accelerators take give the same numbers."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmtl
from jaxmtl.aggregation.positive_definite import positive_definite_solver
from jaxmtl.gradients.inner_products import factor_precision


@pytest.fixture(autouse=True)
def _an_accelerator(monkeypatch):
  monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(platform="gpu")])


@pytest.mark.parametrize("num_tasks", [1, 3, 4])
def test_inner_products_of_few_and_many_tasks(num_tasks):
  rows = np.random.default_rng(0).normal(size=(num_tasks, 7, 3)).astype(np.float32)
  flat = rows.reshape(num_tasks, -1).astype(np.float64)
  for dtype, tolerance in ((jnp.float32, 1e-6), (jnp.bfloat16, 2e-2)):
    found = jaxmtl.gramian({"w": jnp.asarray(rows, dtype)})
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, flat @ flat.T, rtol=tolerance, atol=20 * tolerance)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_layer_s_gramian_is_that_of_its_task_gradients(dtype):
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (4, 16), dtype)
  params = [jax.random.normal(k, (16, 16)) / 4 for k in keys[1:]]

  def losses_fn(params):
    y = jnp.tanh(x @ params[0].astype(dtype)) @ params[1].astype(dtype)
    return jnp.mean(y.astype(jnp.float32) ** 2, 0)[:3]

  grads = jax.jacrev(losses_fn)(params)
  flat = np.concatenate([np.asarray(g, np.float64).reshape(3, -1) for g in grads], 1)
  losses, (gramian, _) = jaxmtl.task_gramian(losses_fn)(params)
  tolerance = 1e-6 if dtype == jnp.float32 else 2e-2
  scale = np.abs(flat @ flat.T).max()
  np.testing.assert_allclose(gramian / scale, flat @ flat.T / scale, atol=tolerance)
  assert losses.shape == (3,)


def test_products_are_exact_where_the_user_asks_for_exact_ones(monkeypatch):
  assert factor_precision(jnp.ones(2)) == jax.lax.Precision.HIGH
  with jax.default_matmul_precision("float32"):
    assert factor_precision(jnp.ones(2)) == jax.lax.Precision.HIGHEST
  monkeypatch.undo()
  assert factor_precision(jnp.ones(2)) == jax.lax.Precision.HIGHEST


def test_a_computation_put_on_the_cpu_takes_its_forms():
  assert factor_precision(jnp.ones(2)) == jax.lax.Precision.HIGH
  with jax.default_device(jax.devices("cpu")[0]):
    assert factor_precision(jnp.ones(2)) == jax.lax.Precision.HIGHEST


@pytest.mark.parametrize("size", [1, 5, 20])
def test_small_systems_are_solved_to_round_off(size):
  values = np.random.default_rng(size).normal(size=(size, size))
  matrix = (values @ values.T + 1e-3 * np.eye(size)).astype(np.float32)
  right = values[:, :1].astype(np.float32)
  with jax.default_matmul_precision("highest"):  # as aggregators solve
    found = np.asarray(jax.jit(lambda a, b: positive_definite_solver(a)(b))(matrix, right), float)
  residual = matrix @ found - right
  assert np.abs(residual).max() < 2e-6 * np.abs(matrix).max() * np.abs(found).max()


def test_a_system_that_is_not_definite_is_told_by_nan():
  assert jnp.isnan(positive_definite_solver(jnp.array([[1.0, 2.0], [2.0, 1.0]]))(jnp.ones(2))).all()


@pytest.mark.parametrize("method", ["mgda", "cagrad", "upgrad", "nash_mtl"])
def test_solvers_find_the_weights_of_the_cpu(method, monkeypatch):
  rows = np.random.default_rng(3).normal(size=(6, 40)).astype(np.float32) + 0.2

  def update():
    aggregator = getattr(jaxmtl, method)(6)
    step = jax.jit(lambda g, state: aggregator.update(g, state)[0])
    return step(rows, aggregator.init(rows[0]))

  found = update()
  monkeypatch.undo()
  # Float32's round-off in a solver, which is another one on each processor.
  np.testing.assert_allclose(found, update(), atol=4e-5)
