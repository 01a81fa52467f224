"""What every aggregator must do. A new method joins with one line in `METHODS`."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

import jaxmtl


@dataclasses.dataclass(frozen=True)
class Method:
  """A factory, and what its paper promises.

  Args:
    make: `num_tasks -> Aggregator`.
    single: the update for one task over its gradient; None where it is nothing so simple.
    non_conflict: number of tasks up to which no task gradient has a negative inner product with
      the update.
    homogeneous: whether scaling all gradients scales the update alike.
    leading: first tasks that have a role of their own and may not change places.
    ordered_from: number of tasks from which on the update depends on random draws that belong to
      a task's place; below, it follows a permutation of the tasks.
    full_rank: whether the update is unique for linearly independent gradients only.
    needs_losses: whether `update` raises without `losses`.
    unit: whether the update is about as long as 1, whatever the gradients' scale.
  """

  make: Callable
  single: float | None = 1.0
  non_conflict: int = 0
  homogeneous: bool = True
  leading: int = 0
  ordered_from: int = 1000
  full_rank: bool = False
  needs_losses: bool = False
  unit: bool = False


METHODS = {
  "mean_tasks": Method(jaxmtl.mean_tasks),
  "sum_tasks": Method(jaxmtl.sum_tasks),
  "pcgrad": Method(jaxmtl.pcgrad, non_conflict=2, ordered_from=3),
  "cagrad": Method(jaxmtl.cagrad, single=1.2),
  "mgda": Method(jaxmtl.mgda, non_conflict=1000),
  "mgda_loss+": Method(
    lambda num_tasks: jaxmtl.mgda(num_tasks, "loss+"), full_rank=True, needs_losses=True
  ),
  "metabalance": Method(jaxmtl.metabalance, leading=1),
  "imtl_g": Method(jaxmtl.imtl_g, full_rank=True),
  "aligned_mtl": Method(jaxmtl.aligned_mtl),
  "aligned_mtl_median": Method(lambda num_tasks: jaxmtl.aligned_mtl(num_tasks, "median")),
  "aligned_mtl_rmse": Method(lambda num_tasks: jaxmtl.aligned_mtl(num_tasks, "rmse")),
  "conflict_free": Method(jaxmtl.conflict_free, non_conflict=20, full_rank=True),
  "cr_mogm": Method(jaxmtl.cr_mogm),
  "gradvac": Method(jaxmtl.gradvac, ordered_from=3),
  "gradvac_per_tensor": Method(
    lambda num_tasks: jaxmtl.gradvac(num_tasks, per_tensor=True), ordered_from=3
  ),
  "gcs": Method(jaxmtl.gcs, leading=1),
  "pcd": Method(jaxmtl.pcd, homogeneous=False, leading=1),
  "krum": Method(jaxmtl.krum, ordered_from=2),  # two tasks are equally close to each other
  "krum_two": Method(lambda num_tasks: jaxmtl.krum(num_tasks, num_selected=min(2, num_tasks))),
  "graddrop": Method(jaxmtl.graddrop),
  "graddrop_leak": Method(
    lambda num_tasks: jaxmtl.graddrop(num_tasks, leak=[0.4] * int(num_tasks))
  ),
  "trimmed_mean": Method(jaxmtl.trimmed_mean),
  "moco": Method(jaxmtl.moco, single=None, homogeneous=False, needs_losses=True, unit=True),
  "moco_simplex": Method(
    lambda num_tasks: jaxmtl.moco(
      num_tasks, rho=0.1, projection="simplex", times_loss=False, beta_sigma=0.0, gamma_sigma=0.0
    ),
    single=None,
    homogeneous=False,
    unit=True,
  ),
  "db_mtl": Method(jaxmtl.db_mtl, single=0.1, needs_losses=True),
  "excess_mtl": Method(jaxmtl.excess_mtl, homogeneous=False),
  # Non-conflict holds up to their regularisation only; test_dual_cone.py says how far.
  "upgrad": Method(jaxmtl.upgrad),
  "dual_proj": Method(jaxmtl.dual_proj),
  "nash_mtl": Method(lambda num_tasks: jaxmtl.nash_mtl(num_tasks, max_norm=0.0), full_rank=True),
  "nash_mtl_max_norm": Method(
    lambda num_tasks: jaxmtl.nash_mtl(num_tasks, update_every=2),
    single=None,
    homogeneous=False,
    full_rank=True,
  ),
  "fairgrad": Method(jaxmtl.fairgrad, single=None, homogeneous=False, full_rank=True, unit=True),
  "modo": Method(lambda num_tasks: jaxmtl.modo(num_tasks, 0.1, scale_by="max")),
  # A step size with which it converges: at the authors', rounding may choose another corner.
  "sdmgrad": Method(lambda num_tasks: jaxmtl.sdmgrad(num_tasks, lr=0.5)),
}
GRAMIAN_BASED = [name for name, m in METHODS.items() if m.make(2).weigh is not None]
NON_CONFLICT = [name for name, m in METHODS.items() if m.non_conflict >= 2]
SIZE = 20  # of a flattened parameter tree
# Nothing here runs long enough to repay an optimising compiler.
FAST_COMPILE = {"xla_backend_optimization_level": 0}
jit = functools.partial(jax.jit, compiler_options=FAST_COMPILE)

every_method = pytest.mark.parametrize("name", METHODS)
# A method's options change its numbers, hardly ever its form.
every_form = pytest.mark.parametrize(
  "name", [n for n in METHODS if n in jaxmtl.aggregation.METHODS or n == "gradvac_per_tensor"]
)
quick = settings(deadline=None, derandomize=True, max_examples=15)


def tree(rows):
  """Task gradients [T, 20] as a pytree with a matrix, a vector and a scalar parameter."""
  rows = jnp.asarray(rows)
  shapes = {"matrix": (0, 16, (8, 2)), "vector": (16, 19, (3,)), "scalar": (19, 20, ())}
  return {k: rows[..., i:j].reshape(*rows.shape[:-1], *s) for k, (i, j, s) in shapes.items()}


def flat(update):
  """The inverse of `tree`, in float64."""
  leaves = [update["matrix"], update["vector"], update["scalar"]]
  lead = leaves[2].shape
  return np.concatenate([np.asarray(x, np.float64).reshape(*lead, -1) for x in leaves], axis=-1)


@functools.cache
def compiled(name, num_tasks):
  """The aggregator and its update under jit; the cache keeps one compilation a shape and type."""
  transform = METHODS[name].make(num_tasks)

  def update(rows, state, losses, mask):
    grads = tree(rows)
    params = jax.tree.map(lambda g: jnp.zeros(g.shape[1:], g.dtype), grads)
    return transform.update(grads, state, params, losses=losses, mask=mask)

  return transform, jit(update), update


@functools.cache
def initial(name, num_tasks, dtype, wide):
  """Parameters and the first state; its own numbers may depend on what numbers are wide."""
  assert wide == jax.config.jax_enable_x64
  params = tree(jnp.zeros(SIZE, dtype))
  return params, compiled(name, num_tasks)[0].init(params)


def aggregate(name, rows, mask=None, losses=None, steps=1, dtype=None, once=False):
  """The flat update [20] of the last of `steps` updates with the same rows."""
  num_tasks = len(rows)
  _, update, eager = compiled(name, num_tasks)
  update = eager if once else update
  rows = jnp.asarray(rows, dtype)
  params, state = initial(name, num_tasks, rows.dtype, jax.config.jax_enable_x64)
  losses = np.arange(1.0, num_tasks + 1) if losses is None else np.asarray(losses)
  mask = np.ones(num_tasks, bool) if mask is None else np.asarray(mask)
  for _ in range(steps):
    out, state = update(rows, state, losses, mask)
  for param, leaf in zip(jax.tree.leaves(params), jax.tree.leaves(out), strict=True):
    assert (leaf.shape, leaf.dtype) == (param.shape, param.dtype)
  return flat(out)


def normal_rows(num_tasks, seed=0):
  return np.random.default_rng(seed).normal(size=(num_tasks, SIZE))


@st.composite
def jacobians(draw, num_tasks, full_rank=False):
  """Task gradients of any rank, whose scales lie within 1e-2 to 1e2."""
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  rank = num_tasks if full_rank else draw(st.integers(1, num_tasks))
  scales = draw(st.lists(st.floats(-2, 2), min_size=num_tasks, max_size=num_tasks))
  rows = rng.normal(size=(num_tasks, rank)) @ rng.normal(size=(rank, SIZE))
  return rows * 10 ** np.array(scales)[:, None]


def assert_close(got, want, scale, tolerance):
  assert np.all(np.isfinite(got))
  np.testing.assert_array_less(np.abs(got - want), tolerance * np.abs(scale).max() + 1e-300)


@every_method
def test_one_task(name, x64):
  rows = normal_rows(1)
  update = aggregate(name, rows, once=True)
  factor = METHODS[name].single
  if factor is None:
    assert np.all(np.isfinite(update))
  else:
    np.testing.assert_allclose(update, factor * rows[0], rtol=1e-7)


@every_form
def test_forty_tasks(name):
  rows = normal_rows(40)  # more tasks than parameters: linearly dependent gradients
  update = aggregate(name, rows, dtype=jnp.float32, once=True)
  assert np.all(np.isfinite(update))
  if METHODS[name].non_conflict >= 40:
    assert np.min(rows @ update) >= -1e-3 * np.max(np.sum(rows**2, axis=1))


@every_method
def test_zero_gradients_give_zeros(name):
  np.testing.assert_array_equal(aggregate(name, np.zeros((3, SIZE)), dtype=jnp.float32), 0)


_A, _B, _C = normal_rows(3, seed=1)
EXTREMES = {
  "huge": [1e15 * _A, 1e15 * _B, 1e15 * _C],
  "tiny": [1e-20 * _A, 1e-20 * _B, 1e-20 * _C],
  "all scales": [1e15 * _A, _B, 1e-20 * _C],
  "one zero": [_A, 0 * _B, _C],
  "two zero": [0 * _A, 0 * _B, _C],
  "opposite": [_A, -_A, _B],
  "opposite, huge": [1e15 * _A, -1e15 * _A, 1e15 * _B],
  "balanced": [_A, _B, -_A - _B],
  "opposite and unequal": [1e3 * _A, -1e-3 * _A, _B],
  "duplicates": [_A, _A, _A],
  "rank one": [_A, 2 * _A, -3 * _A],
}


@every_method
@pytest.mark.parametrize("case", EXTREMES)
def test_extremes_give_finite_updates(name, case):
  rows = np.array(EXTREMES[case])
  update = aggregate(name, rows, dtype=jnp.float32, steps=2)
  assert np.all(np.isfinite(update))
  # No method of this table makes an update longer than a few times the sum of the norms.
  norms = np.ones(len(rows)) if METHODS[name].unit else np.linalg.norm(rows, axis=1)
  assert np.abs(update).max() <= 10 * norms.sum()


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.homogeneous])
@pytest.mark.parametrize("factor", [1e15, 1e-20])
def test_huge_and_tiny_gradients_are_treated_as_others(name, factor):
  rows = normal_rows(3, seed=2)
  plain = aggregate(name, rows, dtype=jnp.float32)
  assert_close(aggregate(name, factor * rows, dtype=jnp.float32) / factor, plain, rows, 2e-3)
  assert np.abs(plain).max() > 1e-3  # or the comparison would say nothing


@every_form
def test_bfloat16_keeps_its_type(name):
  rows = normal_rows(3, seed=3).astype(jnp.bfloat16).astype(np.float64)
  low = aggregate(name, rows, dtype=jnp.bfloat16, once=True)  # asserts the type
  assert_close(low, aggregate(name, rows, dtype=jnp.float32), np.abs(rows).max(), 3e-2)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.homogeneous])
@given(data=st.data())
@quick
def test_scaling_all_gradients_scales_the_update(name, data):
  with jax.enable_x64(True):
    rows, power = data.draw(jacobians(3, METHODS[name].full_rank)), data.draw(st.floats(-3, 3))
    update = aggregate(name, rows)
    assert_close(aggregate(name, 10**power * rows), 10**power * update, 10**power * rows, 1e-6)


@every_method
@given(data=st.data())
@quick
def test_order_of_the_tasks_does_not_matter(name, data):
  method = METHODS[name]
  num_tasks = min(3, method.ordered_from - 1)
  with jax.enable_x64(True):
    rows = data.draw(jacobians(num_tasks, method.full_rank))
    places = data.draw(st.permutations(range(method.leading, num_tasks)))
    places = np.array(list(range(method.leading)) + list(places))
    losses = np.arange(1.0, num_tasks + 1)
    update = aggregate(name, rows, losses=losses)
    assert_close(aggregate(name, rows[places], losses=losses[places]), update, rows, 1e-5)


@pytest.mark.parametrize("name", NON_CONFLICT)
@given(data=st.data())
@quick
def test_update_conflicts_with_no_task(name, data):
  num_tasks = min(3, METHODS[name].non_conflict)
  with jax.enable_x64(True):
    rows = data.draw(jacobians(num_tasks, METHODS[name].full_rank))
    assert np.min(rows @ aggregate(name, rows)) >= -1e-8 * np.max(np.sum(rows**2, axis=1))


@every_method
@pytest.mark.parametrize("garbage", [7.0, np.nan, np.inf])
def test_a_task_without_labels_is_left_out(name, garbage, x64):
  rows, losses = normal_rows(3, seed=4), np.array([1.0, garbage, 3.0])
  want = aggregate(name, rows[[0, 2]], losses=losses[[0, 2]], steps=3)
  rows[1] = garbage
  got = aggregate(name, rows, mask=[True, False, True], losses=losses, steps=3)
  np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


@every_method
def test_no_task_with_labels_gives_zeros(name):
  nothing = aggregate(name, np.full((3, SIZE), np.nan), mask=[False] * 3, dtype=jnp.float32)
  np.testing.assert_array_equal(nothing, 0)


@every_method
def test_nan_gradient_of_a_task_with_labels_shows(name):
  """So that optax.apply_if_finite behind the aggregator can skip the step."""
  rows = normal_rows(3, seed=6)
  rows[1] = np.nan
  assert np.any(np.isnan(aggregate(name, rows, dtype=jnp.float32)))


@pytest.mark.parametrize("name", GRAMIAN_BASED)
def test_weigh_gives_the_weights_of_the_update(name, x64):
  rows, losses = normal_rows(3, seed=7), jnp.arange(1.0, 4.0)
  transform, *_ = compiled(name, 3)
  state = transform.init(tree(jnp.zeros(SIZE)))
  mask = np.array([True, True, False])

  @jit
  def weights(gramian):
    return transform.weigh(gramian, state, losses=losses, mask=mask)[0]

  # Garbage in the row of a task without labels is not looked at.
  gramian = rows @ rows.T
  gramian[2] = np.nan
  found = np.asarray(weights(gramian))
  assert found[2] == 0
  np.testing.assert_allclose(
    found[:2] @ rows[:2], aggregate(name, rows, mask=mask, losses=losses), rtol=1e-6, atol=1e-9
  )


_SGD = optax.sgd(0.1, momentum=0.9)  # with a state, and compiled soon


@jit
def _sgd_step(params, state, grads):
  updates, state = _SGD.update(grads, state, params)
  return optax.apply_updates(params, updates), state


@every_form
def test_vmap_over_seeds_and_scan_and_chain_and_devices(name, mesh):
  """Three networks, four steps in one call on eight devices, against one update after another.

  And without a mask, which is the same as a mask of ones.
  """
  rows = jnp.asarray(normal_rows(3 * 4 * 3, seed=8).reshape(3, 4, 3, SIZE), jnp.float32)
  places = {"matrix": PartitionSpec(None, None, None, "data")}
  spread = {
    k: jax.device_put(g, NamedSharding(mesh, places.get(k, PartitionSpec())))
    for k, g in tree(rows).items()
  }
  transform, update, _ = compiled(name, 3)
  chain = optax.chain(transform, optax.apply_if_finite(_SGD, 3))
  losses = jnp.arange(1.0, 4.0)
  start = tree(jnp.ones(SIZE, jnp.float32))

  @jit
  @jax.vmap
  def train(grads):
    def step(carry, grads):
      params, state = carry
      updates, state = chain.update(grads, state, params, losses=losses)
      return (jaxmtl.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (start, chain.init(start)), grads)[0][0]

  out = train(spread)
  assert len(out["matrix"].sharding.device_set) == 8
  got = flat(out)
  for seed in range(3):
    params, state, sgd_state = start, transform.init(start), _SGD.init(start)
    for row in rows[seed]:
      grads, state = update(row, state, losses, jnp.ones(3, bool))
      params, sgd_state = _sgd_step(params, sgd_state, grads)
    np.testing.assert_allclose(got[seed], flat(params), rtol=1e-5)
  assert np.ptp(got, axis=0).max() > 1e-3


@every_method
def test_state_survives_a_round_trip(name):
  rows, losses, mask = normal_rows(3, seed=9), jnp.arange(1.0, 4.0), jnp.ones(3, bool)
  rows = jnp.asarray(rows, jnp.float32)
  transform, update, _ = compiled(name, 3)
  params = tree(jnp.zeros(SIZE, jnp.float32))
  first = transform.init(params)
  _, state = update(rows, first, losses, mask)
  assert jax.tree.structure(first) == jax.tree.structure(state)
  for before, after in zip(jax.tree.leaves(first), jax.tree.leaves(state), strict=True):
    assert (before.shape, before.dtype) == (after.shape, after.dtype)
  leaves, structure = jax.tree.flatten(state)
  copied = jax.tree.unflatten(structure, [leaf.copy() for leaf in leaves])
  copied = optax.tree_utils.tree_map_params(transform, lambda leaf: leaf, copied)
  want, got = (flat(update(rows, s, losses, mask)[0]) for s in (state, copied))
  np.testing.assert_array_equal(got, want)


@every_method
def test_bad_input_raises(name):
  transform = METHODS[name].make(3)
  params = tree(jnp.zeros(SIZE))
  state, grads, losses = transform.init(params), tree(jnp.ones((3, SIZE))), jnp.ones(3)

  def update(grads=grads, **extra):
    return transform.update(grads, state, params, **{"losses": losses, **extra})

  with pytest.raises(ValueError, match=r"updates.* has shape \(4, .*num_tasks=3"):
    update(tree(jnp.ones((4, SIZE))))
  with pytest.raises(ValueError, match=r"stacked task gradients"):
    update(params)
  with pytest.raises(ValueError, match=r"would be broadcast"):
    update({**grads, "scalar": jnp.ones((3, 5))})
  with pytest.raises(ValueError, match=r"holds no array"):
    transform.update({}, state, losses=losses)
  with pytest.raises(ValueError, match=r"mask has shape \(2,\) but must have \(3,\)"):
    update(mask=jnp.ones(2, bool))
  if METHODS[name].needs_losses:
    with pytest.raises(ValueError, match=r"losses is missing"):
      update(losses=None)
    with pytest.raises(ValueError, match=r"losses has shape \(2,\) but must have \(3,\)"):
      update(losses=jnp.ones(2))
  for count in (0, -1, 2.0, True):
    with pytest.raises(ValueError, match="num_tasks must be a positive integer"):
      METHODS[name].make(count)
