"""MOML: derivatives of several outer losses, combined by MGDA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl.training import Aux, train_step

TASKS = 3
# Nothing here runs long enough to repay an optimising compiler.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def losses_fn(params, model_state, batch, key):
  del model_state, key
  out = jnp.tanh(batch["x"] @ params["w"]) @ params["heads"]
  return jnp.mean((out - batch["y"]) ** 2, axis=0), Aux()


def data(seed):
  rng = np.random.default_rng(seed)
  return {
    "x": jnp.asarray(rng.normal(size=(8, 4)), jnp.float32),
    "y": jnp.asarray(rng.normal(size=(8, TASKS)), jnp.float32),
  }


def parameters():
  rng = np.random.default_rng(9)
  shapes = {"w": (4, 5), "heads": (5, TASKS)}
  return {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}


@pytest.mark.parametrize("primary", [(0, 2), (1,)])
def test_train_step_and_chain_follow_the_paper(primary):
  """One step by hand, with the Jacobian of the look-ahead by `jax.jacobian`."""
  sgd, adam, judged = optax.sgd(0.3, momentum=0.9), optax.adam(0.1), list(primary)
  options = {"primary": primary, "learning_rate": 0.1}
  batches, params = (data(0), data(1)), parameters()

  def ahead(logits):
    weights = TASKS * jax.nn.softmax(logits)
    grads = jax.grad(lambda p: losses_fn(p, (), batches[0], None)[0] @ weights)(params)
    moved = jax.tree.map(lambda p, g: p - 0.3 * g, params, grads)
    return losses_fn(moved, (), batches[1], None)[0][jnp.array(judged)]

  aggregator = jaxmtl.mgda(len(judged))

  @jit
  def by_hand(logits):
    jacobian = jax.jacobian(ahead)(logits)
    direction, _ = aggregator.update(jacobian, aggregator.init(logits))
    updates, _ = adam.update(direction, adam.init(logits))
    return jacobian @ direction, TASKS * jax.nn.softmax(updates)

  falls, want = by_hand(jnp.zeros(TASKS))
  # It lowers every primary loss to first order.
  assert np.all(np.asarray(falls) > -1e-6)

  step = train_step(losses_fn, sgd, TASKS, weighting=jaxmtl.moml(TASKS, **options))
  state, metrics = jit(step.update)(step.init(params, jax.random.key(0)), batches)
  assert metrics["hypergradient"].shape == (len(judged), TASKS)
  np.testing.assert_allclose(metrics["weights"], want, rtol=1e-3)
  assert bool(state.weighting.solver.converged)

  weighting = jaxmtl.moml(TASKS, **options, look_ahead=sgd)
  tx = optax.chain(weighting, jaxmtl.sum_tasks(TASKS), sgd)

  @jit
  def update(params, opt_state):
    losses, grads = jaxmtl.task_value_and_grad(lambda p: losses_fn(p, (), batches[0], None)[0])(
      params
    )
    return tx.update(
      grads,
      opt_state,
      params,
      losses=losses,
      primary_loss_fn=lambda p: losses_fn(p, (), batches[1], None)[0],
    )

  updates, opt_state = update(params, tx.init(params))
  np.testing.assert_allclose(opt_state[0].logits, state.weighting.logits, rtol=1e-3)
  moved = jaxmtl.apply_updates(params, updates)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3), moved, state.params)


def test_tasks_without_labels_and_derivatives_without_news():
  weighting = jaxmtl.moml(TASKS, learning_rate=0.1)
  weigh, state = jit(weighting.weigh), weighting.init(None)
  mask = jnp.array([True, True, False])
  # The second outer loss has no labels, the third weight belongs to a task without any.
  derivatives = jnp.array([[-1.0, 1.0, 5.0], [0.0, 0.0, 0.0], [-2.0, 0.5, -3.0]])
  weights, state = weigh(None, state, mask, hypergradient=derivatives)
  np.testing.assert_allclose(weights, 2 * jax.nn.softmax(jnp.array([0.1, -0.1, -1e9])), rtol=1e-4)
  assert float(state.logits[2]) == 0.0
  for bad in (jnp.zeros((3, 3)), jnp.full((3, 3), jnp.nan)):
    _, after = weigh(None, state, hypergradient=bad)
    assert np.all(np.isfinite(after.logits))
  alone = jaxmtl.moml(1)
  weights, _ = jit(alone.weigh)(None, alone.init(None), hypergradient=jnp.ones((1, 1)))
  assert weights.tolist() == [1.0]


def test_weights_rest_where_no_direction_lowers_all_losses():
  weighting = jaxmtl.moml(TASKS, learning_rate=0.1)
  derivatives = jnp.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.3, 0.3, -0.6]])
  weights, state = jit(weighting.weigh)(None, weighting.init(None), hypergradient=derivatives)
  np.testing.assert_allclose(weights, 1, rtol=1e-6)
  assert bool(state.solver.converged)


def test_bad_options():
  with pytest.raises(ValueError, match="primary must be a task index"):
    jaxmtl.moml(2, primary=(2,))
  with pytest.raises(ValueError, match="learning_rate must be positive, got 0"):
    jaxmtl.moml(2, learning_rate=0)
  tx = jaxmtl.moml(2, look_ahead=optax.sgd(0.1))
  grads = jnp.ones((2, 3))
  with pytest.raises(ValueError, match=r"primary_loss_fn must return the losses \[2\]"):
    tx.update(grads, tx.init(grads[0]), grads[0], primary_loss_fn=jnp.sum)
