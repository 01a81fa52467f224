"""Flax's TrainState with extra arguments."""

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax.linen import fp8_ops
from flax.training import train_state

import jaxmtl

PARAMS = {"w": jnp.ones(2)}
GRADS = {"w": jnp.eye(2)}


class State(jaxmtl.flax.TrainState):
  batch_stats: jax.Array


def state_of(*transforms):
  tx = jaxmtl.chain(*transforms, optax.adam(0.1))
  return State.create(apply_fn=None, params=PARAMS, tx=tx, batch_stats=jnp.zeros(3))


def test_extra_arguments_reach_the_transform_and_fields_are_replaced():
  state = state_of(jaxmtl.dwa(2), jaxmtl.pcgrad(2))
  assert isinstance(state, train_state.TrainState)
  step = jax.jit(
    lambda s: s.apply_gradients(
      grads=GRADS, losses=jnp.ones(2), mask=[True, False], batch_stats=s.batch_stats + 1
    )
  )
  new = step(state)
  assert new.tx is state.tx
  assert int(new.step) == 1
  assert new.batch_stats.tolist() == [1.0] * 3
  updates, opt_state = state.tx.update(
    GRADS, state.opt_state, PARAMS, losses=jnp.ones(2), mask=[True, False]
  )
  np.testing.assert_allclose(new.params["w"], PARAMS["w"] + updates["w"], rtol=1e-6)
  assert jax.tree.structure(new.opt_state) == jax.tree.structure(opt_state)
  new, programs = step(new), step._cache_size()  # flax's step is at first a Python number
  step(new)
  assert step._cache_size() == programs


def test_clear_errors():
  with pytest.raises(ValueError, match="losses is missing"):
    state_of(jaxmtl.dwa(2), jaxmtl.sum_tasks(2)).apply_gradients(grads=GRADS)
  # Also where the transform does not look itself.
  plain = jaxmtl.flax.TrainState.create(apply_fn=None, params=PARAMS, tx=optax.sgd(0.1))
  with pytest.raises(ValueError, match="no aggregator is in the chain"):
    plain.apply_gradients(grads=GRADS)
  assert plain.apply_gradients(grads=PARAMS, losses=jnp.ones(2)).step == 1


def test_is_saved_like_flax_own():
  state = state_of(jaxmtl.dwa(2), jaxmtl.pcgrad(2))
  moved = state.apply_gradients(grads=GRADS, losses=jnp.ones(2))
  blob = flax.serialization.to_bytes(jaxmtl.unwrap_keys(moved))
  read = flax.serialization.from_bytes(jaxmtl.unwrap_keys(state), blob)
  read = jaxmtl.wrap_keys(read, state)
  assert jax.tree.structure(read) == jax.tree.structure(moved)
  for got, want in zip(jax.tree.leaves(read), jax.tree.leaves(moved), strict=True):
    np.testing.assert_array_equal(*map(jaxmtl.unwrap_keys, (got, want)))


def test_what_is_overwritten_stays_flax_business():
  name = fp8_ops.OVERWRITE_WITH_GRADIENT
  params = {"params": PARAMS, name: {"scale": jnp.ones(1)}}
  tx = jaxmtl.chain(jaxmtl.sum_tasks(2), optax.sgd(1.0))
  state = jaxmtl.flax.TrainState(0, None, params, tx, tx.init(PARAMS))
  new = state.apply_gradients(grads={"params": GRADS, name: {"scale": jnp.full(1, 3.0)}})
  assert new.params[name]["scale"].tolist() == [3.0]
  assert new.params["params"]["w"].tolist() == [0.0, 0.0]


def test_orbax_takes_a_state_without_keys(tmp_path):
  tx = optax.chain(jaxmtl.rlw(2, key=3), jaxmtl.pcgrad(2), optax.adam(0.1))
  params, grads = {"w": jnp.ones(3)}, {"w": jnp.arange(6.0).reshape(2, 3)}
  losses = jnp.array([1.0, 2.0])
  update = jax.jit(lambda state: tx.update(grads, state, params, losses=losses))
  _, state = update(tx.init(params))
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / "state", jaxmtl.unwrap_keys(state))
    checkpointer.wait_until_finished()
    read = checkpointer.restore(tmp_path / "state", jaxmtl.unwrap_keys(tx.init(params)))
  restored = jaxmtl.wrap_keys(read, tx.init(params))
  for got, want in zip(
    *map(jax.tree.leaves, jaxmtl.unwrap_keys((update(restored), update(state)))), strict=True
  ):
    np.testing.assert_array_equal(got, want)
