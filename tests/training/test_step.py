import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl import losses, models
from jaxmtl.training import Aux, scan_epoch, train_step

TASKS = 2


class Net(nn.Module):
  """BatchNorm and dropout, two heads."""

  @nn.compact
  def __call__(self, x, train):
    x = nn.Dense(8, name="backbone")(x)
    x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="backbone_norm")(x)
    x = nn.Dropout(0.1, deterministic=not train)(jnp.tanh(x))
    return [nn.Dense(3, name=f"head{t}")(x) for t in range(TASKS)]


def shared(params):
  return {
    name: jax.tree.map(lambda _, name=name: name.startswith("backbone"), tree)
    for name, tree in params.items()
  }


def losses_fn(params, model_state, batch, key):
  outputs, updated = Net().apply(
    {"params": params, **model_state},
    batch["x"],
    True,
    rngs={"dropout": key},
    mutable=["batch_stats"],
  )
  values = {
    f"task{t}": losses.cross_entropy(outputs[t], batch["y"][:, t]) * (t + 1) for t in range(TASKS)
  }
  return values, Aux(updated, {"mean_output": outputs[0].mean()})


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  return {
    "x": jnp.asarray(rng.normal(size=(64, 5)), jnp.float32),
    "y": jnp.asarray(rng.integers(0, 3, (64, TASKS)), jnp.int32),
  }


@jax.jit
def variables_of(key):
  return Net().init(key, jnp.ones((2, 5)), False)


def start(step, seed=0, data=None):
  key = jax.random.key(seed)
  variables = variables_of(key)
  return step.init(variables["params"], key, {"batch_stats": variables["batch_stats"]})


def build(aggregator=None, weighting=None, **options):
  return train_step(
    losses_fn,
    optax.sgd(0.1, momentum=0.9),
    TASKS,
    weighting=weighting,
    aggregator=aggregator,
    shared=shared,
    **options,
  )


def reference_gradients(state, batch, weights):
  """Task gradients by one `jax.grad` a task, and the weighted sum's gradient."""

  @jax.jit
  def gradients(state, batch):
    key = jax.random.fold_in(jax.random.fold_in(state.key, 0), state.step)

    def loss(params, t):
      return losses_fn(params, state.model_state, batch, key)[0][f"task{t}"]

    grads = [jax.grad(loss)(state.params, t) for t in range(TASKS)]
    total = jax.tree.map(lambda *g: sum(w * x for w, x in zip(weights, g, strict=True)), *grads)
    return grads, total

  return jax.tree.map(np.asarray, gradients(state, batch))


def test_weighted_step_is_the_gradient_of_the_weighted_sum(data):
  step = build(weighting=jaxmtl.constant(TASKS, (0.25, 2.0)))
  state = start(step)
  new_state, metrics = jax.jit(step.update)(state, data)
  _, total = reference_gradients(state, data, (0.25, 2.0))
  want = jax.tree.map(lambda p, g: np.asarray(p) - 0.1 * g, state.params, total)
  chex.assert_trees_all_close(new_state.params, want, rtol=1e-5, atol=1e-6)
  assert metrics["weights"].tolist() == [0.25, 2.0]
  assert set(metrics) == {"losses", "weights", "gradient_norm", "mean_output"}
  moved = jax.tree.map(
    lambda a, b: np.any(np.asarray(a) != np.asarray(b)), state.model_state, new_state.model_state
  )
  assert all(jax.tree.leaves(moved))  # batch statistics were recorded


