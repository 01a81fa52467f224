"""Modules of Flax NNX: what they hold moves, and nothing is broadcast."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxmtl
from jaxmtl import nnx as adapter

X = jax.random.normal(jax.random.key(0), (16, 6)) + 1
HEADS = nnx.PathContains("heads")


class Net(nnx.Module):
  def __init__(self, rngs):
    self.trunk = nnx.Linear(6, 8, rngs=rngs)
    self.norm = nnx.BatchNorm(8, rngs=rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)
    self.heads = nnx.Dict(a=nnx.Linear(8, 1, rngs=rngs), b=nnx.Linear(8, 1, rngs=rngs))

  def __call__(self, x):
    features = self.dropout(nnx.relu(self.norm(self.trunk(x))))
    return {name: head(features) for name, head in self.heads.items()}


def losses_fn(model, x):
  return {name: (out**2).mean() for name, out in model(x).items()}


@pytest.fixture
def model():
  return Net(nnx.Rngs(0))


def shapes(state):
  return jax.tree.map(jnp.shape, nnx.to_pure_dict(state))


def assert_close(got, want):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    nnx.to_pure_dict(got),
    nnx.to_pure_dict(want),
  )


def test_statistics_move_and_dropout_draws_anew(model):
  before = model.norm.mean[...]
  call = nnx.jit(adapter.task_value_and_grad(losses_fn))
  first, grads = call(model, X)
  assert not np.allclose(model.norm.mean[...], before)
  second, _ = call(model, X)
  assert not np.allclose(first, second)
  assert shapes(grads)["trunk"] == {"bias": (2, 8), "kernel": (2, 6, 8)}

  # Like nnx.value_and_grad of one of them, from the same state.
  one, other = Net(nnx.Rngs(0)), Net(nnx.Rngs(0))
  losses, grads = call(one, X)
  loss, grad = nnx.jit(nnx.value_and_grad(lambda m, x: losses_fn(m, x)["a"]))(other, X)
  np.testing.assert_allclose(losses[0], loss, rtol=1e-5)
  assert_close(jax.tree.map(lambda g: g[0], grads), grad)
  assert_close(nnx.state(one, nnx.BatchStat), nnx.state(other, nnx.BatchStat))


def test_the_gramian_under_plain_jit(model):
  graphdef, state = nnx.split(model)

  @jax.jit
  def both(state):
    model = nnx.merge(graphdef, state)
    explicit = nnx.clone(model)
    (losses, aux), (gramian, pullback) = adapter.task_gramian(
      lambda m, x: (losses_fn(m, x), x.sum()), has_aux=True
    )(model, X)
    _, grads = adapter.task_value_and_grad(losses_fn)(explicit, X)
    weights = jnp.array([0.3, 0.7])
    want = jaxmtl.gramian(grads), jaxmtl.combine(grads, weights)
    return losses, aux, (gramian, pullback(weights)), want, nnx.state(model)

  losses, aux, got, want, new = both(state)
  np.testing.assert_allclose(got[0], want[0], rtol=1e-4)
  assert_close(got[1], want[1])
  np.testing.assert_allclose(aux, X.sum(), rtol=1e-5)
  assert not np.allclose(new["norm"]["mean"][...], state["norm"]["mean"][...])
  assert not np.allclose(both(new)[0], losses)  # other dropout


def test_heads_apart_by_a_filter(model):
  model.eval()

  @nnx.jit
  def both(model):
    _, (trunk, heads) = adapter.task_value_and_grad(losses_fn, specific=HEADS)(model, X)
    _, (gramian, pullback) = adapter.task_gramian(losses_fn, specific=HEADS)(model, X)
    return trunk, heads, gramian, nnx.merge_state(*pullback(jnp.ones(2), jnp.array([1.0, 0.5])))

  trunk, heads, gramian, merged = both(model)
  np.testing.assert_allclose(gramian, jaxmtl.gramian(trunk), rtol=1e-4)
  assert shapes(heads) == {"heads": {n: {"bias": (1,), "kernel": (8, 1)} for n in "ab"}}
  assert shapes(merged) == shapes(nnx.state(model, nnx.Param))
  np.testing.assert_allclose(
    merged["heads"]["b"]["kernel"][...], heads["heads"]["b"]["kernel"][...] / 2, rtol=1e-4
  )


def test_an_optimizer_without_aggregator_raises(model):
  grads = jax.tree.map(lambda p: jnp.stack([p, p]), nnx.state(model, nnx.Param))
  optimizer = nnx.Optimizer(model, jaxmtl.chain(optax.sgd(0.1)), wrt=nnx.Param)
  with pytest.raises(ValueError, match="no aggregator is in the chain"):
    optimizer.update(model, grads)
  tx = jaxmtl.chain(jaxmtl.dwa(2), jaxmtl.sum_tasks(2), optax.sgd(0.1))
  optimizer, before = nnx.Optimizer(model, tx, wrt=nnx.Param), model.trunk.kernel[...]
  with pytest.raises(ValueError, match="losses is missing"):
    optimizer.update(model, grads)
  nnx.jit(lambda m, o, g, x: o.update(m, g, losses=x))(model, optimizer, grads, jnp.ones(2))
  np.testing.assert_allclose(model.trunk.kernel[...], 0.8 * before, rtol=1e-5)


def test_methods_that_look_ahead(model):
  sgd = optax.sgd(0.1)
  tx = jaxmtl.chain(
    jaxmtl.auto_lambda(2, primary=[0], learning_rate=0.01, look_ahead=sgd), jaxmtl.sum_tasks(2), sgd
  )
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

  @nnx.jit
  def step(model, optimizer):
    primary = adapter.of_params(lambda m: losses_fn(m, X)["a"], model)
    losses, grads = adapter.task_value_and_grad(losses_fn)(model, X)
    optimizer.update(model, grads, losses=losses, primary_loss_fn=primary)

  step(model, optimizer)
  assert optimizer.opt_state[0].weights[...][0] > 0.1


@pytest.mark.parametrize("function", [jaxmtl.task_value_and_grad, jaxmtl.task_gramian])
def test_functions_of_pytrees_refuse_modules(function, model):
  with pytest.raises(ValueError, match=r"jaxmtl\.nnx\.task_value_and_grad or jaxmtl\.nnx"):
    function(losses_fn)(model, X)
  with pytest.raises(ValueError, match=r"argument 1 is a flax\.nnx\.Module"):
    function(lambda x, models: losses_fn(models[0], x), argnums=1)(X, [model])


def test_clear_errors(model):
  with pytest.raises(ValueError, match="holds no variable"):
    adapter.task_value_and_grad(losses_fn, wrt=nnx.LoRAParam)(model, X)
  with pytest.raises(ValueError, match="pair"):
    adapter.task_gramian(losses_fn, has_aux=True)(model, X)


@pytest.mark.parametrize(("name", "needed"), [("nnx", "flax.nnx"), ("flax", "flax.training")])
def test_without_flax(name, needed, monkeypatch):
  monkeypatch.delattr(jaxmtl, name, raising=False)
  monkeypatch.delitem(sys.modules, f"jaxmtl.{name}", raising=False)
  for module in list(sys.modules):
    if module == needed or module.startswith(needed + "."):
      monkeypatch.setitem(sys.modules, module, None)
  assert name in dir(jaxmtl)
  assert name not in jaxmtl.__all__  # a star import must not hide the library of this name
  with pytest.raises(ImportError, match=rf"jaxmtl\.{name} needs .*pip install 'jaxmtl\[models\]'"):
    getattr(jaxmtl, name)
