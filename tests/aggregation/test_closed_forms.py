"""CR-MOGM, IMTL-G, Aligned-MTL, ConFIG, GCS, Krum and GradVac against NumPy and at their limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmtl
from jaxmtl.aggregation.jacobi import jacobi_eigh
from jaxmtl.aggregation.pcgrad import draw_orders

FAST_COMPILE = {"xla_backend_optimization_level": 0}


def rows_from(seed, num_tasks, size=10, rank=None):
  rng = np.random.default_rng(seed)
  if rank is None:
    return rng.normal(size=(num_tasks, size))
  return rng.normal(size=(num_tasks, rank)) @ rng.normal(size=(rank, size))


@functools.cache
def compiled(name, num_tasks, options):
  transform = getattr(jaxmtl, name)(num_tasks, **dict(options))
  return transform, jax.jit(transform.weigh, compiler_options=FAST_COMPILE)


def aggregate(name, rows, mask=None, **options):
  """The update from the Gramian alone, and the weights."""
  transform, weigh = compiled(name, len(rows), tuple(options.items()))
  mask = np.ones(len(rows), bool) if mask is None else np.array(mask)
  weights = np.asarray(weigh(jnp.asarray(rows @ rows.T), transform.init(None), mask=mask)[0])
  return weights @ rows, weights


def assert_near(got, want, rows, tolerance=1e-9):
  np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(rows).max())


# CR-MOGM


def test_cr_mogm_smooths_the_weights_of_mgda(x64):
  """Also where a task has no labels: its mean rests, and starts with its first labels."""
  smooth, plain = jaxmtl.cr_mogm(3, jaxmtl.mgda(3), alpha=0.7), jaxmtl.mgda(3)
  weigh = jax.jit(smooth.weigh, compiler_options=FAST_COMPILE)
  fresh_weigh = jax.jit(plain.weigh, compiler_options=FAST_COMPILE)
  state, inner, mean = smooth.init(jnp.zeros(())), plain.init(None), np.zeros(3)
  seen = np.zeros(3, bool)
  for step, mask in enumerate([[1, 1, 0], [1, 1, 1], [0, 1, 1], [1, 1, 1]]):
    mask, rows = np.array(mask, bool), rows_from(step, 3)
    got, state = weigh(jnp.asarray(rows @ rows.T), state, mask=mask)
    fresh, inner = fresh_weigh(jnp.asarray(rows @ rows.T), inner, mask=mask)
    want = np.where(seen, 0.7 * mean + 0.3 * np.asarray(fresh), fresh)
    np.testing.assert_allclose(got, np.where(mask, want, 0), rtol=1e-9)
    mean, seen = np.where(mask, want, mean), seen | mask
  np.testing.assert_allclose(state.weights, mean, rtol=1e-9)


def test_cr_mogm_refuses_what_has_no_weights():
  with pytest.raises(ValueError, match="aggregator must be Gramian-based"):
    jaxmtl.cr_mogm(2, jaxmtl.graddrop(2))
  with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\), got 1"):
    jaxmtl.cr_mogm(2, alpha=1.0)


# IMTL-G


def test_imtl_g_projects_equally_whatever_the_scales():
  """In float32, where the Gramian itself has a condition number of 1e16."""
  rows = (rows_from(0, 4) * np.array([[1e4], [1.0], [1e-2], [1e-4]])).astype(np.float32)
  update, weights = aggregate("imtl_g", rows)
  projections = rows @ update / np.linalg.norm(rows, axis=1)
  np.testing.assert_allclose(projections, projections[0], rtol=1e-3)
  np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)


def test_imtl_g_of_dependent_gradients_is_the_pseudo_inverse(x64):
  rows = rows_from(1, 4, rank=2)
  gramian = rows @ rows.T
  want = np.linalg.pinv(gramian, rcond=1e-10) @ np.linalg.norm(rows, axis=1)
  got, weights = aggregate("imtl_g", rows)
  np.testing.assert_allclose(weights, want / want.sum(), rtol=1e-8)
  assert_near(got, want @ rows / want.sum(), rows)


def test_imtl_g_is_zero_where_the_weights_cancel(x64):
  units = np.array([[1.0, 0, 0], [0.8, 0.6, 0.2], [0.8, -0.6, 0.2]])
  units /= np.linalg.norm(units, axis=1)[:, None]
  solution = np.linalg.solve(units @ units.T, np.ones(3))
  assert solution[0] < 0 < min(solution[1:])
  # Lengths for which solution / lengths sums to zero.
  lengths = np.array([-solution[0] / (solution[1] + solution[2]), 1, 1])
  np.testing.assert_array_equal(aggregate("imtl_g", units * lengths[:, None])[1], 0)
  lengths[0] *= 1.01  # close to it the formula holds, and the weights are large
  assert np.abs(aggregate("imtl_g", units * lengths[:, None])[1]).max() > 10


# Aligned-MTL


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
@pytest.mark.parametrize("rank", [5, 4, 3])
def test_aligned_mtl_levels_the_singular_values(scale, rank, x64):
  rows, weights = rows_from(2, 5, rank=rank), np.full(5, 0.2)
  left, values, right = np.linalg.svd(rows, full_matrices=False)
  left, values, right = left[:, :rank], values[:rank], right[:rank]
  ascending = np.sort(values**2)
  sigma = {
    "min": ascending[0],
    "median": ascending[(rank - 1) // 2],
    "rmse": ascending.mean(),
  }[scale]
  want = np.sqrt(sigma) * weights @ left @ right
  assert_near(aggregate("aligned_mtl", rows, scale=scale)[0], want, rows)
  # A task without labels counts neither in the median nor in the mean.
  more = np.insert(rows, 1, 0, axis=0)
  got, _ = aggregate("aligned_mtl", more, mask=[True, False] + [True] * 4, scale=scale)
  assert_near(got, want, rows)


def test_aligned_mtl_follows_the_preference_and_keeps_weights_without_a_spectrum(x64):
  rows, preference = np.diag([4.0, 2.0, 1.0]), (0.5, 0.3, 0.0)
  got, _ = aggregate("aligned_mtl", rows, preference=preference)
  np.testing.assert_allclose(got, preference, atol=1e-12)
  _, weights = aggregate("aligned_mtl", 0 * rows, preference=preference)
  np.testing.assert_allclose(weights, preference)


# ConFIG


@pytest.mark.parametrize("rank", [4, 2])
@pytest.mark.parametrize("preference", [None, (0.5, 0.1, 0.3, 0.2)])
def test_conflict_free_is_the_pseudo_inverse_of_the_unit_gradients(rank, preference, x64):
  rows = rows_from(3, 4, rank=rank) * np.array([[1e3], [1.0], [1e-3], [1.0]])
  units = rows / np.linalg.norm(rows, axis=1)[:, None]
  target = np.ones(4) if preference is None else np.array(preference)
  direction = np.linalg.pinv(units, rcond=1e-8) @ target
  direction /= np.linalg.norm(direction)
  got, _ = aggregate("conflict_free", rows, preference=preference)
  assert_near(got, (rows @ direction).sum() * direction, rows)
  if rank == 4:
    cosines = units @ got
    np.testing.assert_allclose(cosines / cosines.sum(), target / target.sum(), rtol=1e-6)


def test_conflict_free_stands_still_between_opposite_gradients():
  rows = np.float32([[1, 0.3], [-2, -0.6]])
  np.testing.assert_array_equal(aggregate("conflict_free", rows)[0], 0)


# GCS


@pytest.mark.parametrize("primary", [0, 2, (1, 3)])
def test_gcs_adds_what_agrees(primary, x64):
  rows = rows_from(4, 5)
  members = primary if isinstance(primary, tuple) else (primary,)
  main = sum(rows[i] for i in members)
  want = main.copy()
  for i in set(range(5)) - set(members):
    cosine = main @ rows[i] / np.linalg.norm(main) / np.linalg.norm(rows[i])
    want += max(0, cosine) * rows[i]
  got, _ = aggregate("gcs", rows, primary=primary)
  assert_near(got, want, rows)
  assert got @ main >= main @ main


def test_gcs_without_a_primary_gradient_does_nothing():
  rows = rows_from(5, 3).astype(np.float32)
  np.testing.assert_array_equal(aggregate("gcs", rows, mask=[False, True, True])[0], 0)
  cancel = np.stack([rows[0], rows[1], -rows[0]])
  np.testing.assert_array_equal(aggregate("gcs", cancel, primary=(0, 2))[1], [1, 0, 1])
  got, _ = aggregate("gcs", rows, mask=[True, True, False], primary=(0, 2))
  assert_near(got, aggregate("gcs", rows[:2])[0], rows, 1e-6)


# Krum


def krum(rows, num_byzantine, num_selected):
  squares = ((rows[:, None] - rows[None]) ** 2).sum(-1)
  count = max(len(rows) - num_byzantine - 2, 1)
  scores = np.sort(squares, axis=1)[:, 1 : 1 + count].sum(axis=1)
  return rows[np.argsort(scores, kind="stable")[:num_selected]].mean(axis=0)


@pytest.mark.parametrize(("num_byzantine", "num_selected"), [(0, 1), (1, 2), (3, 4)])
def test_krum_is_the_mean_of_the_closest(num_byzantine, num_selected, x64):
  options = {"num_byzantine": num_byzantine, "num_selected": num_selected}
  for seed in range(5):
    rows = rows_from(seed, 7)
    assert_near(aggregate("krum", rows, **options)[0], krum(rows, **options), rows)
    # Tasks without labels count neither as neighbours nor in T.
    mask = np.array([True, True, False, True, True, True, True])
    got, _ = aggregate("krum", rows, mask=mask, **options)
    assert_near(got, krum(rows[mask], **options), rows)


def test_krum_ties_and_few_tasks():
  rows = np.float32([[1, 0], [0, 1], [1, 0], [0, 1]])
  np.testing.assert_array_equal(aggregate("krum", rows)[1], [1, 0, 0, 0])
  np.testing.assert_array_equal(aggregate("krum", rows[:2])[1], [1, 0])
  # Fewer tasks than are to be selected, down to one.
  options = {"num_byzantine": 1, "num_selected": 3}
  for mask in ([True, False, False, True], [False, True, False, False]):
    _, weights = aggregate("krum", rows, mask=mask, **options)
    np.testing.assert_array_equal(weights, np.array(mask) / sum(mask))


# GradVac


def vaccinated(rows, targets, orders, beta):
  """One step in plain NumPy on the gradients themselves; changes `targets`."""
  total = np.zeros_like(rows[0])
  for i, order in enumerate(orders):
    c = rows[i].copy()
    for j in order:
      if i == j:
        continue
      length, other, phi = np.linalg.norm(c), np.linalg.norm(rows[j]), targets[i, j]
      cosine = c @ rows[j] / length / other
      if cosine < phi:
        root = np.sqrt(1 - phi**2)
        c += length * (phi * np.sqrt(1 - cosine**2) - cosine * root) / (other * root) * rows[j]
      targets[i, j] = (1 - beta) * phi + beta * cosine
    total += c
  return total


def test_gradvac_is_the_papers_algorithm_over_several_steps(x64):
  transform = jaxmtl.gradvac(4, beta=0.3)
  update = jax.jit(transform.update, compiler_options=FAST_COMPILE)
  state, targets = transform.init(jnp.zeros(10)), np.zeros((4, 4))
  for seed in range(6):
    rows = rows_from(seed, 4)
    orders = np.asarray(draw_orders(jax.random.split(state.key)[1], 4))
    got, state = update(jnp.asarray(rows), state)
    assert_near(got, vaccinated(rows, targets, orders, 0.3), rows)
    np.testing.assert_allclose(state.targets, targets, atol=1e-12)
  assert np.abs(targets).max() > 0.1
  # Tasks without labels leave their pairs' targets alone, and nobody else's.
  _, after = update(jnp.asarray(rows), state, mask=jnp.array([True, False, True, True]))
  same = np.asarray(after.targets == state.targets)
  assert np.all(same[1] & same[:, 1])
  assert same.sum() == 10  # and the rest of the diagonal


def test_gradvac_starts_as_pcgrad():
  rows = rows_from(6, 5, size=3).astype(np.float32)
  pcgrad, gradvac = jaxmtl.pcgrad(5), jaxmtl.gradvac(5)
  start = pcgrad.init(rows[0])
  same_orders = gradvac.init(rows[0])._replace(key=start.key)
  got, _ = gradvac.update(rows, same_orders)
  assert_near(got, pcgrad.update(rows, start)[0], rows, 1e-5)


def test_gradvac_per_tensor_is_gradvac_of_every_tensor(x64):
  per_tensor, whole = jaxmtl.gradvac(3, per_tensor=True), jaxmtl.gradvac(3)
  assert per_tensor.weigh is None
  shapes = {"a": (4, 2), "b": (5,)}
  params = {name: jnp.zeros(shape) for name, shape in shapes.items()}
  update = jax.jit(per_tensor.update, compiler_options=FAST_COMPILE)
  weigh = jax.jit(whole.weigh, compiler_options=FAST_COMPILE)
  state, states = per_tensor.init(params), {name: whole.init(None) for name in params}
  for step in range(3):
    grads = {
      n: jnp.asarray(rows_from(step, 3, p.size).reshape(3, *p.shape)) for n, p in params.items()
    }
    got, state = update(grads, state)
    for place, name in enumerate(params):
      weights, states[name] = weigh(jaxmtl.gramian(grads[name]), states[name])
      want = jaxmtl.combine(grads[name], weights)
      np.testing.assert_allclose(got[name], want, rtol=1e-5, atol=1e-6)  # states in float32
      np.testing.assert_allclose(state.targets[place], states[name].targets, atol=1e-6)


def test_gradvac_stays_finite_after_parallel_gradients():
  transform = jaxmtl.gradvac(2, beta=1.0)
  update = jax.jit(transform.update, compiler_options=FAST_COMPILE)
  rows = jnp.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
  state = transform.init(rows[0])
  for _ in range(4):  # phi is 1 from the first step on; round-off must not turn the gradients
    got, state = update(rows, state)
    np.testing.assert_allclose(got, rows.sum(0), rtol=1e-6)
  got, state = update(jnp.array([[1.0, 0, 0], [0, 1.0, 0]]), state)  # towards a cosine of 1
  assert np.abs(got).max() < 1e2
  # Opposite gradients vanish, and a vanished one has no cosine.
  got, state = update(jnp.array([[1.0, 0, 0], [-1.0, 0, 0]]), transform.init(rows[0]))
  np.testing.assert_allclose(got, 0, atol=1e-6)
  np.testing.assert_allclose(state.targets, [[0, -1], [-1, 0]], atol=1e-6)


def test_options_are_checked():
  for name in ("aligned_mtl", "conflict_free"):
    with pytest.raises(ValueError, match=r"preference must be finite, >= 0 and not all zero, got"):
      getattr(jaxmtl, name)(2, preference=[1.0, -1.0])
    with pytest.raises(ValueError, match=r"preference must be finite, >= 0 and not all zero, got"):
      getattr(jaxmtl, name)(2, preference=[0.0, 0.0])
    with pytest.raises(ValueError, match=r"preference has shape \(3,\) but must have \(2,\)"):
      getattr(jaxmtl, name)(2, preference=[1.0, 2.0, 3.0])
  with pytest.raises(ValueError, match=r"scale must be one of .* got 'max'"):
    jaxmtl.aligned_mtl(2, "max")
  for primary in (2, -1, (0, 5), 0.0, True):
    with pytest.raises(ValueError, match="primary must be a task index below num_tasks=2"):
      jaxmtl.gcs(2, primary)
  for primary, message in (((), "primary names no task"), ((0, 0), "must name different tasks")):
    with pytest.raises(ValueError, match=message):
      jaxmtl.gcs(2, primary)
  with pytest.raises(ValueError, match=r"beta must be in \[0, 1\], got 1.5"):
    jaxmtl.gradvac(2, beta=1.5)
  for count in (-1, 1):
    with pytest.raises(ValueError, match=f"num_byzantine must be 0, .* got {count}"):
      jaxmtl.krum(3, num_byzantine=count)
  for count in (0, 4):
    with pytest.raises(
      ValueError, match=f"num_selected must be from 1 to num_tasks = 3, got {count}"
    ):
      jaxmtl.krum(3, num_selected=count)


@pytest.mark.parametrize("num_tasks", [1, 2, 5, 20])
def test_small_eigenvalues_are_as_accurate_as_large_ones(num_tasks):
  """Gradients of lengths that differ ten-thousandfold, in float32; the truth in float64."""
  rng = np.random.default_rng(num_tasks)
  rows = rng.normal(size=(num_tasks, 100)) * 10 ** rng.uniform(-2, 2, (num_tasks, 1))
  gramian = rows @ rows.T
  values, vectors = jax.jit(jacobi_eigh)(jnp.asarray(gramian, jnp.float32))
  np.testing.assert_allclose(values, np.linalg.eigvalsh(gramian), rtol=1e-5)
  vectors = np.asarray(vectors, np.float64)
  np.testing.assert_allclose(vectors.T @ vectors, np.eye(num_tasks), atol=1e-5)


def test_jacobi_of_singular_matrices():
  ones = np.ones((3, 3), np.float32)
  opposite = np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 0]], np.float32)
  for matrix in (ones, opposite, 0 * ones):
    values, vectors = (np.asarray(x) for x in jax.jit(jacobi_eigh)(matrix))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-6)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, matrix, atol=1e-6)
  assert np.all(np.isnan(jax.jit(jacobi_eigh)(np.nan * ones)[0]))
