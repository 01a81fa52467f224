"""FORUM: primary losses as several objectives, constrained by the gap of the training losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

import jaxmtl
from jaxmtl.meta.forum import _direction
from jaxmtl.training import Aux, train_step

TASKS, RATE, PHI = 3, 0.2, 0.6
# Nothing here runs long enough to repay an optimising compiler.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
RNG = np.random.default_rng(3)
# L_t(theta) = |A_t theta - b_t|^2 / 2, on two batches.
MATRICES, TARGETS = RNG.normal(size=(2, TASKS, 4, 4)), RNG.normal(size=(2, TASKS, 4))
THETA = RNG.normal(size=4)


def losses(theta, which, module=jnp):
  residuals = module.einsum("tij,j->ti", MATRICES[which], theta) - TARGETS[which]
  return 0.5 * (residuals**2).sum(-1)


def task_gradients(theta, which):
  residuals = np.einsum("tij,j->ti", MATRICES[which], theta) - TARGETS[which]
  return np.einsum("tij,ti->tj", MATRICES[which], residuals)


def reference(primary):
  """By hand, in NumPy and double precision: weights one, plain gradient descent."""
  grads = task_gradients(THETA, 0)
  ahead = THETA - RATE * grads.sum(0)
  objectives = -RATE * task_gradients(ahead, 1)[list(primary)] @ grads.T
  gap = (
    losses(THETA, 0, np) - losses(ahead, 0, np) + RATE * task_gradients(ahead, 0).sum(0) @ grads.T
  )
  rows = np.vstack([objectives, gap])
  return rows, (rows - rows.mean(1, keepdims=True)) / TASKS


def primal(objectives, gap, phi):
  """The direction that the method's problem has for its solution, by SciPy."""
  # In units in which derivatives are of order one.
  scale, length = np.abs(objectives).max(), np.linalg.norm(gap)
  rows, unit, slack = objectives / scale, gap / length, phi / 2 * length / scale
  first = np.append(-slack * unit, np.max(-slack * rows @ unit))
  constraints = [
    {"type": "ineq", "fun": lambda x: x[-1] - rows @ x[:-1]},
    {"type": "ineq", "fun": lambda x: -slack - unit @ x[:-1]},
  ]
  found = minimize(
    lambda x: 0.5 * x[:-1] @ x[:-1] + x[-1],
    first,
    jac=lambda x: np.append(x[:-1], 1.0),
    constraints=constraints,
    method="SLSQP",
    options={"ftol": 1e-12, "maxiter": 500},
  )
  assert found.success, found.message
  return scale * found.x[:-1]


@pytest.mark.parametrize("primary", [(0, 1), (2,)])
def test_train_step_and_chain_follow_the_formula(primary, x64):
  sgd, adam = optax.sgd(RATE), optax.adam(0.1)
  rows, along = reference(primary)
  direction = -primal(along[:-1], along[-1], PHI)

  @jit
  def weights_of(direction):
    return TASKS * jax.nn.softmax(adam.update(direction, adam.init(jnp.zeros(TASKS)))[0])

  want = weights_of(direction)
  options = {"primary": primary, "learning_rate": 0.1, "phi": PHI}

  def losses_fn(params, model_state, batch, key):
    return losses(params, batch), Aux()

  theta = jnp.asarray(THETA)
  step = train_step(losses_fn, sgd, TASKS, weighting=jaxmtl.forum(TASKS, **options))
  # Batches are numbers of batches here.
  state = step.init(theta, jax.random.key(0))
  state, metrics = jit(lambda s: step.update(s, (0, 1)))(state)
  np.testing.assert_allclose(metrics["hypergradient"], rows, rtol=2e-6)  # of float32 weights
  np.testing.assert_allclose(metrics["weights"], want, rtol=1e-5)
  assert bool(state.weighting.solver.converged)

  tx = optax.chain(jaxmtl.forum(TASKS, **options, look_ahead=sgd), jaxmtl.sum_tasks(TASKS), sgd)
  found, grads = jit(jaxmtl.task_value_and_grad(lambda p: losses(p, 0)))(theta)
  calls = {"primary_loss_fn": lambda p: losses(p, 1), "losses_fn": lambda p: losses(p, 0)}
  for extra in ({}, {"losses": found}):
    update = jit(lambda g, s, p, extra=extra: tx.update(g, s, p, **calls, **extra))
    updates, after = update(grads, tx.init(theta), theta)
    np.testing.assert_allclose(after[0].logits, state.weighting.logits, rtol=1e-6)
    np.testing.assert_allclose(THETA + np.asarray(updates), state.params, rtol=1e-6)
  with pytest.raises(ValueError, match="losses_fn is missing"):
    tx.update(grads, tx.init(theta), theta, primary_loss_fn=lambda p: losses(p, 1))


