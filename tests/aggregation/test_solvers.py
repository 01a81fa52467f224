"""MGDA and CAGrad against brute force, and their optimality conditions."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmtl

quick = settings(deadline=None, derandomize=True, max_examples=25)
FAST_COMPILE = {"xla_backend_optimization_level": 0}


@functools.cache
def compiled(method, num_tasks, *options):
  transform = getattr(jaxmtl, method)(num_tasks, *options)
  return transform, jax.jit(transform.update, compiler_options=FAST_COMPILE)


def solve(method, rows, *options):
  transform, update = compiled(method, len(rows), *options)
  rows = jnp.asarray(rows)
  out, state = update(rows, transform.init(rows[0]))
  return np.asarray(out, np.float64), state


@functools.cache
def compiled_weigh(num_tasks):
  return jax.jit(jaxmtl.cagrad(num_tasks, rescale=0).weigh, compiler_options=FAST_COMPILE)


def rows_from(seed, num_tasks, size=10):
  return np.random.default_rng(seed).normal(size=(num_tasks, size))


@functools.cache
def grid(num_tasks, points=200):
  """Weights on the simplex, [N, T]."""
  axis = np.linspace(0, 1, points + 1)
  if num_tasks == 2:
    return np.stack([axis, 1 - axis], 1)
  first, second = np.meshgrid(axis, axis)
  return np.stack([first, second, 1 - first - second], -1)[first + second <= 1 + 1e-12]


@pytest.mark.parametrize("num_tasks", [2, 3])
@given(seed=st.integers(0, 2**32 - 1))
@quick
def test_mgda_beats_a_fine_grid(num_tasks, seed):
  with jax.enable_x64(True):
    rows = rows_from(seed, num_tasks)
    update, state = solve("mgda", rows)
    best = np.min(np.sum((grid(num_tasks) @ rows) ** 2, axis=1))
    assert update @ update <= best + 1e-9
    assert update @ update >= best * (1 - 0.02)  # the grid is that fine, so nothing is shorter
    assert bool(state.converged)


@pytest.mark.parametrize("num_tasks", [2, 3])
@given(seed=st.integers(0, 2**32 - 1))
@quick
def test_cagrad_dual_is_the_best_of_a_fine_grid(num_tasks, seed):
  with jax.enable_x64(True):
    rows = rows_from(seed, num_tasks)
    update, _ = solve("cagrad", rows, 0.5, 0)
    mean = rows.mean(0)
    points = grid(num_tasks) @ rows
    radius = 0.5 * np.linalg.norm(mean)
    best = np.min(points @ mean + radius * np.linalg.norm(points, axis=1))
    worst_off = np.min(rows @ update)
    assert worst_off <= best + 1e-9  # weak duality
    assert worst_off >= best - 0.02 * np.max(np.sum(rows**2, axis=1))


@given(seed=st.integers(0, 2**32 - 1), scales=st.lists(st.floats(-1, 1), min_size=5, max_size=5))
@quick
def test_cagrad_is_feasible_and_has_no_duality_gap(seed, scales):
  with jax.enable_x64(True):
    rows = rows_from(seed, 5) * 10 ** np.array(scales)[:, None]
    update, state = solve("cagrad", rows, 0.5, 0)
    mean = rows.mean(0)
    radius = 0.5 * np.linalg.norm(mean)
    size = np.max(np.sum(rows**2, axis=1))
    step = update - mean
    assert np.linalg.norm(step) <= radius * (1 + 1e-8)
    # With g_w along the step, the dual value at its optimum is the primal one.
    weights, _ = compiled_weigh(5)(jnp.asarray(rows @ rows.T), state)
    simplex = (np.asarray(weights) - 1 / 5) / np.sum(np.asarray(weights) - 1 / 5)
    assert np.min(simplex) >= -1e-9
    point = simplex @ rows
    dual = point @ mean + radius * np.linalg.norm(point)
    assert abs(dual - np.min(rows @ update)) <= 1e-8 * size
    assert bool(state.converged)


def test_pareto_stationary_inputs(x64):
  a, b = rows_from(0, 2)
  for rows in ([a, -a], [a, -3 * a], [a, b, -a - b], [a, b, -2 * a - 3 * b]):
    update, _ = solve("mgda", np.array(rows))
    assert np.linalg.norm(update) <= 1e-6 * np.linalg.norm(a)
  # The mean itself is zero: nothing may move.
  update, _ = solve("cagrad", np.array([a, b, -a - b]))
  assert np.linalg.norm(update) <= 1e-6 * np.linalg.norm(a)


@pytest.mark.parametrize("name", ["l2", "loss", "loss+"])
def test_mgda_normalizations_follow_their_formula(name, x64):
  rows, losses = rows_from(3, 3), np.array([0.5, 2.0, 4.0])
  norms = np.linalg.norm(rows, axis=1)
  scale = {"l2": norms, "loss": losses, "loss+": losses * norms}[name]
  weigh = jax.jit(jaxmtl.mgda(3, name).weigh, compiler_options=FAST_COMPILE)
  weights, state = weigh(
    jnp.asarray(rows @ rows.T), compiled("mgda", 3)[0].init(None), losses=jnp.asarray(losses)
  )
  scaled = rows / scale[:, None]
  np.testing.assert_allclose(np.asarray(weights) @ scaled, solve("mgda", scaled)[0], atol=1e-7)
  np.testing.assert_allclose(weights.sum(), 1, rtol=1e-9)
  assert bool(state.converged)


def test_cagrad_limits_and_rescaling(x64):
  rows = rows_from(4, 3)
  gramian, state = jnp.asarray(rows @ rows.T), compiled("cagrad", 3)[0].init(None)

  @functools.partial(jax.jit, static_argnums=1, compiler_options=FAST_COMPILE)
  def weigh(c, rescale):
    return jaxmtl.cagrad(3, c, rescale).weigh(gramian, state)[0]

  np.testing.assert_allclose(weigh(0.0, 0), 1 / 3, rtol=1e-9)
  plain = np.asarray(weigh(0.5, 0))
  np.testing.assert_allclose(weigh(0.5, 1), plain / 1.25, rtol=1e-9)
  np.testing.assert_allclose(weigh(0.5, 2), plain / 1.5, rtol=1e-9)


@given(seed=st.integers(0, 2**32 - 1))
@quick
def test_cagrad_with_a_radius_of_one_conflicts_with_no_task(seed):
  with jax.enable_x64(True):
    rows = rows_from(seed, 3)
    update, state = solve("cagrad", rows, 1.0)
    assert bool(state.converged)
    assert np.min(rows @ update) >= -1e-8 * np.max(np.sum(rows**2, axis=1))


def test_cagrad_with_a_radius_of_one_at_a_pareto_stationary_point(x64):
  rows = rows_from(0, 3, 2) @ rows_from(1, 2)  # zero lies within the triangle
  update, state = solve("cagrad", rows, 1.0)
  assert bool(state.converged)
  assert np.min(rows @ update) >= -1e-8 * np.max(np.sum(rows**2, axis=1))


@pytest.mark.parametrize("c", [0.2, 0.5, 1.0])
def test_cagrad_converges_on_linearly_dependent_gradients(c, x64):
  """2000 at once; a quarter has zero within the triangle, where the dual has a kink."""
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(2000, 3, 2)) @ rng.normal(size=(2000, 2, 10))
  aggregator = jaxmtl.cagrad(3, c, 0)
  weigh = jax.vmap(lambda gramian: aggregator.weigh(gramian, aggregator.init(None)))
  weights, state = jax.jit(weigh, compiler_options=FAST_COMPILE)(rows @ rows.transpose(0, 2, 1))
  assert np.all(state.converged)
  mean, update = rows.mean(1), np.einsum("bt,btp->bp", weights, rows)
  radius = c * np.linalg.norm(mean, axis=1)
  step = update - mean
  assert np.all(np.linalg.norm(step, axis=1) <= radius * (1 + 1e-9))
  # The step's weights, which sum to a positive number, give a point of the dual.
  simplex = np.asarray(weights) - 1 / 3
  point = np.einsum("bt,btp->bp", simplex / simplex.sum(1, keepdims=True), rows)
  dual = np.sum(point * mean, axis=1) + radius * np.linalg.norm(point, axis=1)
  gap = dual - np.min(np.einsum("btp,bp->bt", rows, update), axis=1)
  assert np.all(np.abs(gap) <= 1e-8 * np.max(np.sum(rows**2, axis=2), axis=1))


def projected(rows, i, order):
  """Row i without its components against the others, in plain NumPy."""
  c = rows[i].copy()
  for j in order:
    if j != i and c @ rows[j] < 0:
      c -= c @ rows[j] / (rows[j] @ rows[j]) * rows[j]
  return c


def test_pcgrad_takes_one_order_a_task(x64):
  """Each update is one of the sums that some choice of orders gives, and not always the same."""
  rows = np.array([[1.0, -1, 0], [-1, -0.8, 0.1], [-0.1, 2.0, 0.3]])
  orders = list(itertools.permutations(range(3)))
  options = [[projected(rows, i, order) for order in orders] for i in range(3)]
  possible = np.array([sum(choice) for choice in itertools.product(*options)])
  transform, update = compiled("pcgrad", 3)
  state, seen = transform.init(None), set()
  for _ in range(12):
    out, state = update(jnp.asarray(rows), state)
    distance = np.abs(possible - np.asarray(out)).max(axis=1)
    assert distance.min() < 1e-9
    seen.add(tuple(np.round(possible[distance.argmin()], 6)))
  assert len(seen) > 1


def test_pcgrad_draws_new_orders_from_its_seed():
  rows = jnp.asarray(rows_from(5, 6, 3), jnp.float32)
  transform, update = compiled("pcgrad", 6, 0)
  state = transform.init(rows[0])
  first, next_state = update(rows, state)
  again, _ = update(rows, state)
  later, _ = update(rows, next_state)
  np.testing.assert_array_equal(first, again)
  assert not np.allclose(first, later)


@pytest.mark.parametrize("name", ["cagrad", "mgda", "upgrad", "dual_proj", "nash_mtl", "fairgrad"])
def test_products_run_in_full_precision(name):
  """GPUs and TPUs would take fewer digits by default."""
  aggregator = getattr(jaxmtl, name)(3)
  program = str(jax.make_jaxpr(aggregator.weigh)(jnp.eye(3), aggregator.init(None)))
  assert "dot_general" in program
  assert program.count("HIGHEST") >= program.count("dot_general[")


def test_options_are_checked():
  with pytest.raises(ValueError, match="c must be at least 0, got -1"):
    jaxmtl.cagrad(2, c=-1)
  with pytest.raises(ValueError, match="rescale must be 0, 1 or 2, got 3"):
    jaxmtl.cagrad(2, rescale=3)
  with pytest.raises(ValueError, match=r"normalization must be one of .* got 'max'"):
    jaxmtl.mgda(2, "max")
  for options in ({"beta": 1.0}, {"relax": 1.5}, {"strategy": "D"}):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
      jaxmtl.metabalance(2, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [10, 1000])
def test_opposite_gradients_of_any_length_are_told_from_round_off(size, dtype, x64):
  rng = np.random.default_rng(0)
  first = rng.normal(size=(40, 1, size))
  rows = np.concatenate([first, -rng.uniform(0.1, 10, (40, 1, 1)) * first], axis=1).astype(dtype)
  exact = rows.astype(np.float64)
  norms = np.linalg.norm(exact, axis=2)
  weights = np.einsum(
    "bij,bj->bi", np.linalg.pinv(exact @ exact.transpose(0, 2, 1), rcond=1e-10), norms
  )
  weights /= weights.sum(1, keepdims=True)
  for name, want in (("imtl_g", np.einsum("bt,btp->bp", weights, exact)), ("conflict_free", 0)):
    aggregator = getattr(jaxmtl, name)(2)
    update = jax.jit(
      jax.vmap(lambda r, a=aggregator: a.update(r, a.init(r[0]))[0]), compiler_options=FAST_COMPILE
    )
    error = np.linalg.norm(np.asarray(update(rows)) - want, axis=1)
    assert np.all(error < 1e-3 * norms.max(1))


@pytest.mark.parametrize("name", ["metabalance", "pcd"])
@pytest.mark.parametrize("scale", [1e150, 1e-30])
def test_no_scale_of_double_precision_is_lost(name, scale, x64):
  rows = rows_from(3, 3)
  options = {"pcd": (0, 0.02, 0.999, 0.0)}.get(name, ())  # eps is an absolute length
  plain, scaled = (solve(name, factor * rows, *options)[0] for factor in (1, scale))
  np.testing.assert_allclose(scaled / scale, plain, rtol=1e-6)


@pytest.mark.parametrize("name", ["cagrad", "nash_mtl", "fairgrad"])
def test_a_gradient_of_zero_gets_no_large_weight(name):
  """Its size does not show in the update, but multiplies the task's head."""
  rows = np.float32([[1.0, 0, 0], [0, 0, 1e-17], [0, 1.0, 0]])
  transform = compiled(name, 3)[0]
  weigh = jax.jit(transform.weigh)
  for gramian in (rows @ rows.T, np.diag(np.float32([1.0, 0, 1.0]))):
    weights, _ = weigh(gramian, transform.init(jnp.zeros(3)))
    assert np.max(np.abs(weights)) < 10
