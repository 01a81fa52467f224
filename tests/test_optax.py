"""The transforms inside optax's own chains and wrappers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl

ROWS = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
LOSSES = np.float32([1.0, 2.0, 4.0])
# Nothing here runs long enough to repay an optimising compiler.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
# factory, options that become state, options that stay static
HYPERPARAMETERS = [
  (jaxmtl.cagrad, {"c": 0.3}, ("num_tasks", "rescale")),
  (jaxmtl.metabalance, {"beta": 0.5, "relax": 0.6}, ("num_tasks",)),
  (jaxmtl.mgda, {}, ("num_tasks",)),
  (jaxmtl.pcgrad, {"key": 3}, ("num_tasks",)),
  (jaxmtl.upgrad, {"preference": np.array([0.2, 0.3, 0.5])}, ("num_tasks",)),
  (jaxmtl.dual_proj, {"preference": np.array([0.2, 0.3, 0.5])}, ("num_tasks",)),
  (jaxmtl.nash_mtl, {"max_norm": 2.0, "update_every": 2}, ("num_tasks",)),
  (jaxmtl.fairgrad, {"alpha": 2.0}, ("num_tasks",)),
  (jaxmtl.modo, {"gamma": 0.2, "rho": 0.3}, ("num_tasks",)),
  (jaxmtl.sdmgrad, {"lam": 0.5, "lr": 0.4, "momentum": 0.3}, ("num_tasks", "steps")),
  (jaxmtl.gradvac, {"beta": 0.3, "key": 3}, ("num_tasks", "per_tensor")),
  (jaxmtl.conflict_free, {"preference": np.array([0.2, 0.3, 0.5])}, ("num_tasks",)),
  (jaxmtl.krum, {"num_byzantine": 0, "num_selected": 2}, ("num_tasks",)),
  (jaxmtl.graddrop, {"leak": np.array([0.1, 0.5, 0.9]), "key": 3}, ("num_tasks",)),
  (jaxmtl.moco, {"beta": 0.4, "gamma": 0.2, "rho": 0.1}, ("num_tasks", "projection")),
  (jaxmtl.db_mtl, {"beta": 0.8, "sigma": 0.5}, ("num_tasks",)),
  (jaxmtl.excess_mtl, {"eta": 0.1}, ("num_tasks",)),
  (jaxmtl.dwa, {"temperature": 1.5}, ("num_tasks",)),
  (jaxmtl.rlw, {"key": 3}, ("num_tasks",)),
  (jaxmtl.uncertainty, {"init": 0.2}, ("num_tasks",)),
  (
    jaxmtl.famo,
    {"learning_rate": 0.1, "weight_decay": 1e-2, "minimum": -0.5},
    ("num_tasks",),
  ),
  (jaxmtl.gradnorm, {"alpha": 0.5, "learning_rate": 0.1}, ("num_tasks", "steps_per_epoch")),
  (jaxmtl.stch, {"mu": 0.3, "preference": np.array([0.2, 0.3, 0.5])}, ("num_tasks", "reference")),
]


def aggregates(transform, rows):
  """Updates of one step after another under jit."""
  params = jnp.ones(rows.shape[-1])
  state, update, out = transform.init(params), jit(transform.update), []
  for row in rows:
    updates, state = update(jnp.asarray(row), state, params, losses=LOSSES)
    out.append(np.asarray(updates))
  return np.stack(out), state


WEIGHTINGS = {
  **jaxmtl.weighting.METHODS,
  "constant": lambda num_tasks: jaxmtl.constant(num_tasks, [0.5] * num_tasks),
  "stch": lambda num_tasks: jaxmtl.stch(num_tasks, mu=0.5),
}


# Made once, so that each is compiled once.
AGGREGATORS = {"dwa": jaxmtl.cagrad(3), "others": jaxmtl.pcgrad(3)}


@functools.cache
def compiled(aggregator):
  """All steps in one program."""

  @jit
  def run(rows):
    step = lambda state, row: aggregator.update(row, state)[::-1]  # noqa: E731
    return jax.lax.scan(step, aggregator.init(rows[0, 0]), rows)[1]

  return run


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_weighting_then_aggregator_then_optimizer(name):
  """The papers' "DWA + CAGrad" in one chain."""
  weighting, aggregator = WEIGHTINGS[name](3), AGGREGATORS["dwa" if name == "dwa" else "others"]
  got, _ = aggregates(optax.chain(weighting, aggregator, optax.sgd(0.1)), ROWS)
  weighted, _ = aggregates(weighting, ROWS)
  want = compiled(aggregator)(weighted)
  np.testing.assert_allclose(got, -0.1 * want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
  ("weighting", "aggregator"),  # others of the table are above
  [("equal", "graddrop"), ("dwa", "graddrop"), ("equal", "cagrad"), ("uncertainty", "cagrad")],
)
def test_the_thesis_combines_weightings_and_aggregators(weighting, aggregator):
  """Its table 3.5."""
  transforms = (getattr(jaxmtl, weighting)(3), getattr(jaxmtl, aggregator)(3))
  got, _ = aggregates(optax.chain(*transforms, optax.sgd(0.1, momentum=0.9)), ROWS)
  assert got.shape == (len(ROWS), 5)
  assert np.all(np.isfinite(got))
  assert np.abs(got).max(1).min() > 0


