"""What every method's state must survive."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl

TASKS, SIZE = 3, 4
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def method(name):
  make = jaxmtl.METHODS[name]
  if name in jaxmtl.aggregation.METHODS:
    return (make(TASKS),)
  options = {"constant": {"weights": (1.0, 2.0, 3.0)}, "stch": {"mu": 0.5}}.get(name, {})
  if name in jaxmtl.meta.METHODS:
    options = {"look_ahead": optax.sgd(0.1)}
  return make(TASKS, **options), jaxmtl.sum_tasks(TASKS)


@functools.cache
def compiled(name):
  tx = optax.chain(*method(name))

  def update(grads, state, params, losses):
    extra = {"losses_fn": lambda p: losses * jnp.sum(p**2)} if name in jaxmtl.meta.METHODS else {}
    if extra:
      extra["primary_loss_fn"] = extra["losses_fn"]
    return tx.update(grads, state, params, losses=losses, **extra)

  return tx, jit(update, donate_argnums=1)


def numbers(state):
  leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
  return [np.asarray(leaf) for leaf in leaves]


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("name", sorted(jaxmtl.METHODS))
def test_one_bad_step_of_one_task_leaves_no_trace(name, bad):
  """Its update may be NaN, the next one is not, nor is the state. States are donated."""
  tx, update = compiled(name)
  params, losses = jnp.ones(SIZE), jnp.arange(1.0, TASKS + 1)
  grads = jnp.asarray(np.random.default_rng(0).normal(size=(TASKS, SIZE)), jnp.float32)
  _, state = update(grads, tx.init(params), params, losses)
  for gradient, loss in (
    (grads.at[1, 2].set(bad), losses),
    (grads, losses.at[1].set(bad)),
    (grads.at[1].set(bad), losses.at[1].set(bad)),
  ):
    _, state = update(gradient, state, params, loss)
  for leaf in numbers(state):
    assert np.isfinite(leaf).all()
  for _ in range(2):
    out, state = update(grads, state, params, losses)
    assert np.isfinite(out).all()
    assert all(np.isfinite(leaf).all() for leaf in numbers(state))