def test_aggregated_step_aggregates_shared_and_leaves_heads_their_own_gradient(data):
  step = build(jaxmtl.mgda(TASKS), jaxmtl.constant(TASKS, (0.5, 1.5)))
  state = start(step)
  new_state, metrics = jax.jit(step.update)(state, data)
  grads, total = reference_gradients(state, data, (0.5, 1.5))
  names = ("backbone", "backbone_norm")
  aggregator = jaxmtl.mgda(TASKS)

  @jax.jit
  def by_hand(grads):
    shared = [{n: g[n] for n in names} for g in grads]
    stacked = jax.tree.map(lambda a, b: jnp.stack([0.5 * a, 1.5 * b]), *shared)
    gram = jaxmtl.gramian(jax.tree.map(lambda a, b: jnp.stack([a, b]), *shared))
    return aggregator.update(stacked, aggregator.init(None))[0], {
      "cosine": jaxmtl.cosine_matrix(gram),
      "task_gradient_norms": jnp.sqrt(jnp.diagonal(gram)),
      "magnitude_similarity": jaxmtl.magnitude_similarity(gram),
      "curvature_bound": jaxmtl.curvature_bound(gram),
    }

  aggregate, relations = by_hand(grads)
  want = jax.tree.map(
    lambda p, g: np.asarray(p) - 0.1 * np.asarray(g), state.params, {**total, **aggregate}
  )
  chex.assert_trees_all_close(new_state.params, want, rtol=1e-4, atol=1e-6)
  for name, tolerance in (
    ("cosine", {"rtol": 1e-4, "atol": 1e-6}),
    ("task_gradient_norms", {"rtol": 1e-4}),
    ("magnitude_similarity", {"rtol": 1e-4}),
    ("curvature_bound", {"rtol": 1e-3, "atol": 1e-4}),
  ):
    np.testing.assert_allclose(metrics[name], relations[name], **tolerance, err_msg=name)
  np.testing.assert_allclose(metrics["aggregation_weights"].sum(), 1, rtol=1e-5)  # MGDA's simplex
  assert bool(metrics["solver_converged"])
  assert int(metrics["solver_iterations"]) > 0


