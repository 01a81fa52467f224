"""Auto-lambda in a train step and in a plain optax chain."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl.training import Aux, scan_epoch, train_step

TASKS, BATCH = 3, 8
# Nothing here runs long enough to repay an optimising compiler.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.BatchNorm(use_running_average=False, momentum=0.5)(nn.Dense(6)(x))
    return nn.Dense(TASKS)(nn.tanh(x))


def losses_fn(params, model_state, batch, key):
  del key
  out, moved = Net().apply({"params": params, **model_state}, batch["x"], mutable=["batch_stats"])
  return jnp.mean((out - batch["y"]) ** 2, axis=0), Aux(moved, {}, batch.get("mask"))


def data(count=BATCH, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(count, 4)).astype(np.float32)
  return {"x": jnp.asarray(x), "y": jnp.asarray(rng.normal(size=(count, TASKS)), jnp.float32)}


@functools.cache
def start():
  variables = jit(Net().init)(jax.random.key(0), data()["x"])
  return variables["params"], {"batch_stats": variables["batch_stats"]}


def momentum():
  return optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.2, momentum=0.9))


def run(weighting, steps=2, aggregator=None, optimizer=None):
  """States and metrics of a few steps."""
  step = train_step(
    losses_fn, optimizer or momentum(), TASKS, weighting=weighting, aggregator=aggregator
  )
  assert step.pairs == (weighting is not None)
  params, model_state = start()
  state, update, found = step.init(params, jax.random.key(0), model_state), jit(step.update), []
  for i in range(steps):
    state, metrics = update(state, (data(seed=2 * i), data(seed=2 * i + 1)))
    found.append((state, metrics))
  return found


def primary_loss(params, model_state, batch, primary):
  return losses_fn(params, model_state, batch, None)[0][jnp.array(primary)].sum()


@pytest.mark.parametrize("reuse", [False, True])
def test_train_step_follows_the_paper(reuse):
  """Two steps by hand: look ahead, Adam on the weights, then the parameters' own step."""
  primary, optimizer, adam = [0, 2], momentum(), optax.adam(0.01)
  weighting = jaxmtl.auto_lambda(TASKS, primary, learning_rate=0.01, init=0.3, reuse=reuse)
  found = run(weighting)
  params, model_state = start()
  opt_state, weights = optimizer.init(params), jnp.full(TASKS, 0.3)
  adam_state = adam.init(weights)

  @jit
  def by_hand(params, model_state, opt_state, weights, adam_state, train, other):
    def weighted(params, weights):
      losses, aux = losses_fn(params, model_state, train, None)
      return losses @ weights, aux.model_state

    def ahead(weights):
      grad = jax.grad(weighted, has_aux=True)(params, weights)[0]
      updates, _ = optimizer.update(grad, opt_state, params)
      return primary_loss(optax.apply_updates(params, updates), model_state, other, primary)

    derivative = jax.grad(ahead)(weights)
    updates, adam_state = adam.update(derivative, adam_state, weights)
    moved = optax.apply_updates(weights, updates)
    used = weights if reuse else moved
    grad, model_state = jax.grad(weighted, has_aux=True)(params, used)
    updates, opt_state = optimizer.update(grad, opt_state, params)
    params = optax.apply_updates(params, updates)
    return params, model_state, opt_state, moved, adam_state, derivative, used

  for i, (state, metrics) in enumerate(found):
    batches = data(seed=2 * i), data(seed=2 * i + 1)
    *carry, derivative, used = by_hand(
      params, model_state, opt_state, weights, adam_state, *batches
    )
    params, model_state, opt_state, weights, adam_state = carry
    np.testing.assert_allclose(metrics["hypergradient"][0], derivative, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["weights"], used, rtol=1e-5)
    np.testing.assert_allclose(state.weighting.weights, weights, rtol=1e-5)
    # Batch statistics too: the look-ahead must not have moved them.
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
      (state.params, state.model_state),
      (params, model_state),
    )


