"""Transforms that stand around weightings and aggregators in one's own loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl

TASKS = 3
PARAMS = {"a": jnp.zeros(4), "b": jnp.zeros((2, 2))}
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def rows(seed, scale=1.0):
  rng = np.random.default_rng(seed)
  return {
    "a": jnp.asarray(scale * rng.normal(size=(TASKS, 4)), jnp.float32),
    "b": jnp.asarray(scale * rng.normal(size=(TASKS, 2, 2)), jnp.float32),
  }


def steps(tx, gradients, params=PARAMS, **extra):
  state = tx.init(params)

  @jit
  def update(grads, state, params, options):
    updates, state = tx.update(grads, state, params, **options)
    return optax.apply_updates(params, updates), state

  for i, grads in enumerate(gradients):
    options = {name: values[i] for name, values in extra.items()}
    params, state = update(grads, state, params, options)
  return params, state


# --- per_task


def test_every_task_is_clipped_by_itself():
  grads = jax.tree.map(np.array, rows(0))
  grads["a"][0] *= 100
  tx = jaxmtl.per_task(TASKS, optax.clip_by_global_norm(0.5))
  clipped, _ = jit(tx.update)(grads, tx.init(PARAMS), PARAMS)
  squares = np.diagonal(jit(jaxmtl.gramian)(clipped))
  np.testing.assert_allclose(np.sqrt(squares), 0.5, rtol=1e-5)


def test_a_state_a_task_is_scanned_and_rests_without_labels():
  tx = jaxmtl.chain(
    jaxmtl.per_task(TASKS, optax.scale_by_adam()), jaxmtl.pcgrad(TASKS), optax.sgd(0.1)
  )
  present = jnp.array([True, False, True])

  def step(state, grads):
    updates, state = tx.update(grads, state, PARAMS, mask=present)
    return state, updates

  stacked = jax.tree.map(lambda *g: np.stack(g), rows(0), rows(1))
  state, updates = jax.jit(lambda s: jax.lax.scan(step, s, stacked))(tx.init(PARAMS))
  moments = np.asarray(state[0].mu["a"])
  assert moments.shape == (TASKS, 4)
  np.testing.assert_array_equal(moments[1], 0)
  assert np.abs(moments[[0, 2]]).min() > 0
  np.testing.assert_array_equal(state[0].count, [2, 0, 2])
  assert updates["b"].shape == (2, 2, 2)


def test_tasks_draw_apart():
  tx = jaxmtl.per_task(2, optax.add_noise(1.0, 0.0, key=0))
  noise, _ = tx.update(jnp.zeros((2, 5)), tx.init(jnp.zeros(5)), jnp.zeros(5))
  assert np.abs(noise[0] - noise[1]).min() > 0


# --- chain


def test_a_chain_refuses_what_optax_would_take_silently():
  with pytest.raises(ValueError, match=r"transform 0 stands before an aggregator.*per_task"):
    jaxmtl.chain(optax.adam(0.1), jaxmtl.mgda(TASKS))
  with pytest.raises(ValueError, match="keeps the task axis and no aggregator follows"):
    jaxmtl.chain(jaxmtl.dwa(TASKS), optax.sgd(0.1))
  with pytest.raises(ValueError, match="transforms 0 and 1 are aggregators"):
    jaxmtl.chain(jaxmtl.sum_tasks(TASKS), jaxmtl.mgda(TASKS))
  with pytest.raises(ValueError, match=r"pcgrad is no transform; call it"):
    jaxmtl.chain(jaxmtl.pcgrad, optax.sgd(0.1))
  plain = jaxmtl.chain(optax.sgd(0.1))
  with pytest.raises(ValueError, match=r"updates\['a'\] has shape \(3, 4\), its parameter \(4,\)"):
    plain.update(rows(0), plain.init(PARAMS), PARAMS)
  with pytest.raises(ValueError, match="params is missing"):
    plain.update(rows(0), plain.init(PARAMS))


def test_a_chain_is_optaxs():
  parts = jaxmtl.dwa(TASKS), jaxmtl.mgda(TASKS), optax.adam(0.1)
  losses = [jnp.arange(1.0, 4.0)] * 2
  got, _ = steps(jaxmtl.chain(*parts), [rows(0), rows(1)], losses=losses)
  want, _ = steps(optax.chain(*parts), [rows(0), rows(1)], losses=losses)
  jax.tree.map(np.testing.assert_array_equal, got, want)


# --- accumulate

WEIGHTINGS = {"none": None, "dwa": jaxmtl.dwa, "famo": jaxmtl.famo, "gradnorm": jaxmtl.gradnorm}
# From the Gramian, with draws; from the gradients, with draws; with a state of the gradients.
AGGREGATORS = ("sum_tasks", "pcgrad", "graddrop", "moco")
PAIRS = [("dwa", name) for name in AGGREGATORS]
PAIRS += [(name, "cagrad") for name in WEIGHTINGS if name != "dwa"]


@pytest.mark.parametrize(("weighting", "aggregator"), PAIRS)
def test_micro_batches_are_one_large_batch(weighting, aggregator, x64):
  """Of unlike numbers of labels, and one task without any in some of them."""
  params = jax.tree.map(lambda p: np.asarray(p, float), PARAMS)
  counts = list(np.array([[4.0, 1.0, 0.0], [4.0, 2.0, 3.0], [2.0, 2.0, 2.0], [1.0, 4.0, 4.0]]))
  parts = [jax.tree.map(lambda g: np.asarray(g, float), rows(seed)) for seed in range(4)]
  losses = [np.random.default_rng(seed).uniform(1, 3, TASKS) for seed in range(4)]

  def whole(values, first):
    pair, weights = values[first : first + 2], counts[first : first + 2]
    total = sum(weights)

    def mean(*leaves):
      shaped = [w.reshape((-1,) + (1,) * (leaves[0].ndim - 1)) for w in (*weights, total)]
      return sum(w * x for w, x in zip(shaped, leaves, strict=False)) / shaped[-1]

    return jax.tree.map(mean, *pair)

  def make():
    first = WEIGHTINGS[weighting]
    before = [] if first is None else [first(TASKS)]
    return optax.chain(*before, getattr(jaxmtl, aggregator)(TASKS), optax.adam(0.1))

  got, state = steps(
    jaxmtl.accumulate(TASKS, 2, make()), parts, params, losses=losses, counts=counts
  )
  large = [whole(parts, 0), whole(parts, 2)]
  want, inner = steps(make(), large, params, losses=[whole(losses, 0), whole(losses, 2)])
  jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-6, atol=1e-9), got, want)
  assert jax.tree.structure(state.inner) == jax.tree.structure(inner)
  assert int(state.step) == 0


def test_nothing_moves_before_the_last_part():
  tx = jaxmtl.accumulate(TASKS, 3, jaxmtl.chain(jaxmtl.pcgrad(TASKS), optax.adam(0.1)))
  state = tx.init(PARAMS)
  updates, new = jit(tx.update)(rows(0), state, PARAMS)
  assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(updates))
  assert jnp.all(new.inner[0].key == state.inner[0].key)
  assert int(new.step) == 1
  with pytest.raises(ValueError, match="every must be a positive integer, got 0"):
    jaxmtl.accumulate(TASKS, 0, optax.sgd(0.1))


@pytest.mark.parametrize("further", [1, 2])
def test_further_batches_accumulate_too(further):
  inner = optax.chain(jaxmtl.modo(TASKS), optax.sgd(0.1))
  tx = jaxmtl.accumulate(TASKS, 2, inner, two_batches=further == 1, three_batches=further == 2)
  names = ("second_gradients", "third_gradients")[:further]
  parts = {name: [rows(2 + 2 * i), rows(3 + 2 * i)] for i, name in enumerate(names)}
  mean = lambda pair: [jax.tree.map(lambda g, h: (g + h) / 2, *pair)]  # noqa: E731
  got, _ = steps(tx, [rows(0), rows(1)], **parts)
  want, _ = steps(inner, mean([rows(0), rows(1)]), **{n: mean(p) for n, p in parts.items()})
  jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=1e-6), got, want)
  with pytest.raises(ValueError, match="second_gradients is missing"):
    tx.update(rows(0), tx.init(PARAMS), PARAMS)
  if further == 1:
    every = {"second_gradients": rows(1), "third_gradients": rows(2)}
    with pytest.raises(ValueError, match=r"third_gradients is given, .* three_batches=True does"):
      tx.update(rows(0), tx.init(PARAMS), PARAMS, **every)


# --- skip_nonfinite


@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_a_bad_step_changes_nothing(where):
  parts = jaxmtl.dwa(TASKS), jaxmtl.moco(TASKS), optax.adam(0.1)
  tx = jaxmtl.skip_nonfinite(optax.chain(*parts))
  losses = [jnp.ones(TASKS), jnp.full(TASKS, 2.0), jnp.full(TASKS, 3.0)]
  gradients = [rows(0), rows(1), rows(2)]
  if where == "gradient":
    gradients[1]["a"] = gradients[1]["a"].at[1, 2].set(jnp.nan)
  else:
    losses[1] = losses[1].at[0].set(jnp.inf)
  got, state = steps(tx, gradients, losses=losses)
  want, inner = steps(optax.chain(*parts), gradients[::2], losses=losses[::2])
  jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-6), got, want)
  jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-6), state.inner, inner)
  assert (int(state.skipped), int(state.in_a_row)) == (1, 0)
