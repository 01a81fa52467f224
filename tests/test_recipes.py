"""The recipes run word for word, and every kind of method works with every library of theirs."""

import functools
import importlib.util
import itertools
import types

import blocks
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl.gradients import layerwise, linear_layers, program

RECIPES = blocks.recipes()
NEEDS = {
  "Flax Linen": "flax",
  "Flax NNX": "flax",
  "Equinox": "equinox",
  "Haiku": "haiku",
  "Keras 3": "keras",
  "Saving states": "flax",
  "Exporting a step": "flatbuffers",
}
LIBRARIES = ("Plain pytrees", "Flax Linen", "Flax NNX", "Equinox", "Haiku", "Keras 3")


@functools.cache
def begun(code):
  names = {"__name__": "recipes"}
  exec(compile(code, "docs/recipes.md", "exec"), names)
  return names


@functools.cache
def run(title):
  """The names that a recipe leaves."""
  if (needed := NEEDS.get(title)) and importlib.util.find_spec(needed) is None:
    pytest.skip(f"{needed} is not installed")
  before, code = RECIPES[title]
  names = dict(begun(before))
  exec(compile(code, f"docs/recipes.md, {title}", "exec"), names)
  return names


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(title):
  names = run(title)
  checked = [names.get("params")]
  checked += [names["losses"]] if title != "Steps that are not finite" else []
  for leaf in jax.tree.leaves(checked):
    assert np.all(np.isfinite(leaf))


def pure(title):
  """`losses_fn(params, batch)` and `params` of a library's recipe."""
  names = run(title)
  if title == "Flax Linen":
    state, errors = names["state"], names["errors"]
    variables = {"batch_stats": state.batch_stats}

    def of_linen(params, batch):
      outputs = state.apply_fn(variables | {"params": params}, batch["x"], train=False)
      return errors(outputs, batch)

    return of_linen, state.params, names["batch"]
  if title == "Flax NNX":
    from flax import nnx

    model = nnx.clone(names["model"])
    model.eval()
    call = jaxmtl.nnx.of_params(names["losses_fn"], model)
    return call, nnx.state(model, nnx.Param), names["batch"]
  if title == "Keras 3":
    others = names["others"]
    return (lambda p, b: names["losses_fn"](p, others, b)[0]), names["params"], names["batch"]
  return names["losses_fn"], names["params"], names["batch"]


@pytest.mark.parametrize("title", LIBRARIES)
def test_every_kind_of_method(title, monkeypatch):
  losses_fn, params, batch = pure(title)
  assert len(linear(losses_fn, params, batch)) >= 3  # trunk and two heads
  monkeypatch.setattr(layerwise, "_is_cheaper", lambda *_: True)
  tasks, sgd = jaxmtl.Tasks("depth", "normal"), optax.sgd(0.1)
  dwa = jaxmtl.chain(jaxmtl.dwa(tasks), jaxmtl.pcgrad(tasks), sgd)
  learned = jaxmtl.chain(
    jaxmtl.auto_lambda(tasks, primary="depth", look_ahead=sgd), jaxmtl.sum_tasks(tasks), sgd
  )

  def make_labels(label_params, batch):
    return jax.nn.softmax(batch["x"] @ label_params)

  def labelled(params, labels, batch):
    return losses_fn(params, batch | {"normal": labels[:, 0]})

  maxl = jaxmtl.meta.label_value_and_grad(labelled, make_labels, sgd, primary=["depth"])

  @jax.jit
  def everything(params, label_params, batch):
    losses, grads = jaxmtl.task_value_and_grad(losses_fn)(params, batch)
    _, (gramian, pullback) = jaxmtl.task_gramian(losses_fn)(params, batch)
    weights, _ = jaxmtl.mgda(tasks).weigh(gramian, jaxmtl.mgda(tasks).init(params))
    updates, _ = dwa.update(grads, dwa.init(params), params, losses=losses)
    ahead, state = learned.update(
      grads, learned.init(params), params, primary_loss_fn=lambda p: losses_fn(p, batch)["depth"]
    )
    return {
      "gramian": (gramian, jaxmtl.gramian(grads)),
      "gradient": (pullback(weights), jaxmtl.combine(grads, weights)),
      "params": jaxmtl.apply_updates(jaxmtl.apply_updates(params, updates), ahead),
      "learned": state[0].weights,
      "maxl": maxl(label_params, params, sgd.init(params), batch),
    }

  label_params = 0.1 * jnp.ones((8, 3)) * jnp.arange(3)
  found = everything(params, label_params, batch)
  for name in ("gramian", "gradient"):
    got, want = (jax.tree.leaves(tree) for tree in found[name])
    scale = max(float(jnp.abs(leaf).max()) for leaf in want)
    for g, w in zip(got, want, strict=True):
      np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5 * scale)
  assert jax.tree.structure(found["params"]) == jax.tree.structure(params)
  assert found["learned"][0] > 0.1  # depth's own loss lowers itself
  (loss, labels), gradient = found["maxl"]
  assert np.isfinite(loss)
  assert labels.shape == (32, 3)
  assert float(jnp.abs(gradient).max()) > 0