def test_weighting_and_sum_is_the_weighted_loss():
  """The one-pass form, with the weights as cotangent, is the chain's update."""
  x = jnp.asarray(ROWS[0])
  weighting = jaxmtl.uncertainty(3)
  losses_fn = lambda p: jnp.tanh(x @ p) ** 2 + 1.0  # noqa: E731
  params = jnp.ones(5)
  chain = optax.chain(weighting, jaxmtl.sum_tasks(3))

  @jit
  def both(params):
    losses, grads = jaxmtl.task_value_and_grad(losses_fn)(params)
    got, _ = chain.update(grads, chain.init(params), params, losses=losses)
    losses, pullback = jax.vjp(losses_fn, params)
    weights, _ = weighting.weigh(losses, weighting.init(params))
    return got, pullback(weights)[0]

  np.testing.assert_allclose(*both(params), rtol=1e-5)


def test_multi_steps_behind_an_aggregator_accumulates():
  aggregator = jaxmtl.pcgrad(3)
  adamw = optax.adamw(1e-2)
  multi = optax.MultiSteps(adamw, every_k_schedule=2).gradient_transformation()
  got, _ = aggregates(optax.chain(aggregator, multi), ROWS)
  np.testing.assert_array_equal(got[[0, 2]], 0)
  grads, _ = aggregates(aggregator, ROWS)
  state, params, update = adamw.init(jnp.ones(5)), jnp.ones(5), jit(adamw.update)
  for step in (1, 3):
    want, state = update(grads[step - 1 : step + 1].mean(0), state, params)
    np.testing.assert_allclose(got[step], want, rtol=1e-4)


# That NaN passes through every method is in test_every_aggregator.py.
@pytest.mark.parametrize("name", ["mgda", "metabalance"])
def test_apply_if_finite_behind_an_aggregator_skips_the_step(name):
  rows = ROWS[:2].copy()
  rows[1, 0, 0] = np.nan
  chain = optax.chain(getattr(jaxmtl, name)(3), optax.apply_if_finite(optax.sgd(0.1), 5))
  got, state = aggregates(chain, rows)
  assert np.abs(got[0]).max() > 0
  np.testing.assert_array_equal(got[1], 0)
  assert int(state[1].notfinite_count) == 1


@pytest.mark.parametrize(
  ("factory", "options", "static"), HYPERPARAMETERS, ids=lambda v: getattr(v, "__name__", None)
)
def test_inject_hyperparams(factory, options, static):
  """Every method traces with its options as arrays; some are run, for their numbers."""
  injected = optax.inject_hyperparams(factory, static_args=static)(num_tasks=3, **options)
  params, rows = jnp.ones(5), jnp.asarray(ROWS[0])
  state = injected.init(params)
  assert set(options) <= set(state.hyperparams)
  jax.eval_shape(lambda s: injected.update(rows, s, params, losses=LOSSES), state)
  if factory in (jaxmtl.cagrad, jaxmtl.nash_mtl, jaxmtl.sdmgrad, jaxmtl.graddrop, jaxmtl.famo):
    got, _ = aggregates(injected, ROWS[:3])
    want, _ = aggregates(factory(3, **options), ROWS[:3])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_injected_hyperparameter_can_be_changed_and_scheduled():
  schedule = optax.linear_schedule(0.0, 0.9, 3)
  injected = optax.inject_hyperparams(jaxmtl.cagrad, static_args=("num_tasks", "rescale"))
  got, _ = aggregates(injected(3, c=schedule), np.stack([ROWS[0]] * 4))
  for step in (0, 2):
    want, _ = aggregates(jaxmtl.cagrad(3, c=0.3 * step), ROWS[:1])
    np.testing.assert_allclose(got[step], want[0], rtol=1e-3, atol=1e-4)


