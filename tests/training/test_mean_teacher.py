"""The mean teacher: decay, warm-up, statistics, types, gradients, donation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmtl.training import mean_teacher, update_teacher


def test_the_decay_warms_up():
  params = [np.float32(x) for x in np.random.default_rng(0).normal(size=150)]
  teacher, want = mean_teacher(jnp.asarray(9.0)), 9.0
  update = jax.jit(update_teacher)
  for step, new in enumerate(params):
    decay = min(1 - 1 / (step + 1), 0.99)
    want = decay * want + (1 - decay) * float(new)
    teacher = update(teacher, new)
    if step == 0:
      assert teacher.params == new  # the first update copies
    np.testing.assert_allclose(teacher.params, want, rtol=1e-5, atol=1e-6)
  assert teacher.updates == 150
  cold = update_teacher(mean_teacher(jnp.asarray(9.0)), jnp.asarray(0.0), warm_up=False)
  np.testing.assert_allclose(cold.params, 9 * 0.99, rtol=1e-6)


def test_statistics_are_kept_or_averaged():
  stats, new = (
    {"batch_stats": {"mean": jnp.zeros(2), "n": jnp.array(0)}},
    {"mean": jnp.ones(2), "n": jnp.array(5)},
  )
  teacher = mean_teacher({"w": jnp.zeros(1)}, stats)
  kept = update_teacher(teacher, {"w": jnp.ones(1)})
  assert kept.variables["batch_stats"]["mean"].tolist() == [0, 0]
  averaged = update_teacher(kept, {"w": jnp.ones(1)}, {"batch_stats": new})
  assert averaged.variables["batch_stats"]["mean"].tolist() == [0.5, 0.5]
  assert averaged.variables["batch_stats"]["n"] == 5  # a counter is the student's
  assert averaged.variables["params"]["w"].tolist() == [1.0]


def test_its_memory_is_its_own_and_its_types_stay():
  params = {"w": jnp.ones(4, jnp.bfloat16)}
  teacher = mean_teacher(params)
  step = jax.jit(
    lambda p, t: (jax.tree.map(lambda x: x * 2, p), update_teacher(t, p)), donate_argnums=(0, 1)
  )
  params, teacher = step(params, teacher)
  params, teacher = step(params, teacher)
  assert teacher.params["w"].dtype == jnp.bfloat16
  np.testing.assert_allclose(teacher.params["w"].astype(float), 1.5)
  assert step._cache_size() == 1


def test_bad_input_is_named():
  teacher = mean_teacher({"w": jnp.zeros(1)})
  with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1"):
    update_teacher(teacher, teacher.params, decay=1)
  with pytest.raises(ValueError, match="params must be a tree like the teacher's"):
    update_teacher(teacher, {"v": jnp.zeros(1)})
  with pytest.raises(ValueError, match=r"params\['w'\] must have the teacher's shape \(1,\), got"):
    update_teacher(teacher, {"w": jnp.zeros((4, 1))})
  with pytest.raises(ValueError, match="model_state must be a tree like the teacher's"):
    update_teacher(teacher, teacher.params, {"batch_stats": jnp.zeros(1)})