def linear(losses_fn, params, batch):
  """The places of the parameters that the Gramian can take by their layers."""
  leaves, treedef = jax.tree.flatten(params)

  def flat(*leaves):
    return list(losses_fn(jax.tree.unflatten(treedef, leaves), batch).values())

  return linear_layers.linear_uses(program.flatten(jax.make_jaxpr(flat)(*leaves)), len(leaves))


def test_heads_apart_is_the_train_step():
  names = run("Heads apart")
  plain = dict(begun(RECIPES["Heads apart"][0]))
  losses_fn, params, batch, tasks = (plain[n] for n in ("losses_fn", "params", "batch", "tasks"))
  weighting, aggregator, adam = jaxmtl.dwa(tasks), jaxmtl.mgda(tasks), optax.adam(1e-2)

  def with_aux(params, model_state, batch, key):
    return losses_fn(params, batch), jaxmtl.training.Aux()

  step = jaxmtl.training.train_step(
    with_aux,
    adam,
    tasks,
    weighting=jaxmtl.constant(tasks, {"depth": 1.0, "normal": 0.3}),
    aggregator=aggregator,
    shared=names["is_shared"],
  )
  state, _ = jax.jit(step.update)(step.init(params, jax.random.key(0)), batch)
  tx = jaxmtl.chain(
    jaxmtl.constant(tasks, {"depth": 1.0, "normal": 0.3}),
    jaxmtl.heads_apart(aggregator, names["is_shared"]),
    adam,
  )
  chained, _, _ = plain["make_step"](tx)(params, tx.init(params), batch)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), chained, state.params
  )

  # From the Gramian alone, two steps, so that the weights of dwa take part.
  tx = jaxmtl.chain(weighting, jaxmtl.heads_apart(aggregator, names["is_shared"]), adam)
  chained, chain_state = params, tx.init(params)
  states = weighting.init(params), aggregator.init(params["trunk"]), adam.init(params)
  chain_step, split = plain["make_step"](tx), params
  for _ in range(2):
    chained, chain_state, _ = chain_step(chained, chain_state, batch)
    split, states = names["split_step"](split, states, batch)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), split, chained)


@pytest.mark.parametrize("title", ["Flax Linen", "Flax NNX", "Equinox", "Haiku"])
def test_shared_parameters_are_found_by_their_paths(title):
  mask = run("Heads apart")["is_shared"](pure(title)[1])
  assert sum(jax.tree.leaves(mask)) == 2  # kernel and bias
  assert len(jax.tree.leaves(mask)) >= 6


def test_terms_at_points_of_their_own_are_learned():
  names = run("A set of points a loss (PINN)")
  update, state = jax.jit(names["polish"].update), names["pinn_state"]
  found = []
  for _ in range(15):
    state, metrics = update(state, names["points"])
    found.append(10 * metrics["losses"]["boundary"] + metrics["losses"]["residual"])
  assert all(after <= before for before, after in itertools.pairwise(found))  # a line search
  assert found[-1] < 0.5 * found[0]


def test_what_is_frozen_behind_the_aggregator_counts_in_its_weights():
  names = run("Frozen layers")
  frozen, trained, batch = (names[n] for n in ("frozen", "trained", "batch"))
  aggregator = jaxmtl.mgda(2)

  def of_all(both, batch):
    return names["trained_losses_fn"](both, both, batch)

  @jax.jit
  def weights():
    found = []
    for losses_fn, arguments in (
      (of_all, (frozen | trained, batch)),
      (names["trained_losses_fn"], (trained, frozen, batch)),
    ):
      _, (gramian, _) = jaxmtl.task_gramian(losses_fn)(*arguments)
      found.append(aggregator.weigh(gramian, aggregator.init(trained))[0][0])
    return found

  behind, before = weights()
  assert 0.01 < abs(behind / before - 1) < 0.1


def test_a_grown_state_keeps_what_the_optimiser_knew():
  names = run("A task added later")
  old, grown = names["state"], names["grown_state"]
  assert optax.tree.get(grown, "count") == optax.tree.get(old, "count") + 1
  gradient = (optax.tree.get(grown, "mu")["trunk"] - 0.9 * optax.tree.get(old, "mu")["trunk"]) / 0.1
  assert float(jnp.abs(optax.tree.get(old, "mu")["trunk"]).max()) > 0
  second = 0.999 * optax.tree.get(old, "nu")["trunk"] + 0.001 * gradient**2
  np.testing.assert_allclose(optax.tree.get(grown, "nu")["trunk"], second, rtol=1e-3, atol=1e-9)
  assert grown[0].last.shape == (3,)  # DWA's


def test_a_sweep_is_each_value_by_itself():
  title = "A schedule or a sweep of an option"
  names, plain = run(title), dict(begun(RECIPES[title][0]))
  assert optax.tree.get(names["states"], "c").tolist() == pytest.approx([0.1, 0.4, 0.8])
  tx = jaxmtl.chain(jaxmtl.cagrad(plain["tasks"], c=0.8), optax.adam(1e-2))
  params = names["params"]
  alone, _, losses = plain["make_step"](tx)(params, tx.init(params), plain["batch"])
  np.testing.assert_allclose(names["losses"][2], losses, rtol=1e-5)
  for name, value in alone.items():
    np.testing.assert_allclose(names["swept"][name][2], value, rtol=1e-4, atol=1e-6)
  assert not np.allclose(names["swept"]["trunk"][0], names["swept"]["trunk"][2], atol=1e-5)


