"""What optax would accept silently raises."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl import guards
from jaxmtl.tasks import check_num_tasks


def test_apply_updates_is_that_of_optax():
  params = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.zeros((), jnp.bfloat16)}
  updates = {"w": jnp.ones((2, 3)), "b": jnp.ones(())}
  got = jax.jit(jaxmtl.apply_updates)(params, updates)
  want = optax.apply_updates(params, updates)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


def test_apply_updates_refuses_a_task_axis():
  params = {"w": jnp.zeros((2, 3))}
  task_grads = {"w": jnp.ones((4, 2, 3))}
  assert optax.apply_updates(params, task_grads)["w"].shape == (4, 2, 3)  # the trap
  with pytest.raises(ValueError, match=r"updates\['w'\] has shape \(4, 2, 3\).*no aggregator"):
    jaxmtl.apply_updates(params, task_grads)


@pytest.mark.parametrize("value", [0, -3, 1.0, True, None, "2"])
def test_num_tasks(value):
  assert check_num_tasks(2) == 2
  with pytest.raises(ValueError, match="num_tasks must be a positive integer"):
    check_num_tasks(value)


def test_losses_and_masks():
  np.testing.assert_array_equal(guards.check_mask(None, 2), [True, True])
  np.testing.assert_array_equal(guards.check_mask([1, 0], 2), [True, False])
  np.testing.assert_array_equal(guards.check_losses([1.0, 2.0], 2), [1, 2])
  with pytest.raises(ValueError, match=r"losses has shape \(\)"):
    guards.check_losses(1.0, 2)


def test_drop_missing_hides_nan():
  grads = {"w": jnp.full((2, 3), jnp.nan).at[0].set(1), "b": jnp.array([1.0, jnp.inf])}
  got, present = guards.drop_missing(grads, jnp.array([True, False]), 2)
  np.testing.assert_array_equal(got["w"], [[1, 1, 1], [0, 0, 0]])
  np.testing.assert_array_equal(got["b"], [1, 0])
  np.testing.assert_array_equal(present, [True, False])