def test_num_tasks_must_be_static():
  injected = optax.inject_hyperparams(jaxmtl.mean_tasks)(num_tasks=3)
  with pytest.raises(ValueError, match="list it in static_args"):
    injected.init(jnp.ones(5))


def test_a_chain_learns():
  """Two tasks with one common minimum, twenty steps of everything together."""
  target = jnp.arange(5.0)
  scales = jnp.array([1.0, 10.0])
  losses_fn = lambda p: scales * jnp.mean((p - target) ** 2)  # noqa: E731
  chain = optax.chain(jaxmtl.dwa(2), jaxmtl.mgda(2), optax.sgd(1.0))
  params = jnp.zeros(5)
  state = chain.init(params)

  @jit
  def step(params, state):
    losses, grads = jaxmtl.task_value_and_grad(losses_fn)(params)
    updates, state = chain.update(grads, state, params, losses=losses)
    return jaxmtl.apply_updates(params, updates), state, losses

  first = step(params, state)[2]
  for _ in range(20):
    params, state, losses = step(params, state)
  assert np.all(losses < 1e-3 * first)


def test_methods_print_as_what_they_are():
  for name, method in jaxmtl.METHODS.items():
    options = {"constant": ([1.0, 1.0],), "stch": (1.0,)}.get(name, ())
    assert repr(method(2, *options)) == f"{name}(num_tasks=2)"
  tasks = jaxmtl.Tasks("b", "a")
  assert repr(jaxmtl.cagrad(tasks)) == "cagrad(num_tasks=Tasks('a', 'b'))"


LOOKING_AHEAD = [jaxmtl.auto_lambda, jaxmtl.moml, jaxmtl.forum]


def quadratic(params):
  return jnp.stack([jnp.sum(params["w"] ** 2), jnp.sum((params["w"] - params["b"]) ** 2)])


@pytest.mark.parametrize("method", LOOKING_AHEAD)
@pytest.mark.parametrize(
  "hide",
  [
    lambda tx: optax.partition({"w": tx, "b": jaxmtl.sum_tasks(2)}, {"w": "w", "b": "b"}),
    lambda tx: optax.masked(tx, {"w": True, "b": False}),
    lambda tx: optax.selective_transform(tx, freeze_mask={"w": False, "b": True}),
  ],
)
def test_look_ahead_needs_all_parameters(method, hide):
  sgd, params = optax.sgd(0.1), {"w": jnp.ones(3), "b": jnp.zeros(3)}
  tx = hide(optax.chain(method(2, look_ahead=sgd), jaxmtl.sum_tasks(2), sgd))
  grads, state = jax.tree.map(lambda p: jnp.stack([p, p]), params), tx.init(params)
  with pytest.raises(ValueError, match=r"MaskedNode.*put it before"):
    tx.update(grads, state, params, losses_fn=quadratic, primary_loss_fn=quadratic)


def test_look_ahead_before_a_partition():
  sgd, params = optax.sgd(0.1), {"w": jnp.ones(3), "b": jnp.zeros(3)}
  parts = {"w": optax.chain(jaxmtl.mgda(2), sgd), "b": optax.chain(jaxmtl.sum_tasks(2), sgd)}
  tx = optax.chain(
    jaxmtl.auto_lambda(2, primary=[0], learning_rate=0.01, look_ahead=sgd),
    optax.partition(parts, {"w": "w", "b": "b"}),
  )
  _, grads = jaxmtl.task_value_and_grad(quadratic)(params)
  updates, state = jit(lambda g, s, p: tx.update(g, s, p, primary_loss_fn=quadratic))(
    grads, tx.init(params), params
  )
  weights = state[0].weights
  np.testing.assert_allclose(updates["b"], -0.1 * (weights @ grads["b"]), rtol=1e-5)
  jaxmtl.apply_updates(params, updates)