def test_halves_are_near_float32():
  names = run("bfloat16 and float16")
  plain = dict(begun(RECIPES["bfloat16 and float16"][0]))
  first, batch = plain["params"], plain["batch"]

  def float16(params, batch):
    scaled = names["half_losses_fn"](params, batch, jnp.float16)
    return {name: 1024.0 * loss for name, loss in scaled.items()}

  @jax.jit
  def gradients(params, batch):
    every = (plain["losses_fn"], names["half_losses_fn"], float16)
    return [jaxmtl.task_value_and_grad(f)(params, batch)[1]["trunk"].reshape(2, -1) for f in every]

  want, *found = (np.asarray(g, np.float64) for g in gradients(first, batch))
  found[-1] /= 1024
  # The first scale is too large for these losses: the step is left out, the next one is halved.
  assert (float(names["state"].loss_scale), int(names["state"].inner.skipped)) == (2.0**14, 1)
  for got in found:
    lengths = np.linalg.norm(got, axis=1), np.linalg.norm(want, axis=1)
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=0.02)
    assert np.all(np.sum(got * want, axis=1) > 0.995 * lengths[0] * lengths[1])


def test_heads_apart_takes_masks_and_second_batches():
  names = {"trunk": True, "a": False, "b": False}
  rng = np.random.default_rng(0)
  params = {name: jnp.zeros(3) for name in names}
  first, second = (
    {name: jnp.asarray(rng.normal(size=(2, 3)), jnp.float32) for name in names} for _ in range(2)
  )
  aggregator = jaxmtl.modo(2)
  apart = jaxmtl.heads_apart(aggregator, lambda _: names)
  got, _ = apart.update(
    first, apart.init(params), params, mask=[True, False], second_gradients=second
  )
  want, _ = aggregator.update(
    first["trunk"],
    aggregator.init(params["trunk"]),
    mask=[True, False],
    second_gradients=second["trunk"],
  )
  np.testing.assert_allclose(got["trunk"], want, rtol=1e-6)
  np.testing.assert_allclose(got["a"], (first["a"][0] + second["a"][0]) / 2, rtol=1e-6)
  assert repr(apart) == "heads_apart of modo(num_tasks=2)"
  with pytest.raises(ValueError, match="num_tasks"):
    jaxmtl.heads_apart(optax.identity(), lambda _: names)


def test_the_batch_spread_over_devices_gives_the_step_of_one(mesh):
  names = run("Many devices")
  assert len(names["rows"].device_set) == 8
  plain = dict(begun(RECIPES["Many devices"][0]))
  params, batch, tx = plain["params"], plain["batch"], plain["tx"]
  one, _, _ = plain["step"](params, tx.init(params), batch)
  many, _, _ = plain["step"](params, tx.init(params), jax.device_put(batch, names["rows"]))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, many)


def test_maxl_needs_three_fields_and_one_optimiser():
  x = jax.random.normal(jax.random.key(0), (6, 3))
  sgd, batch = optax.sgd(0.1), {"x": x}

  def losses_fn(params, labels, batch):
    primary, auxiliary = jnp.mean((batch["x"] @ params) ** 2), jnp.mean((x @ params - labels) ** 2)
    return jnp.stack([primary, auxiliary])

  def make_labels(label_params, batch):
    return jax.nn.softmax(batch["x"] @ label_params)

  network = jaxmtl.meta.maxl(
    lambda params, _, batch, key: (losses_fn(params, batch["auxiliary"], batch), None),
    lambda label_params, model_state, batch, key: (make_labels(label_params, batch), model_state),
    sgd,
    sgd,
  )
  params, label_params = jnp.ones((3, 2)), jnp.eye(3, 2)
  state = types.SimpleNamespace(params=params, model_state=(), optimizer=sgd.init(params))
  label_state = network.init(label_params, jax.random.key(0))
  moved, metrics = jax.jit(lambda s, b: network.update(s, state, b))(label_state, batch)

  value_and_grad = jaxmtl.meta.label_value_and_grad(losses_fn, make_labels, sgd)
  (loss, labels), gradient = jax.jit(value_and_grad)(label_params, params, sgd.init(params), batch)
  np.testing.assert_allclose(moved.params, label_params - 0.1 * gradient, rtol=1e-5)
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
  assert labels.shape == (6, 2)

  tx = jaxmtl.chain(jaxmtl.pcgrad(2), sgd)
  wrong = jaxmtl.meta.label_value_and_grad(losses_fn, make_labels, tx)
  with pytest.raises(ValueError, match="give the optimizer that follows"):
    wrong(label_params, params, tx.init(params), batch)
  with pytest.raises(ValueError, match="entropy_weight"):
    jaxmtl.meta.label_value_and_grad(losses_fn, make_labels, sgd, entropy_weight=-1.0)
