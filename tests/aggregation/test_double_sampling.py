"""MoDo and SDMGrad over several steps with two batches each, against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmtl

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
OPTIONS = {
  "modo": {"gamma": 0.4, "rho": 0.2, "scale_by": "max"},
  "sdmgrad": {"lam": 0.6, "lr": 0.3, "momentum": 0.4, "steps": 7, "scale_by": "max"},
}
both = pytest.mark.parametrize("method", OPTIONS)


@functools.cache
def compiled(method):
  aggregator = getattr(jaxmtl, method)(3, **OPTIONS[method])
  return aggregator, jit(aggregator.update)


def batches(seed, steps=4):
  """Pairs of task gradients [steps, 2, T, P], the second a noisy copy of the first."""
  rng = np.random.default_rng(seed)
  first = rng.normal(size=(steps, 3, 10)) * np.array([[1.0], [2.0], [0.5]])
  return np.stack([first, first + 0.5 * rng.normal(size=first.shape)], axis=1)


def nearest_on_simplex(values):
  """By bisection on the threshold."""
  low, high = values.min() - 1, values.max()
  for _ in range(200):
    middle = (low + high) / 2
    low, high = (middle, high) if np.maximum(values - middle, 0).sum() > 1 else (low, middle)
  return np.maximum(values - low, 0)


def reference(method, weights, first, second):
  """The next weights of the state, and the update."""
  cross = first @ second.T
  cross = cross / np.abs(np.diagonal(cross)).max()
  o = OPTIONS[method]
  if method == "modo":
    weights = nearest_on_simplex(weights - o["gamma"] * (cross @ weights + o["rho"] * weights))
    return weights, weights @ (first + second) / 2
  velocity, pull = 0, o["lam"] / len(weights)
  for _ in range(o["steps"]):
    velocity = o["momentum"] * velocity + cross @ (weights + pull)
    weights = nearest_on_simplex(weights - o["lr"] * velocity)
  return weights, (weights + pull) / (1 + o["lam"]) @ (first + second) / 2


@both
def test_two_batches_are_the_reference(method, x64):
  aggregator, update = compiled(method)
  state, weights = aggregator.init(jnp.zeros(10)), np.full(3, 1 / 3)
  for first, second in batches(0):
    out, state = update(jnp.asarray(first), state, second_gradients=jnp.asarray(second))
    weights, want = reference(method, weights, first, second)
    np.testing.assert_allclose(out, want, rtol=1e-7)
    np.testing.assert_allclose(state.weights, weights, rtol=1e-7, atol=1e-12)
  assert np.ptp(weights) > 0.01


@both
def test_one_batch_stands_for_both(method, x64):
  aggregator, update = compiled(method)
  state, (first, _) = aggregator.init(jnp.zeros(10)), batches(1)[0]
  out, _ = update(jnp.asarray(first), state)
  np.testing.assert_allclose(out, reference(method, np.full(3, 1 / 3), first, first)[1], rtol=1e-7)


@both
@pytest.mark.parametrize("factor", [1e15, 1e-20])
def test_two_batches_of_any_scale(method, factor):
  aggregator, update = compiled(method)
  first, second = jnp.asarray(batches(2)[0], jnp.float32)
  plain, _ = update(first, aggregator.init(first[0]), second_gradients=second)
  out, _ = update(factor * first, aggregator.init(first[0]), second_gradients=factor * second)
  np.testing.assert_allclose(out / factor, plain, rtol=1e-3, atol=1e-4)


@both
def test_a_task_without_labels_keeps_its_weight_and_its_share(method, x64):
  aggregator, update = compiled(method)
  pairs = batches(3)
  everyone, absent = jnp.ones(3, bool), jnp.array([True, False, True])
  first, second = jnp.asarray(pairs[0])
  _, before = update(first, aggregator.init(first[0]), second_gradients=second, mask=everyone)
  second = jnp.asarray(pairs[1, 1]).at[1].set(jnp.nan)
  out, after = update(jnp.asarray(pairs[1, 0]), before, second_gradients=second, mask=absent)
  share = 1 - before.weights[1]
  present = np.array([0, 2])
  weights, want = reference(
    method, np.asarray(before.weights)[present] / share, *pairs[1][:, present]
  )
  np.testing.assert_allclose(out, want, rtol=1e-7)
  assert after.weights[1] == before.weights[1]
  np.testing.assert_allclose(np.asarray(after.weights)[present], share * weights, rtol=1e-7)
  # Without any labels, nothing changes.
  _, idle = update(first, after, second_gradients=first, mask=jnp.zeros(3, bool))
  np.testing.assert_array_equal(idle.weights, after.weights)


@both
def test_a_nan_leaves_the_weights_as_they_were(method):
  aggregator, update = compiled(method)
  first, second = jnp.asarray(batches(4)[0], jnp.float32)
  state = aggregator.init(first[0])
  out, after = update(first.at[0, 0].set(jnp.nan), state, second_gradients=second)
  assert np.any(np.isnan(out))
  np.testing.assert_array_equal(after.weights, state.weights)


def test_sdmgrad_limits(x64):
  rows = batches(5)[0, 0]
  gramian = jnp.asarray(rows @ rows.T)
  for lam, want in ((0.0, jaxmtl.mgda(3)), (1e9, jaxmtl.mean_tasks(3))):
    aggregator = jaxmtl.sdmgrad(3, lam=lam, lr=0.3 / (1 + lam), steps=300, scale_by="max")
    weights, _ = jit(aggregator.weigh)(gramian, aggregator.init(None))
    expected, _ = jit(want.weigh)(gramian, want.init(None))
    np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_errors_name_the_argument():
  for bad in ({"gamma": -1.0}, {"rho": -0.5}):
    name, value = next(iter(bad.items()))
    with pytest.raises(ValueError, match=f"{name} must be at least 0, got {value}"):
      jaxmtl.modo(2, **bad)
  for bad in ({"lam": -1.0}, {"lr": 0.0}, {"momentum": 1.0}, {"steps": 0}):
    name, value = next(iter(bad.items()))
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
      jaxmtl.sdmgrad(2, **bad)
  aggregator = jaxmtl.modo(2)
  state, grads = aggregator.init(jnp.zeros(3)), jnp.ones((2, 3))
  with pytest.raises(ValueError, match=r"has shape \(3, 3\) but num_tasks=2"):
    aggregator.update(grads, state, jnp.zeros(3), second_gradients=jnp.ones((3, 3)))


def test_the_authors_scales_and_third_batch(x64):
  """Raw inner products in MoDo, a squared mean length in SDMGrad, directions from a third batch."""
  third = batches(6)[1, 0]
  first, second = batches(6)[0]
  cross = first @ second.T
  start, extra = np.full(3, 1 / 3), {"second_gradients": second, "third_gradients": third}
  want = nearest_on_simplex(start - 0.001 * (cross @ start + 0.1 * start))
  aggregator = jaxmtl.modo(3)
  out, _ = jit(aggregator.update)(first, aggregator.init(jnp.zeros(10)), **extra)
  np.testing.assert_allclose(out, want @ third, rtol=1e-7)

  cross /= np.mean(np.sqrt(np.diagonal(cross))) ** 2
  weights, velocity, share = start, 0, np.array([0.5, 0.3, 0.2])
  for _ in range(20):
    velocity = 0.5 * velocity + cross @ (weights + 0.3 * share)
    weights = nearest_on_simplex(weights - 5 * velocity)
  aggregator = jaxmtl.sdmgrad(3, preference=share)
  out, _ = jit(aggregator.update)(first, aggregator.init(jnp.zeros(10)), **extra)
  np.testing.assert_allclose(out, (weights + 0.3 * share) / 1.3 @ third, rtol=1e-7)
