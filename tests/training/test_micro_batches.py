"""A batch in parts against the whole batch, for every kind of method."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl.training import Aux, train_step

TASKS, BATCH = 3, 12
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def losses_fn(params, model_state, batch, key):
  """Regression; the second task has few labels, which `counts` tells."""
  out = jnp.tanh(batch["x"] @ params["w"]) @ params["heads"]
  labelled = batch["labelled"]
  counts = labelled.sum(0)
  errors = jnp.where(labelled, (out - batch["y"]) ** 2, 0).sum(0)
  seen = {"seen": model_state["seen"] + len(labelled)}
  metrics = {"size": jnp.abs(out).mean()}
  return errors / jnp.maximum(counts, 1), Aux(seen, metrics, counts > 0, counts)


def problem():
  rng = np.random.default_rng(0)
  params = {
    "w": jnp.asarray(rng.normal(size=(4, 5))),
    "heads": jnp.asarray(rng.normal(size=(5, TASKS))),
  }
  labelled = np.ones((BATCH, TASKS), bool)
  labelled[:, 1] = np.arange(BATCH) < 3
  batch = {"x": rng.normal(size=(BATCH, 4)), "y": rng.normal(size=(BATCH, TASKS))}
  return params, jax.tree.map(jnp.asarray, {**batch, "labelled": labelled})


METHODS = {
  "dwa": {"weighting": jaxmtl.dwa(TASKS)},
  "famo": {"weighting": jaxmtl.famo(TASKS)},
  "gradnorm": {"weighting": jaxmtl.gradnorm(TASKS)},
  "mgda": {"aggregator": jaxmtl.mgda(TASKS)},
  "dwa+graddrop": {"weighting": jaxmtl.dwa(TASKS), "aggregator": jaxmtl.graddrop(TASKS)},
  "modo": {"aggregator": jaxmtl.modo(TASKS)},
  "auto_lambda": {"weighting": jaxmtl.auto_lambda(TASKS, learning_rate=0.1)},
}


@pytest.mark.parametrize("name", METHODS)
def test_parts_give_the_whole_batchs_step(name, x64):
  params, batch = problem()
  optimizer = optax.adam(0.1, eps_root=1e-8)
  shared = lambda p: {"w": True, "heads": False}  # noqa: E731
  found = []
  for accumulate in (1, 4):
    step = train_step(
      losses_fn, optimizer, TASKS, shared=shared, accumulate=accumulate, **METHODS[name]
    )
    state = step.init(params, jax.random.key(0), {"seen": jnp.array(0)})
    update = jit(step.update)
    for _ in range(2):
      state, metrics = update(state, (batch, batch) if step.pairs else batch)
    assert int(state.model_state["seen"]) == 2 * BATCH
    found.append((state.params, state.weighting, metrics["losses"], metrics["weights"]))
  for got, want in zip(*map(jax.tree.leaves, reversed(found)), strict=True):
    if not jnp.issubdtype(want.dtype, jax.dtypes.prng_key):
      np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


def test_activations_of_one_part_are_in_memory():
  def wide(params, model_state, batch, key):
    hidden = jnp.tanh(batch @ params)
    return jnp.stack([jnp.mean(hidden**2), jnp.mean(jnp.sin(hidden) ** 2)]), Aux()

  def temporaries(accumulate):
    step = train_step(wide, optax.sgd(0.1), 2, accumulate=accumulate)
    state = jax.eval_shape(step.init, jnp.zeros((8, 512)), jax.random.key(0))
    lowered = jax.jit(step.update).lower(state, jnp.zeros((1024, 8)))
    return lowered.compile().memory_analysis().temp_size_in_bytes

  assert temporaries(16) < temporaries(1) / 4


def test_names_and_bad_sizes():
  def named(params, model_state, batch, key):
    error = jnp.mean((batch - params) ** 2)
    return {"left": error, "right": 2 * error}, Aux(mask={"left": True, "right": True})

  tasks = jaxmtl.Tasks("right", "left")
  step = train_step(
    named,
    optax.sgd(0.1),
    tasks,
    weighting=jaxmtl.constant(tasks, {"right": 1, "left": 0.5}),
    accumulate=2,
  )
  state = step.init(jnp.array(1.0), jax.random.key(0))
  state, metrics = jit(step.update)(state, jnp.zeros(4))
  assert {name: float(x) for name, x in metrics["weights"].items()} == {"left": 0.5, "right": 1.0}
  assert float(metrics["losses"]["right"]) == 2.0
  with pytest.raises(ValueError, match=r"shape \(5,\) has no 2 micro-batches"):
    step.update(state, jnp.zeros(5))
  with pytest.raises(ValueError, match="accumulate must be a positive integer, got 0"):
    train_step(named, optax.sgd(0.1), tasks, accumulate=0)
  other = train_step(named, optax.sgd(0.1), jaxmtl.Tasks("left", "middle"))
  with pytest.raises(ValueError, match="losses has the names left, right, but the tasks are left"):
    other.update(other.init(jnp.array(1.0), jax.random.key(0)), jnp.zeros(4))
