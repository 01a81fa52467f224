"""Reference outputs in float64; see the acceptance tolerances beside each method."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmtl

FOLDER = pathlib.Path(__file__).parent.parent / "goldens"
CASES = np.load(FOLDER / "aggregation.npz")
MATRICES = sorted({key.split("/")[0] for key in CASES.files})
LARGEST = 20  # tasks of any matrix
# name of the reference -> factory, options, tolerance
METHODS = {
  "mean": (jaxmtl.mean_tasks, {}, 1e-10),
  "sum": (jaxmtl.sum_tasks, {}, 1e-10),
  "pcgrad": (jaxmtl.pcgrad, {}, 1e-6),
}
FAST_COMPILE = {"xla_backend_optimization_level": 0}


def aggregate(aggregator, jacobian):
  """The update of a pytree of two leaves."""
  cut = jacobian.shape[1] // 3
  grads = {"a": jnp.asarray(jacobian[:, :cut]), "b": jnp.asarray(jacobian[:, cut:])[..., None]}
  params = jax.tree.map(lambda g: jnp.zeros(g.shape[1:], g.dtype), grads)
  update = jax.jit(aggregator.update, compiler_options=FAST_COMPILE)
  out, _ = update(grads, aggregator.init(params), params)
  return np.concatenate([np.ravel(out["a"]), np.ravel(out["b"])])


@functools.cache
def compiled_weigh(factory):
  """One compilation for all matrices: the tasks that one lacks are masked."""

  def weigh(gramian, mask, options):
    aggregator = factory(LARGEST, **options)
    return aggregator.weigh(gramian, aggregator.init(None), mask=mask)

  return jax.jit(weigh, compiler_options=FAST_COMPILE)


def solve(factory, options, jacobian):
  """The update from the Gramian alone, and the solver's state."""
  count = len(jacobian)
  gramian = np.full((LARGEST, LARGEST), np.nan, jacobian.dtype)
  gramian[:count, :count] = jacobian @ jacobian.T
  weights, state = compiled_weigh(factory)(gramian, np.arange(LARGEST) < count, options)
  assert not np.any(weights[count:])
  return np.asarray(weights)[:count] @ jacobian, state


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", METHODS)
def test_update_is_the_reference(name, matrix, x64):
  if f"{matrix}/{name}" not in CASES.files:
    assert name == "pcgrad"  # with three tasks and more, its order is random
    return
  factory, options, tolerance = METHODS[name]
  jacobian, want = CASES[f"{matrix}/jacobian"], CASES[f"{matrix}/{name}"]
  assert_near(aggregate(factory(len(jacobian), **options), jacobian), want, jacobian, tolerance)


def assert_near(got, want, jacobian, tolerance):
  scale = max(np.abs(want).max(), 1e-3 * np.abs(jacobian).max())
  np.testing.assert_array_less(np.abs(got - want), tolerance * scale)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("c", [0.5, 0.2])
def test_cagrad_is_the_reference(c, matrix, x64):
  """The reference stops 1.1e-4 from the optimum in two cases; test_solvers.py tests optimality."""
  jacobian, want = CASES[f"{matrix}/jacobian"], CASES[f"{matrix}/cagrad_c0{round(10 * c)}"]
  got, state = solve(jaxmtl.cagrad, {"c": c}, jacobian)
  assert_near(got, want, jacobian, 2e-4)
  assert bool(state.converged)


@pytest.mark.parametrize("matrix", MATRICES)
def test_mgda_is_the_shortest_vector_in_the_hull(matrix, x64):
  jacobian, reference = CASES[f"{matrix}/jacobian"], CASES[f"{matrix}/mgda"]
  got, state = solve(jaxmtl.mgda, {}, jacobian)
  norm, slack = got @ got, 1e-12 * (jacobian**2).sum()
  assert norm <= reference @ reference * (1 + 1e-6) + slack  # the reference stops early
  assert np.min(jacobian @ got) >= norm - slack  # optimality of the minimum-norm point
  assert bool(state.converged)


@pytest.mark.parametrize("matrix", MATRICES)
def test_single_precision_is_near(matrix):
  jacobian = CASES[f"{matrix}/jacobian"].astype(np.float32)
  length = np.linalg.norm(jacobian, axis=1).max()
  for factory, options, name in (
    (jaxmtl.cagrad, {"c": 0.5}, "cagrad_c05"),
    (jaxmtl.mgda, {}, "mgda"),
  ):
    got, state = solve(factory, options, jacobian)
    assert np.linalg.norm(got - CASES[f"{matrix}/{name}"]) <= 1e-3 * length
    assert bool(state.converged)


def test_metabalance_over_five_steps(x64):
  case = np.load(FOLDER / "metabalance.npz")
  params = {"p0": jnp.asarray(case["param0"]), "p1": jnp.asarray(case["param1"])}
  transform = jaxmtl.metabalance(case["task_grads0"].shape[1])
  state, update = transform.init(params), jax.jit(transform.update)
  for step in range(5):
    grads = {p: jnp.asarray(case[f"task_grads{p[1]}"][step]) for p in params}
    out, state = update(grads, state, params)
    for p in params:
      want = case[f"out{p[1]}"][step]
      np.testing.assert_array_less(np.abs(out[p] - want), 1e-5 * np.abs(want).max())
