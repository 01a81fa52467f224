"""What every weighting must do. A new method joins with one line in `METHODS`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl

# name -> (factory, whether the weights follow a permutation of the tasks)
METHODS = {
  "equal": (jaxmtl.equal, True),
  "constant": (lambda num_tasks: jaxmtl.constant(num_tasks, [0.5] * num_tasks), True),
  "dwa": (jaxmtl.dwa, True),
  "dwa_epochs": (lambda num_tasks: jaxmtl.dwa(num_tasks, steps_per_epoch=2), True),
  "uncertainty": (jaxmtl.uncertainty, True),
  "famo": (jaxmtl.famo, True),
  "gls": (jaxmtl.gls, True),
  "gradnorm": (jaxmtl.gradnorm, True),
  "gradnorm_epochs": (lambda num_tasks: jaxmtl.gradnorm(num_tasks, steps_per_epoch=3), True),
  "imtl_l": (jaxmtl.imtl_l, True),
  "stch": (lambda num_tasks: jaxmtl.stch(num_tasks, mu=0.5), True),
  "stch_preference": (
    lambda num_tasks: jaxmtl.stch(num_tasks, 0.5, preference=range(1, num_tasks + 1)),
    False,
  ),
  "rlw": (jaxmtl.rlw, False),
  "rlw_dirichlet": (lambda num_tasks: jaxmtl.rlw(num_tasks, distribution="dirichlet"), False),
}
# Nothing here runs long enough to repay an optimising compiler.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
every_method = pytest.mark.parametrize("name", METHODS)
SHAPES = {"w": (4, 2), "b": ()}
# Those whose state is one entry a task, without a clock that all tasks share.
ENTRY_A_TASK = ["famo", "gls", "gradnorm", "gradnorm_epochs", "imtl_l", "uncertainty"]


def weigh_of(transform):
  """`weigh`, which gets the Gramian where it needs one: as if each gradient were (loss, 1)."""

  def weigh(losses, state, mask=None):
    extra = {"gramian": jnp.outer(losses, losses) + 1} if transform.needs_gramian else {}
    return transform.weigh(losses, state, mask, **extra)

  return weigh


@functools.cache
def compiled(name, num_tasks):
  """The weighting, and its update and `weigh` under jit."""
  transform = METHODS[name][0](num_tasks)
  return transform, jit(transform.update), jit(weigh_of(transform))


def gradients(num_tasks, dtype=jnp.float32, seed=0):
  rng = np.random.default_rng(seed)
  return {k: jnp.asarray(rng.normal(size=(num_tasks, *s)), dtype) for k, s in SHAPES.items()}


def history(num_tasks, steps=5, seed=0):
  return np.random.default_rng(seed).uniform(0.5, 2, (steps, num_tasks)).astype(np.float32)


def weights_of(name, losses, mask=None):
  """The weights after a history of losses `[steps, T]`."""
  transform, _, weigh = compiled(name, losses.shape[1])
  state = transform.init(None)
  mask = jnp.ones(losses.shape[1], bool) if mask is None else jnp.asarray(mask)
  for row in losses:
    weights, state = weigh(jnp.asarray(row), state, mask)
  return np.asarray(weights)


@every_method
@pytest.mark.parametrize("num_tasks", [1, 2, 40])
def test_weights_are_finite_and_not_negative(name, num_tasks):
  weights = weights_of(name, history(num_tasks))
  assert weights.shape == (num_tasks,)
  assert np.all(np.isfinite(weights))
  assert np.all(weights >= 0)
  assert weights.sum() > 0


@every_method
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_update_scales_the_rows(name, dtype):
  transform, update, weigh = compiled(name, 3)
  grads, losses = gradients(3, dtype), jnp.asarray(history(3)[0])
  state = transform.init(None)
  scaled, _ = update(grads, state, losses=losses)
  weights, _ = weigh(losses, state)
  for key, grad in grads.items():
    assert (scaled[key].shape, scaled[key].dtype) == (grad.shape, dtype)
    want = np.asarray(grad, np.float32) * np.asarray(weights).reshape(3, *[1] * len(SHAPES[key]))
    np.testing.assert_allclose(np.asarray(scaled[key], np.float32), want, rtol=1e-2, atol=1e-6)


@functools.cache
def scanned(name):
  """The weights along histories of losses, several at once: compiled once."""
  transform = METHODS[name][0](3)
  weigh = weigh_of(transform)

  @jit
  @jax.vmap
  def run(losses):
    return jax.lax.scan(lambda s, x: weigh(x, s)[::-1], transform.init(None), losses)[1]

  return run


@every_method
def test_extreme_losses_give_finite_weights(name):
  losses = np.ones((3, 400, 3), np.float32)
  losses[..., ::2] = np.array([0.0, 1e-20, 1e15])[:, None, None]
  assert np.all(np.isfinite(scanned(name)(losses)))


@every_method
def test_a_loss_that_is_not_finite_leaves_no_trace(name):
  losses = history(3)
  losses[2, 1] = np.nan
  transform, _, weigh = compiled(name, 3)
  bad = masked = transform.init(None)
  for row in losses:
    finite = jnp.asarray(np.isfinite(row))
    weights, bad = weigh(jnp.asarray(row), bad, jnp.ones(3, bool))
    wanted, masked = weigh(jnp.nan_to_num(jnp.asarray(row)), masked, finite)
    if not transform.needs_gramian:  # there the Gramian differs too
      np.testing.assert_allclose(weights, np.where(finite, wanted, np.nan), rtol=1e-6)
  assert np.all(np.isfinite(weights))


@every_method
def test_a_task_without_labels_weighs_nothing(name):
  losses = history(3)
  losses[:, 1] = np.nan
  mask = np.array([True, False, True])
  weights = weights_of(name, losses, mask)
  assert weights[1] == 0
  assert np.all(weights[mask] > 0)
  if METHODS[name][1]:
    np.testing.assert_allclose(weights[mask], weights_of(name, losses[:, mask]), rtol=1e-6)
  np.testing.assert_array_equal(weights_of(name, losses, [False] * 3), 0)


@pytest.mark.parametrize("name", ENTRY_A_TASK)
def test_a_task_without_labels_keeps_its_state(name):
  losses, mask = history(3), np.array([True, False, True])
  transform, _, weigh = compiled(name, 3)
  state = weigh(jnp.asarray(losses[0]), transform.init(None), jnp.ones(3, bool))[1]
  for row in losses[1:]:
    row[1] = np.nan
    state, before = weigh(jnp.asarray(row), state, jnp.asarray(mask))[1], state
    for new, old in zip(jax.tree.leaves(state), jax.tree.leaves(before), strict=True):
      if new.ndim:  # a scalar counts updates
        np.testing.assert_array_equal(new[1], old[1])


@every_method
def test_masked_rows_become_zero(name):
  transform, update, _ = compiled(name, 3)
  grads = jax.tree.map(np.array, gradients(3))
  for leaf in grads.values():
    leaf[1] = np.nan
  losses, mask = np.float32([1.0, np.nan, 1.0]), np.array([True, False, True])
  scaled, state = update(grads, transform.init(None), losses=losses, mask=mask)
  for leaf in map(np.asarray, jax.tree.leaves(scaled)):
    np.testing.assert_array_equal(leaf[1], 0)
    assert np.all(np.isfinite(leaf))
  for leaf in jax.tree.leaves(state):
    if jnp.issubdtype(leaf.dtype, jnp.floating):
      assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("name", [n for n, (_, ordered) in METHODS.items() if ordered])
def test_order_of_the_tasks_does_not_matter(name):
  losses, places = history(40), np.random.default_rng(1).permutation(40)
  want = weights_of(name, losses)[places]
  np.testing.assert_allclose(weights_of(name, losses[:, places]), want, rtol=1e-5)


@every_method
def test_vmap_and_scan(name):
  losses = np.stack([history(3, steps=400, seed=seed) for seed in range(3)])
  found = np.asarray(scanned(name)(losses))
  for seed in range(3):
    np.testing.assert_allclose(found[seed, 4], weights_of(name, losses[seed, :5]), rtol=1e-5)


@every_method
def test_state_survives_a_round_trip(name):
  transform, _, weigh = compiled(name, 3)
  first = transform.init(gradients(3))
  losses = jnp.asarray(history(3)[0])
  _, state = weigh(losses, first)
  assert jax.tree.structure(first) == jax.tree.structure(state)
  leaves, structure = jax.tree.flatten(state)
  copied = jax.tree.unflatten(structure, [leaf.copy() for leaf in leaves])
  copied = optax.tree_utils.tree_map_params(transform, lambda leaf: leaf, copied)
  np.testing.assert_array_equal(weigh(losses, state)[0], weigh(losses, copied)[0])


@every_method
def test_bad_input_raises(name):
  transform, _, _ = compiled(name, 3)
  grads, state, losses = gradients(3), transform.init(None), jnp.ones(3)
  with pytest.raises(ValueError, match="losses is missing"):
    transform.update(grads, state)
  with pytest.raises(ValueError, match=r"losses has shape \(2,\) but must have \(3,\)"):
    transform.update(grads, state, losses=jnp.ones(2))
  with pytest.raises(ValueError, match=r"mask has shape \(2,\) but must have \(3,\)"):
    transform.update(grads, state, losses=losses, mask=jnp.ones(2, bool))
  with pytest.raises(ValueError, match=r"has shape .* but num_tasks=3"):
    transform.update(gradients(4), state, losses=losses)
  with pytest.raises(ValueError, match=r"would be broadcast"):
    transform.update(grads, state, {"w": jnp.ones(2), "b": jnp.ones(())}, losses=losses)
  for count in (0, -1):
    with pytest.raises(ValueError, match="num_tasks must be a positive integer"):
      METHODS[name][0](count)