def test_the_step_that_is_the_look_ahead_is_computed_once():
  params, model_state = start()

  def flops(**options):
    step = train_step(losses_fn, momentum(), TASKS, **options)
    state = step.init(params, jax.random.key(0), model_state)
    batch = (data(), data(seed=1)) if step.pairs else data()
    return jax.jit(step.update).lower(state, batch).compile().cost_analysis()["flops"]

  plain = flops()
  saved = flops(weighting=jaxmtl.auto_lambda(TASKS))
  saved -= flops(weighting=jaxmtl.auto_lambda(TASKS, reuse=True))
  assert saved > 0.5 * plain  # at most the gradient's two thirds beside the shared forward pass


def test_a_reused_step_leaves_a_task_without_labels_alone():
  """Whether the mask says so, or a loss of 0 with a gradient of 0."""
  weighting = jaxmtl.auto_lambda(TASKS, reuse=True)
  mask = jnp.array([True, True, False])

  def told(params, model_state, batch, key):
    losses, aux = losses_fn(params, model_state, batch, key)
    return losses, aux._replace(mask=mask)

  def silent(params, model_state, batch, key):
    losses, aux = losses_fn(params, model_state, batch, key)
    return jnp.where(mask, losses, 0), aux

  found = []
  for fn in (told, silent):
    step = train_step(fn, momentum(), TASKS, weighting=weighting)
    params, model_state = start()
    state = step.init(params, jax.random.key(0), model_state)
    found.append(jit(step.update)(state, (data(), data(seed=1)))[0])
  one, other = found
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), one.params, other.params
  )
  assert float(one.weighting.weights[2]) == float(other.weighting.weights[2]) == pytest.approx(0.1)


def test_chain_equals_train_step():
  """The inner products with task gradients, where these exist, are the same derivative."""
  options = {"primary": [1], "learning_rate": 0.01}
  found = run(jaxmtl.auto_lambda(TASKS, **options), steps=3)
  tx = optax.chain(
    jaxmtl.auto_lambda(TASKS, **options, look_ahead=momentum()),
    jaxmtl.sum_tasks(TASKS),
    momentum(),
  )
  params, model_state = start()
  opt_state = tx.init(params)

  @jit
  def update(params, model_state, opt_state, train, other):
    (losses, aux), grads = jaxmtl.task_value_and_grad(losses_fn, has_aux=True)(
      params, model_state, train, None
    )
    updates, opt_state = tx.update(
      grads,
      opt_state,
      params,
      losses=losses,
      primary_loss_fn=lambda p: losses_fn(p, model_state, other, None)[0],
    )
    return jaxmtl.apply_updates(params, updates), aux.model_state, opt_state

  for i, (state, _) in enumerate(found):
    batches = data(seed=2 * i), data(seed=2 * i + 1)
    params, model_state, opt_state = update(params, model_state, opt_state, *batches)
    np.testing.assert_allclose(opt_state[0].weights, state.weighting.weights, rtol=1e-5)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), params, state.params
    )


@functools.cache
def plain_step():
  return run(jaxmtl.auto_lambda(TASKS), steps=1)[0]


def test_estimators_agree():
  different = jaxmtl.auto_lambda(TASKS, estimator="finite_difference")
  steps = plain_step(), run(different, steps=1)[0]
  exact, near = (np.asarray(metrics["hypergradient"]) for _, metrics in steps)
  assert np.abs(near - exact).max() < 0.02 * np.abs(exact).max()