def test_an_aggregator_of_two_batches_gets_both(data):
  """The same aggregator, fed by hand; heads receive the mean of both batches' gradients."""
  weights = jnp.array([0.5, 1.5])
  step = train_step(
    no_dropout,
    optax.sgd(0.1),
    TASKS,
    weighting=jaxmtl.constant(TASKS, (0.5, 1.5)),
    aggregator=jaxmtl.modo(TASKS),
    shared=lambda params: {"w": True, "heads": False},
  )
  assert step.pairs
  state = step.init(no_dropout_params(), jax.random.key(0))
  second = {"x": data["x"][:32] * 2, "y": data["y"][:32]}
  batches = data, second
  new_state, _ = jax.jit(step.update)(state, batches)

  aggregator = jaxmtl.modo(TASKS)

  @jax.jit
  def by_hand(params, batches):
    def weighted(batch):
      grads = jaxmtl.task_value_and_grad(lambda p: no_dropout(p, (), batch, None)[0])(params)[1]
      return jax.tree.map(lambda g: g * weights.reshape(-1, *[1] * (g.ndim - 1)), grads)

    first, other = map(weighted, batches)
    want, kept = aggregator.update(
      [first["w"]], aggregator.init([params["w"]]), second_gradients=[other["w"]]
    )
    heads = (first["heads"].sum(0) + other["heads"].sum(0)) / 2
    moved = {"w": params["w"] - 0.1 * want[0], "heads": params["heads"] - 0.1 * heads}
    return moved, kept

  want, kept = by_hand(state.params, batches)
  chex.assert_trees_all_close(new_state.params, want, rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_close(new_state.aggregator, kept, rtol=1e-5)
  assert abs(float(kept.weights[0]) - 0.5) > 1e-4
  with pytest.raises(ValueError, match="batch must be a pair"):
    step.update(state, data)


# One of each kind; what a method makes of its gradients is tested in tests/aggregation, epochs of
# two batches a step in test_own_batches.py.
@pytest.mark.parametrize(
  "name",
  [
    "nash_mtl",  # from the Gramian, whose scale it wants, with a solver
    "graddrop",  # element by element, random
    "db_mtl",  # with a history, and losses
  ],
)
def test_every_kind_of_aggregator_trains(name, data):
  step = build(jaxmtl.aggregation.METHODS[name](TASKS), jaxmtl.dwa(TASKS))
  epoch = jax.jit(scan_epoch(step.update, batch_size=16))
  state, first = epoch(start(step), data)
  for _ in range(4):
    state, last = epoch(state, data)
  assert int(state.step) == 20
  assert last["losses"].sum(-1).mean() < first["losses"].sum(-1).mean()


def test_seeds_under_vmap_equal_single_runs(data):
  step = build(jaxmtl.pcgrad(TASKS), jaxmtl.rlw(TASKS))
  epoch = scan_epoch(step.update, batch_size=16)

  @jax.jit
  def run(keys, data):
    variables = jax.vmap(lambda key: Net().init(key, jnp.ones((2, 5)), False))(keys)
    states = jax.vmap(lambda v, key: step.init(v["params"], key, {"batch_stats": v["batch_stats"]}))
    states = states(variables, keys)
    return states, jax.vmap(epoch, in_axes=(0, None))(states, data)

  states, (together, _) = run(jax.vmap(jax.random.key)(np.arange(3)), data)
  single = jax.jit(lambda states, i: epoch(jax.tree.map(lambda leaf: leaf[i], states), data)[0])
  for seed in range(3):
    alone = single(states, seed)
    chex.assert_trees_all_close(
      jax.tree.map(lambda leaf, seed=seed: np.asarray(leaf)[seed], together.params),
      alone.params,
      rtol=1e-4,
      atol=1e-6,
    )
  keys = jax.random.key_data(together.weighting.key)
  assert len({tuple(key) for key in keys.tolist()}) == 3  # seeds draw different weights


def no_dropout(params, model_state, batch, key):
  """Means over the batch and no draws, so that sharding must not change anything."""
  del key
  hidden = jnp.tanh(batch["x"] @ params["w"])
  out = jnp.einsum("bd,tdo->tbo", hidden, params["heads"])
  values = [losses.cross_entropy(out[t], batch["y"][:, t]) for t in range(TASKS)]
  return jnp.stack(values), Aux({"mean": batch["x"].mean(0)})


def no_dropout_params():
  rng = np.random.default_rng(1)
  return {
    "w": jnp.asarray(rng.normal(size=(5, 8)), jnp.float32),
    "heads": jnp.asarray(rng.normal(size=(TASKS, 8, 3)), jnp.float32),
  }


@pytest.fixture(scope="module")
def one_device(data):
  """A step by an aggregator, made once: the function that makes it, its state before and after."""

  @functools.cache
  def found(aggregator):
    def make(axis_name=None):
      return train_step(
        no_dropout,
        optax.adam(1e-2),
        TASKS,
        aggregator=aggregator(TASKS) if aggregator else None,
        shared=lambda p: {"w": True, "heads": False},
        axis_name=axis_name,
      )

    state = make().init(no_dropout_params(), jax.random.key(0), {"mean": jnp.zeros(5)})
    return make, state, jax.jit(make().update)(state, data)

  return found


# Without an aggregator, by an axis' name: test_eight_devices_learn_the_weights_of_one.
@pytest.mark.parametrize(
  ("how", "aggregator"),
  [
    ("jit", None),
    ("jit", jaxmtl.pcgrad),
    ("pmap", jaxmtl.metabalance),
    ("shard_map", jaxmtl.pcgrad),
    ("shard_map", jaxmtl.metabalance),
  ],
)
def test_eight_devices_equal_one(aggregator, how, data, one_device):
  make, state, (want, want_metrics) = one_device(aggregator)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec
  if how == "jit":
    sharded = jax.device_put(data, jax.sharding.NamedSharding(mesh, spec("data")))
    got, metrics = jax.jit(make().update)(state, sharded)
  elif how == "pmap":
    split = jax.tree.map(lambda leaf: leaf.reshape(8, -1, *leaf.shape[1:]), data)
    update = jax.pmap(make("data").update, axis_name="data", in_axes=(None, 0))
    got, metrics = jax.tree.map(lambda leaf: leaf[0], update(state, split))
  else:
    update = jax.shard_map(
      make("data").update, mesh=mesh, in_specs=(spec(), spec("data")), out_specs=spec()
    )
    got, metrics = jax.jit(update)(state, data)
  chex.assert_trees_all_close(got.params, want.params, rtol=1e-4, atol=1e-6)
  chex.assert_trees_all_close(got.model_state, want.model_state, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(metrics["losses"], want_metrics["losses"], rtol=1e-5)


def test_a_weighting_that_revises_sees_the_same_batch_after_the_step(data):
  """FAMO against a loop by hand, with batch statistics and dropout."""
  famo, optimizer = jaxmtl.famo(TASKS, learning_rate=0.5), optax.sgd(0.1, momentum=0.9)
  step = build(weighting=famo)
  state = start(step)
  params, model_state, opt_state = state.params, state.model_state, state.optimizer
  weights_state = famo.init(params)

  @jax.jit
  def by_hand(params, model_state, opt_state, weights_state, key):
    def stacked(params):
      values, aux = losses_fn(params, model_state, data, key)
      return jnp.stack([values[f"task{t}"] for t in range(TASKS)]), aux.model_state

    before, pullback, new_model_state = jax.vjp(stacked, params, has_aux=True)
    weights, weights_state = famo.weigh(before, weights_state)
    updates, opt_state = optimizer.update(pullback(weights)[0], opt_state)
    params = optax.apply_updates(params, updates)
    weights_state = famo.revise(stacked(params)[0], weights_state)
    return params, new_model_state, opt_state, weights_state

  update = jax.jit(step.update)
  for t in range(3):
    state, _ = update(state, data)
    key = jax.random.fold_in(jax.random.fold_in(state.key, 0), t)
    params, model_state, opt_state, weights_state = by_hand(
      params, model_state, opt_state, weights_state, key
    )
  assert np.abs(weights_state.logits).min() > 0.05
  got = (state.params, state.model_state, state.weighting)
  chex.assert_trees_all_close(got, (params, model_state, weights_state), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("aggregator", [None, jaxmtl.mgda])
def test_a_weighting_that_needs_the_gramian_gets_it(aggregator, data):
  """GradNorm in the step is GradNorm in a chain."""
  gradnorm = jaxmtl.gradnorm(TASKS, learning_rate=0.3)
  reduce = jaxmtl.sum_tasks(TASKS) if aggregator is None else aggregator(TASKS)
  chain = optax.chain(gradnorm, reduce, optax.sgd(0.1))
  step = train_step(
    no_dropout,
    optax.sgd(0.1),
    TASKS,
    weighting=gradnorm,
    aggregator=aggregator(TASKS) if aggregator else None,
  )
  state = step.init(no_dropout_params(), jax.random.key(0), {"mean": jnp.zeros(5)})
  params = state.params
  chain_state, update = chain.init(params), jax.jit(step.update)

  @jax.jit
  def by_hand(params, chain_state):
    values, grads = jaxmtl.task_value_and_grad(lambda p: no_dropout(p, (), data, None)[0])(params)
    updates, chain_state = chain.update(grads, chain_state, params, losses=values)
    return optax.apply_updates(params, updates), chain_state

  for _ in range(3):
    state, metrics = update(state, data)
    params, chain_state = by_hand(params, chain_state)
  assert np.abs(metrics["weights"] - 1).min() > 0.1
  assert metrics["cosine"].shape == (TASKS, TASKS)
  want = (params, chain_state[0])
  chex.assert_trees_all_close((state.params, state.weighting), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["famo", "gradnorm"])
def test_eight_devices_learn_the_weights_of_one(name, data, mesh):
  def make(axis_name=None):
    weighting = jaxmtl.weighting.METHODS[name](TASKS)
    return train_step(no_dropout, optax.sgd(0.1), TASKS, weighting=weighting, axis_name=axis_name)

  state = make().init(no_dropout_params(), jax.random.key(0), {"mean": jnp.zeros(5)})
  spec = jax.sharding.PartitionSpec
  sharded = jax.shard_map(
    make("data").update, mesh=mesh, in_specs=(spec(), spec("data")), out_specs=spec()
  )
  one, eight, want, got = jax.jit(make().update), jax.jit(sharded), state, state
  for _ in range(2):
    want, got = one(want, data)[0], eight(got, data)[0]
  assert np.abs(want.weighting.logits).min() > 0.01
  chex.assert_trees_all_close(got.weighting, want.weighting, rtol=1e-3, atol=1e-5)
  chex.assert_trees_all_close(got.params, want.params, rtol=1e-4, atol=1e-5)


def test_a_weighting_that_learns_by_its_own_gradient_trains(data):
  """Others are followed step by step above, or train beside aggregators."""
  step = build(weighting=jaxmtl.uncertainty(TASKS))
  epoch = jax.jit(scan_epoch(step.update, batch_size=16))
  state, first = epoch(start(step), data)
  for _ in range(4):
    state, last = epoch(state, data)
  assert last["losses"].sum(-1).mean() < first["losses"].sum(-1).mean()


def test_a_task_without_labels_is_left_alone():
  def masked(params, model_state, batch, key):
    del key
    errors = (params["w"] - batch["target"]) ** 2
    values = jnp.stack(
      [
        losses.mean_squared_error(params["w"][None], batch["target"][None]),
        losses.mean_squared_error(params["w"][None], batch["target"][None], batch["has"][None]),
      ]
    )
    return values, Aux(model_state, {"error": errors.sum()}, jnp.array([True, batch["has"]]))

  step = train_step(
    masked, optax.sgd(0.1), 2, weighting=jaxmtl.dwa(2), aggregator=jaxmtl.cagrad(2, c=0.0)
  )
  state = step.init({"w": jnp.ones(3)}, jax.random.key(0))
  batch = {"target": jnp.zeros(3), "has": jnp.array(False)}
  new_state, metrics = jax.jit(step.update)(state, batch)
  # One task is left: its gradient, 2 w / 3, is the update.
  np.testing.assert_allclose(new_state.params["w"], jnp.ones(3) * (1 - 0.1 * 2 / 3), rtol=1e-6)
  assert metrics["weights"].tolist() == [1.0, 0.0]
  assert bool(jnp.isfinite(metrics["cosine"]).all())


def test_updates_that_would_be_broadcast_raise():
  def two(params, model_state, batch, key):
    return jnp.stack([params.sum(), params.sum()]), Aux()

  def forget_aggregation():
    return optax.GradientTransformation(
      lambda params: optax.EmptyState(),
      lambda grads, state, params=None: (jax.tree.map(lambda g: jnp.stack([g, g]), grads), state),
    )

  step = train_step(two, forget_aggregation(), 2)
  with pytest.raises(ValueError, match="no aggregator"):
    step.update(step.init(jnp.ones(2), jax.random.key(0)), None)


def test_wrong_number_of_losses_raises():
  step = train_step(lambda p, m, b, k: (p, Aux()), optax.sgd(0.1), 3)
  with pytest.raises(ValueError, match="num_tasks=3"):
    step.update(step.init(jnp.ones(2), jax.random.key(0)), None)


def test_removing_the_auxiliary_head_keeps_predictions():
  backbone = models.create("convnet4", width=4)
  both = models.MultiHead(backbone, {"main": nn.Dense(3), "aux": nn.Dense(5)})
  images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
  variables = jax.jit(both.init)(jax.random.key(1), images)
  alone = models.MultiHead(backbone, {"main": nn.Dense(3)})

  @jax.jit
  def predictions(variables):
    dropped = models.drop_heads(variables, "aux")
    return both.apply(variables, images)["main"], alone.apply(dropped, images)["main"]

  want, got = predictions(variables)
  np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("options", [{}, {"aggregator": "mgda"}, {"aggregator": "metabalance"}])
def test_a_scaled_loss_keeps_what_half_precision_would_lose(options):
  """Cotangents below float16's smallest number: without a scale, nothing moves."""

  def tiny(params, model_state, batch, key):
    half = (params["w"].astype(jnp.float16) * batch.astype(jnp.float16)).astype(jnp.float32)
    return jnp.array([1e-10, 3e-10]) * jnp.stack([half.sum(), (half**2).sum()]), Aux()

  options = {name: getattr(jaxmtl, method)(2) for name, method in options.items()}
  params, batch = {"w": jnp.array([0.5, -1.5])}, jnp.array([1.0, 2.0])
  moved = []
  for scale in (1.0, 2.0**18):
    step = train_step(tiny, optax.sgd(1e8), 2, loss_scale=scale, **options)
    state, metrics = jax.jit(step.update)(step.init(params, jax.random.key(0)), batch)
    moved.append((np.asarray(state.params["w"]) - np.asarray(params["w"])) / 1e8)
  assert not np.any(moved[0])
  w, x = np.asarray(params["w"]), np.asarray(batch)
  rows = np.float32([1e-10, 3e-10])[:, None] * np.stack([x, 2 * w * x**2])
  want = rows.sum(0)
  if options:
    aggregator = options["aggregator"]
    want, _ = jax.jit(aggregator.update)(jnp.asarray(rows), aggregator.init(params["w"]))
  np.testing.assert_allclose(moved[1], -np.asarray(want), rtol=5e-3)
  np.testing.assert_allclose(metrics["losses"], [-2.5e-10, 27.75e-10], rtol=1e-2)


def test_a_dynamic_scale_leaves_out_what_overflows_and_finds_its_way():
  def half(params, model_state, batch, key):
    product = (params["w"].astype(jnp.float16) * batch.astype(jnp.float16)).astype(jnp.float32)
    return jnp.stack([product.sum(), (product**2).sum()]), Aux()

  optimizer = jaxmtl.dynamic_loss_scale(optax.adam(0.1), initial=2.0**16, every=2)
  step = train_step(
    half, optimizer, 2, aggregator=jaxmtl.pcgrad(2), weighting=jaxmtl.dwa(2), loss_scale="dynamic"
  )
  state = step.init({"w": jnp.array([0.5, -1.5])}, jax.random.key(0))
  update, scales, moved = jax.jit(step.update), [], []
  for _ in range(6):
    new, _ = update(state, jnp.array([1.0, 2.0]))
    scales.append(float(new.optimizer.loss_scale))
    moved.append(bool(jnp.any(new.params["w"] != state.params["w"])))
    state = new
  # The square's gradient is 2 * 3 * 2 * scale, float16's largest number 65,504.
  assert scales == [2.0**15, 2.0**14, 2.0**13, 2.0**12, 2.0**12, 2.0**13]
  assert moved == [False, False, False, False, True, True]
  assert int(state.optimizer.inner.skipped) == 4
  assert jnp.all(jnp.isfinite(state.params["w"]))
  # A finite step is that of a static scale.
  static = train_step(half, optax.adam(0.1), 2, aggregator=jaxmtl.pcgrad(2), loss_scale=2.0**12)
  first = step.init({"w": jnp.array([0.5, -1.5])}, jax.random.key(0))
  kept = first.optimizer._replace(loss_scale=jnp.float32(2.0**12))
  first = dataclasses.replace(first, optimizer=kept)
  want, _ = jax.jit(static.update)(
    static.init(first.params, jax.random.key(0)), jnp.array([1.0, 2.0])
  )
  got, _ = update(first, jnp.array([1.0, 2.0]))
  np.testing.assert_allclose(got.params["w"], want.params["w"], rtol=1e-6)


def test_a_dynamic_scale_is_asked_for_in_words():
  step = train_step(lambda p, m, b, k: (p, Aux()), optax.sgd(0.1), 2, loss_scale="dynamic")
  with pytest.raises(ValueError, match=r"jaxmtl\.dynamic_loss_scale"):
    step.update(step.init(jnp.ones(2), jax.random.key(0)), None)
  with pytest.raises(ValueError, match='positive or "dynamic", got 0'):
    train_step(lambda p, m, b, k: (p, Aux()), optax.sgd(0.1), 2, loss_scale=0)
  for scale in (jnp.inf, True):
    with pytest.raises(ValueError, match=f"got {scale}"):
      train_step(lambda p, m, b, k: (p, Aux()), optax.sgd(0.1), 2, loss_scale=scale)
  # A scale that adapts itself, and by which nobody multiplies.
  adapted = train_step(lambda p, m, b, k: (p, Aux()), jaxmtl.dynamic_loss_scale(optax.sgd(0.1)), 2)
  with pytest.raises(ValueError, match='the optimizer adapts one: pass loss_scale="dynamic"'):
    adapted.update(adapted.init(jnp.ones(2), jax.random.key(0)), None)
  for options in ({"initial": 0.5}, {"every": 0}, {"factor": 1.0}, {"factor": jnp.inf}):
    with pytest.raises(ValueError, match=next(iter(options))):
      jaxmtl.dynamic_loss_scale(optax.sgd(0.1), **options)
