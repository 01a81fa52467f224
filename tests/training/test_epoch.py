"""Epochs of data on the device: every example once, and no row from beyond the end."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmtl.training import Aux, scan_epoch, train_step

ROWS = {"a": 64, "b": 32, "c": 48}


def losses_fn(params, model_state, batch, key):
  return jnp.ones(1) * params, Aux(metrics={"seen": batch})


STEP = train_step(losses_fn, optax.sgd(0.1), 1)
STATE = STEP.init(jnp.zeros(()), jax.random.key(0))


def sets(offset=0):
  return {name: {"x": jnp.arange(n) + offset, "y": -jnp.arange(n)} for name, n in ROWS.items()}


def test_leaves_of_other_lengths_are_named():
  epoch = scan_epoch(STEP.update, 16)
  with pytest.raises(ValueError, match=r"one length, got \['a'\]\['x'\]: 64.*\['b'\].*32.*cycle"):
    epoch(STATE, sets())
  with pytest.raises(ValueError, match=r"must be a pytree of arrays \[N, ...\], got \(\)"):
    epoch(STATE, jnp.array(3.0))
  with pytest.raises(ValueError, match="subset must hold rows from 0 to 63, got 2 to 64"):
    epoch(STATE, jnp.arange(64), jnp.arange(2, 65))


def test_data_sets_of_their_own_lengths_start_again():
  run = jax.jit(scan_epoch(STEP.update, 16, cycle=True))
  state, metrics = run(STATE, sets())
  assert int(state.step) == 4  # a pass over the longest
  for name, size in ROWS.items():
    seen = np.asarray(metrics["seen"][name]["x"])
    assert seen.shape == (4, 16)
    np.testing.assert_array_equal(metrics["seen"][name]["y"], -seen)  # rows stay together
    whole = size // 16
    for start in range(0, 4 - whole + 1, whole):
      np.testing.assert_array_equal(np.sort(seen[start : start + whole].ravel()), np.arange(size))
  first, second = np.asarray(metrics["seen"]["b"]["x"]).reshape(2, 32)
  assert np.any(first != second)  # shuffled anew
  # The same state sees the same order, a later one another.
  np.testing.assert_array_equal(run(STATE, sets())[1]["seen"]["a"]["x"], metrics["seen"]["a"]["x"])
  assert np.any(run(state, sets())[1]["seen"]["a"]["x"] != metrics["seen"]["a"]["x"])


def test_pairs_of_such_batches_differ():
  def update(state, batches):
    state, metrics = STEP.update(state, batches[0])
    return state, metrics | {"second": batches[1]}

  _, metrics = jax.jit(scan_epoch(update, 16, pairs=True, cycle=True))(STATE, sets())
  assert np.any(metrics["seen"]["a"]["x"] != metrics["second"]["a"]["x"])
  np.testing.assert_array_equal(np.sort(metrics["second"]["a"]["x"].ravel()), np.arange(64))


def test_what_cannot_start_again_is_refused():
  epoch = scan_epoch(STEP.update, 16, cycle=True)
  with pytest.raises(ValueError, match="takes a dict of data sets and no subset, got list"):
    epoch(STATE, [jnp.arange(64)])
  with pytest.raises(ValueError, match="batch_size"):
    epoch(STATE, {"a": jnp.arange(64), "b": jnp.arange(8)})