# From the Gramian with a solver; from the gradients, random, and with a state.
@pytest.mark.parametrize("make", [jaxmtl.cagrad, jaxmtl.graddrop, jaxmtl.metabalance])
def test_goes_with_aggregators(make):
  """The look-ahead is that of the weighted sum all the same."""
  plain = plain_step()
  state, metrics = run(jaxmtl.auto_lambda(TASKS), steps=1, aggregator=make(TASKS))[0]
  np.testing.assert_allclose(metrics["hypergradient"], plain[1]["hypergradient"], rtol=1e-4)
  np.testing.assert_allclose(state.weighting.weights, plain[0].weighting.weights, rtol=1e-5)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_noise_loses_weight_to_a_helpful_task():
  """Auxiliary learning: the second task is the primary one, the third is noise of its own."""
  rng = np.random.default_rng(0)
  truth = rng.normal(size=(6,))
  x = rng.normal(size=(64, 6))
  y = np.stack([x @ truth, x @ truth, rng.normal(size=64) * 3], axis=1)
  examples = {"x": jnp.asarray(x, jnp.float32), "y": jnp.asarray(y, jnp.float32)}

  def losses(w, model_state, batch, key):
    return jnp.mean((batch["x"] @ w[:, None] - batch["y"]) ** 2, axis=0), Aux()

  step = train_step(
    losses,
    optax.sgd(0.01),
    TASKS,
    weighting=jaxmtl.auto_lambda(TASKS, [0], learning_rate=0.01),
  )
  epoch = jit(scan_epoch(step.update, 16, pairs=step.pairs))
  state = step.init(jnp.zeros(6), jax.random.key(0))
  for _ in range(8):
    state, _ = epoch(state, examples)
  weights = np.asarray(state.weighting.weights)
  assert weights[2] < weights.min(initial=1, where=[True, True, False])
  assert weights[0] > 0.1


def test_seeds_together_equal_seeds_apart():
  step = train_step(losses_fn, momentum(), TASKS, weighting=jaxmtl.auto_lambda(TASKS))
  params, model_state = start()
  epoch = scan_epoch(step.update, BATCH, pairs=True)

  @jit
  def of_seed(seed, examples):
    state, metrics = epoch(step.init(params, jax.random.key(seed), model_state), examples)
    return (state.params, state.weighting.weights), metrics["hypergradient"]

  @jit
  def of_seeds(examples):
    return jax.vmap(lambda seed: of_seed.__wrapped__(seed, examples))(jnp.arange(2))

  together, hypergradient = of_seeds(data(3 * BATCH))
  assert hypergradient.shape == (2, 3, 1, TASKS)
  for i in range(2):
    alone, _ = of_seed(i, data(3 * BATCH))
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
      jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], together),
      alone,
    )


def test_pairs_are_two_independent_passes():
  def update(state, batch):
    return state.replace(step=state.step + 1), {"rows": jnp.stack(batch)}

  step = train_step(losses_fn, optax.sgd(0.1), TASKS)
  state = step.init(start()[0], jax.random.key(0))
  _, metrics = jit(scan_epoch(update, 4, pairs=True))(state, jnp.arange(12))
  rows = np.asarray(metrics["rows"])
  assert rows.shape == (3, 2, 4)
  first, second = rows[:, 0].ravel(), rows[:, 1].ravel()
  assert sorted(first) == sorted(second) == list(range(12))
  assert list(first) != list(second)
  _, alone = jit(scan_epoch(lambda s, b: (s, {"rows": b}), 4))(state, jnp.arange(12))
  np.testing.assert_array_equal(alone["rows"], rows[:, 0])


def test_a_task_without_labels_keeps_its_weight():
  weighting = jaxmtl.auto_lambda(TASKS, learning_rate=0.1)
  state = weighting.init(None)
  derivative = jnp.array([[1.0, -2.0, jnp.nan]])
  mask = jnp.array([True, False, True])
  weights, state = weighting.weigh(None, state, mask, hypergradient=derivative)
  # The first falls, the second is not in the batch, the third's derivative says nothing.
  np.testing.assert_allclose(weights, [0.0, 0.0, 0.1], atol=1e-6)
  np.testing.assert_allclose(state.weights, [0.0, 0.1, 0.1], atol=1e-6)
  again, _ = weighting.weigh(None, state, hypergradient=jnp.zeros((1, 3)))
  assert float(again[1]) == pytest.approx(0.1)


def sampled_losses(params, model_state, batch, key, tasks=None):
  """Each task has its batch and its head."""
  tasks = jnp.arange(batch["x"].shape[0]) if tasks is None else tasks
  hidden = jnp.tanh(jnp.einsum("tbi,ij->tbj", batch["x"][tasks], params["shared"]))
  out = jnp.einsum("tbj,tj->tb", hidden, params["heads"][tasks])
  return jnp.mean((out - batch["y"][tasks]) ** 2, axis=1), Aux()


