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
MATRICES = sorted({key.split("/")[0] for key in CASES.files if "/" in key})
LARGEST = 20  # tasks of any matrix
# name of the reference -> factory, options, tolerance
METHODS = {
  "mean": (jaxmtl.mean_tasks, {}, 1e-10),
  "sum": (jaxmtl.sum_tasks, {}, 1e-10),
  "pcgrad": (jaxmtl.pcgrad, {}, 1e-6),
  "gradvac_first": (jaxmtl.gradvac, {}, 1e-6),
  "trimmed_mean_1": (jaxmtl.trimmed_mean, {"trim": 1}, 1e-10),
  "krum_1_2": (jaxmtl.krum, {"num_byzantine": 1, "num_selected": 2}, 1e-10),
}
# The same for methods whose weights follow from the Gramian; `preference` is the matrix' own.
GRAMIAN_METHODS = {
  "imtl_g": (jaxmtl.imtl_g, {}, 1e-6),
  "nash_mtl": (jaxmtl.nash_mtl, {"max_norm": 1.0}, 1e-3),
  "aligned_mtl_min": (jaxmtl.aligned_mtl, {"scale": "min"}, 1e-6),
  "aligned_mtl_median": (jaxmtl.aligned_mtl, {"scale": "median"}, 1e-6),
  "aligned_mtl_rmse": (jaxmtl.aligned_mtl, {"scale": "rmse"}, 1e-6),
  "aligned_mtl_pref": (jaxmtl.aligned_mtl, {"scale": "min", "preference": None}, 1e-6),
  "upgrad": (jaxmtl.upgrad, {}, 1e-4),
  "upgrad_pref": (jaxmtl.upgrad, {"preference": None}, 1e-4),
  "dualproj": (jaxmtl.dual_proj, {}, 1e-4),
  "dualproj_pref": (jaxmtl.dual_proj, {"preference": None}, 1e-4),
  "config": (jaxmtl.conflict_free, {}, 1e-6),
  "config_pref": (jaxmtl.conflict_free, {"preference": None}, 1e-6),
  "fairgrad_a1": (jaxmtl.fairgrad, {"alpha": 1.0}, 1e-3),
  "fairgrad_a2": (jaxmtl.fairgrad, {"alpha": 2.0}, 1e-3),
}
# Where the reference is no solution of the method's equation, as the last tests here show.
NOT_SOLVED = {
  "4_scaled_5x100": ("nash_mtl",),
  "6_lowrank_6x80": ("nash_mtl", "fairgrad_a1", "fairgrad_a2"),
}
CAGRAD = functools.partial(jaxmtl.cagrad, rescale=0)
FAST_COMPILE = {"xla_backend_optimization_level": 0}


def aggregate(aggregator, jacobian):
  """The update of a pytree of two leaves."""
  cut = jacobian.shape[1] // 3
  grads = {"a": jnp.asarray(jacobian[:, :cut]), "b": jnp.asarray(jacobian[:, cut:])[..., None]}
  params = jax.tree.map(lambda g: jnp.zeros(g.shape[1:], g.dtype), grads)
  out, _ = aggregator.update(grads, aggregator.init(params), params)
  return np.concatenate([np.ravel(out["a"]), np.ravel(out["b"])])


@functools.cache
def compiled_weigh(factory, static):
  """One compilation for all matrices: the tasks that one lacks are masked."""

  def weigh(gramian, mask, options):
    aggregator = factory(LARGEST, **dict(static), **options)
    return aggregator.weigh(gramian, aggregator.init(None), mask=mask)

  return jax.jit(weigh, compiler_options=FAST_COMPILE)


def solve(factory, options, jacobian):
  """The update from the Gramian alone, and the method's state."""
  count = len(jacobian)
  gramian = np.full((LARGEST, LARGEST), np.nan, jacobian.dtype)
  gramian[:count, :count] = jacobian @ jacobian.T
  static = tuple((k, v) for k, v in options.items() if isinstance(v, str))
  traced = {k: v for k, v in options.items() if not isinstance(v, str)}
  weights, state = compiled_weigh(factory, static)(gramian, np.arange(LARGEST) < count, traced)
  assert not np.any(weights[count:])
  return np.asarray(weights)[:count] @ jacobian, state


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", GRAMIAN_METHODS)
def test_update_from_the_gramian_is_the_reference(name, matrix, x64):
  if name in NOT_SOLVED.get(matrix, ()):
    return
  factory, options, tolerance = GRAMIAN_METHODS[name]
  jacobian, options = CASES[f"{matrix}/jacobian"], dict(options)
  if "preference" in options:
    options["preference"] = np.pad(CASES[f"{matrix}/pref"], (0, LARGEST - len(jacobian)))
  got, _ = solve(factory, options, jacobian)
  assert_near(got, CASES[f"{matrix}/{name}"], jacobian, tolerance)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", GRAMIAN_METHODS)
def test_single_precision_of_the_update_from_the_gramian_is_near(name, matrix):
  if name in NOT_SOLVED.get(matrix, ()):
    return
  factory, options, _ = GRAMIAN_METHODS[name]
  jacobian, options = CASES[f"{matrix}/jacobian"].astype(np.float32), dict(options)
  if "preference" in options:
    preference = CASES[f"{matrix}/pref"].astype(np.float32)
    options["preference"] = np.pad(preference, (0, LARGEST - len(jacobian)))
  got, _ = solve(factory, options, jacobian)
  assert_near(got, CASES[f"{matrix}/{name}"], jacobian, 1e-3)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", METHODS)
def test_update_is_the_reference(name, matrix, x64):
  if f"{matrix}/{name}" not in CASES.files:
    # With three tasks and more, the order of the projections is random; Krum needs four.
    assert name in ("pcgrad", "gradvac_first", "trimmed_mean_1", "krum_1_2")
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
  got, state = solve(CAGRAD, {"c": c}, jacobian)
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
    (CAGRAD, {"c": 0.5}, "cagrad_c05"),
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


def test_nash_solves_what_the_reference_left(x64):
  """Its products of weight and inner product are all one, the reference's up to 400 times apart."""
  jacobian = CASES["4_scaled_5x100/jacobian"]
  for update, solved in (
    (solve(jaxmtl.nash_mtl, {"max_norm": 1.0}, jacobian)[0], True),
    (CASES["4_scaled_5x100/nash_mtl"], False),
  ):
    weights = np.linalg.lstsq(jacobian.T, update, rcond=None)[0]
    products = weights * (jacobian @ update)
    assert (products.max() / products.min() < 1 + 1e-6) == solved


def test_bargaining_has_no_solution_where_zero_is_in_the_hull(x64):
  """No update has a positive inner product with every gradient then (Gordan), as it would need."""
  jacobian = CASES["6_lowrank_6x80/jacobian"]
  shortest, _ = solve(jaxmtl.mgda, {}, jacobian)
  assert np.linalg.norm(shortest) < 1e-6 * np.abs(jacobian).max()
  for factory, options in ((jaxmtl.nash_mtl, {"max_norm": 1.0}), (jaxmtl.fairgrad, {"alpha": 2.0})):
    update, state = solve(factory, options, jacobian)
    assert np.linalg.norm(update) < 1e-3 * np.linalg.norm(jacobian)
    assert not bool(getattr(state, "solver", state).converged)
