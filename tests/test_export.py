"""Whole steps through jax.export: written, read, run."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl import export
from jaxmtl.training import Aux, train_step


def losses_fn(params, model_state, batch, key):
  out = batch @ params["w"]
  return {"a": (out**2).mean(), "b": ((out - 1) ** 2).mean()}, Aux()


def test_a_train_step_with_every_kind_of_state():
  pytest.importorskip("flatbuffers")
  step = train_step(
    losses_fn,
    optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2)),
    2,
    weighting=jaxmtl.rlw(2),
    aggregator=jaxmtl.cr_mogm(2, jaxmtl.pcgrad(2)),
  )
  state, batch = step.init({"w": jnp.ones((3, 2))}, jax.random.key(0)), jnp.ones((4, 3))
  update = jax.jit(step.update)
  with pytest.raises(ValueError, match="unregistered type"):
    jax.export.export(update)(state, batch).serialize()
  for _ in range(2):  # also of types that are known
    export.register(jax.eval_shape(lambda s: s, state))
  blob = jax.export.export(update)(state, batch).serialize()
  got, want = jax.export.deserialize(blob).call(state, batch), update(state, batch)
  assert jax.tree.structure(got) == jax.tree.structure(want)
  for g, w in zip(*map(jax.tree.leaves, jaxmtl.unwrap_keys((got, want))), strict=True):
    np.testing.assert_allclose(g, w, rtol=1e-6)


def test_wrappers_of_optax():
  pytest.importorskip("flatbuffers")
  inner = optax.partition(
    {"w": optax.sgd(0.1, momentum=0.9), "b": optax.set_to_zero()}, {"w": "w", "b": "b"}
  )
  tx = jaxmtl.skip_nonfinite(
    jaxmtl.accumulate(2, 2, jaxmtl.chain(jaxmtl.moco(2), optax.MultiSteps(inner, 2)))
  )
  params = {"w": jnp.ones(2), "b": jnp.ones(1)}
  grads, state = {"w": jnp.ones((2, 2)), "b": jnp.ones((2, 1))}, tx.init(params)
  export.register(state)
  update = jax.jit(lambda g, s, p: tx.update(g, s, p, losses=jnp.ones(2)))
  blob = jax.export.export(update)(grads, state, params).serialize()
  updates, new = jax.export.deserialize(blob).call(grads, state, params)
  assert jax.tree.structure(new) == jax.tree.structure(state)
  assert updates["w"].tolist() == [0.0, 0.0]


def test_other_nodes_are_refused_by_name():
  Other = collections.namedtuple("Other", "field")
  tree = [Other(jax.tree_util.Partial(jnp.add))]
  with pytest.raises(TypeError, match="Partial is no named tuple"):
    export.register(tree)