def sampled_step(num_tasks, num_sampled):
  rng = np.random.default_rng(0)
  step = train_step(
    sampled_losses,
    optax.sgd(0.1),
    num_tasks,
    weighting=jaxmtl.auto_lambda(num_tasks, num_sampled=num_sampled, learning_rate=0.01),
  )
  params = {"shared": rng.normal(size=(4, 5)), "heads": rng.normal(size=(num_tasks, 5))}
  params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
  batches = [
    {
      "x": jnp.asarray(rng.normal(size=(num_tasks, BATCH, 4)), jnp.float32),
      "y": jnp.asarray(rng.normal(size=(num_tasks, BATCH)), jnp.float32),
    }
    for _ in range(2)
  ]
  return step, params, tuple(batches)


def test_only_sampled_tasks_take_part_in_the_look_ahead():
  step, params, batches = sampled_step(6, 2)
  state, update = step.init(params, jax.random.key(0)), jit(step.update)
  seen = np.zeros(6, bool)
  for _ in range(12):
    before = np.asarray(state.weighting.weights)
    state, metrics = update(state, batches)
    learned = np.asarray(metrics["hypergradient"][0]) != 0
    assert learned.sum() == 2
    np.testing.assert_array_equal(np.asarray(state.weighting.weights) != before, learned)
    seen |= learned
  assert seen.sum() > 3


def test_all_tasks_sampled_is_no_sampling():
  step, params, batches = sampled_step(4, 4)
  plain, _, _ = sampled_step(4, None)
  found = [
    jit(s.update)(s.init(params, jax.random.key(0)), batches)[1]["hypergradient"]
    for s in (step, plain)
  ]
  np.testing.assert_allclose(*found, rtol=1e-4)


def test_bad_input():
  params, model_state = start()
  step = train_step(losses_fn, momentum(), TASKS, weighting=jaxmtl.auto_lambda(TASKS))
  state = step.init(params, jax.random.key(0), model_state)
  with pytest.raises(ValueError, match="batch must be a pair, got dict"):
    step.update(state, data())
  other = data() | {"x": jnp.ones((BATCH, 5))}
  with pytest.raises(ValueError, match="second batch must be like the first"):
    step.update(state, (data(), other))
  with pytest.raises(ValueError, match=r"axis_name='i' does not go"):
    train_step(losses_fn, momentum(), TASKS, weighting=jaxmtl.auto_lambda(TASKS), axis_name="i")
  grads = jnp.ones((TASKS, 2))
  plain = jaxmtl.auto_lambda(TASKS)
  with pytest.raises(ValueError, match="look_ahead is missing"):
    plain.update(grads, plain.init(grads[0]), grads[0], primary_loss_fn=jnp.sum)
  tx = jaxmtl.auto_lambda(TASKS, look_ahead=optax.sgd(0.1))
  with pytest.raises(ValueError, match="params is missing"):
    tx.update(grads, tx.init(grads[0]))
  with pytest.raises(ValueError, match="primary_loss_fn is missing"):
    tx.update(grads, tx.init(grads[0]), grads[0])
  with pytest.raises(ValueError, match=r"primary_loss_fn must return a scalar or the losses \[3\]"):
    tx.update(grads, tx.init(grads[0]), grads[0], primary_loss_fn=lambda p: p)
  with pytest.raises(ValueError, match="hypergradient is missing"):
    tx.weigh(jnp.ones(TASKS), tx.init(grads[0]))
  with pytest.raises(ValueError, match=r"hypergradient has shape \(3,\)"):
    tx.weigh(jnp.ones(TASKS), tx.init(grads[0]), hypergradient=jnp.ones(TASKS))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"primary": [0, 3]}, "primary must be a task index below num_tasks=3, or .* got 3"),
    ({"primary": []}, "primary names no task"),
    ({"primary": [1, 1]}, "primary must name different tasks"),
    ({"primary": ["depth"]}, "primary='depth' is a name: give all names"),
    ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
    ({"num_sampled": 4}, "num_sampled must be from 1 to num_tasks=3, got 4"),
    ({"estimator": "darts"}, "estimator must be one of"),
    ({"look_ahead": optax.sgd(0.1), "num_sampled": 2}, "look_ahead is for a plain chain"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    jaxmtl.auto_lambda(TASKS, **options)