@pytest.mark.parametrize("phi", [0.0, 0.1, 5.0])
def test_direction_solves_the_papers_problem(phi, x64):
  """Against SciPy's solution of the primal: where the constraint binds, and where it does not."""
  solve = jax.jit(_direction)
  binding = []
  for seed in range(8):
    rng = np.random.default_rng(seed)
    objectives, gap = rng.normal(size=(3, 5)), rng.normal(size=5) * 10.0 ** rng.integers(-1, 2)
    got, state = solve(objectives, gap, phi)
    assert bool(state.converged)
    want = primal(objectives, gap, phi)
    np.testing.assert_allclose(-got, want, atol=2e-5 * np.abs(want).max())
    binding.append(bool(-gap @ want < phi / 2 * gap @ gap * (1 + 1e-6) + 1e-9))
  assert any(binding)
  if phi < 1:
    assert not all(binding)


def test_zero_missing_and_unknown_derivatives():
  weighting = jaxmtl.forum(TASKS, learning_rate=0.1)
  weigh, state = jit(weighting.weigh), weighting.init(None)
  mask = jnp.array([True, True, False])
  rows = jnp.array([[-1.0, 1.0, 5.0], [0.0, 0.0, 0.0], [-2.0, 0.5, -3.0], [0.1, 0.2, 9.0]])
  weights, after = weigh(None, state, mask, hypergradient=rows)
  assert float(after.logits[2]) == 0.0
  assert float(weights[2]) == 0.0
  np.testing.assert_allclose(weights.sum(), 2, rtol=1e-6)
  for bad in (np.zeros((4, 3), np.float32), np.full((4, 3), np.nan, np.float32)):
    weights, after = weigh(None, state, hypergradient=bad)
    np.testing.assert_allclose(weights, 1, rtol=1e-6)
    assert np.all(np.isfinite(after.logits))
  # With nothing to gain for the primary tasks, the gap alone is lowered.
  only_gap = np.zeros((4, 3), np.float32)
  only_gap[3] = 1.0, 0.0, -1.0
  weights, _ = weigh(None, state, hypergradient=only_gap)
  assert weights[0] < weights[1] < weights[2]


def test_bad_options():
  with pytest.raises(ValueError, match="primary must be a task index"):
    jaxmtl.forum(2, primary=(2,))
  with pytest.raises(ValueError, match="phi must be >= 0, got -1"):
    jaxmtl.forum(2, phi=-1.0)
  with pytest.raises(ValueError, match="learning_rate must be positive, got 0"):
    jaxmtl.forum(2, learning_rate=0)
  weighting = jaxmtl.forum(2)
  with pytest.raises(ValueError, match="one row an outer loss, and one of the gap"):
    weighting.weigh(None, weighting.init(None), hypergradient=jnp.zeros((2, 2)))


@pytest.mark.parametrize("make", [jaxmtl.auto_lambda, jaxmtl.moml, jaxmtl.forum])
def test_adam_without_eps_root_warns_in_a_train_step_and_a_chain(make):
  params = {"seen": jnp.asarray(THETA, jnp.float32), "unseen": jnp.zeros(2)}
  adam = optax.adam(0.1)

  def losses_fn(params, model_state, batch, key):
    return losses(params["seen"], batch), Aux()

  step = train_step(losses_fn, adam, TASKS, weighting=make(TASKS))
  with pytest.warns(UserWarning, match=r"set eps_root, for example optax.adam"):
    state, _ = jit(lambda s: step.update(s, (0, 1)))(step.init(params, jax.random.key(0)))
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state.params))
  tx = make(TASKS, look_ahead=adam)
  _, grads = jit(jaxmtl.task_value_and_grad(lambda p: losses(p["seen"], 0)))(params)
  calls = {
    "primary_loss_fn": lambda p: losses(p["seen"], 1),
    "losses_fn": lambda p: losses(p["seen"], 0),
  }
  with pytest.warns(UserWarning, match="eps_root"):
    scaled, _ = jit(lambda g, s, p: tx.update(g, s, p, **calls))(grads, tx.init(params), params)
  assert np.all(np.isfinite(scaled["seen"]))
