"""MAXL's label network, and the losses and labels that it is made of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmtl import labels, losses, meta
from jaxmtl.training import Aux, scan_epoch, train_step

PSI, COUNT = (2, 3), 12
# Nothing here runs long enough to repay an optimising compiler.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def data(seed=0):
  rng = np.random.default_rng(seed)
  return {
    "x": jnp.asarray(rng.normal(size=(COUNT, 4)), jnp.float32),
    "y": jnp.asarray(rng.integers(2, size=COUNT)),
  }


def parameters(seed=0):
  rng = np.random.default_rng(seed)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  theta1 = {"w": normal(4, 6), "primary": normal(6, 2), "auxiliary": normal(6, 5)}
  return theta1, {"w": normal(4, 6), "out": normal(6, 5), "bias": jnp.zeros(5)}


def losses_fn(params, model_state, batch, key):
  del key
  features = jnp.tanh(batch["x"] @ params["w"])
  primary = losses.focal(features @ params["primary"], jax.nn.one_hot(batch["y"], 2))
  auxiliary = losses.focal(features @ params["auxiliary"], batch["auxiliary"])
  return jnp.stack([primary.mean(), auxiliary.mean()]), Aux({"seen": model_state["seen"] + 1})


def generate_fn(params, model_state, batch, key):
  del key
  logits = jnp.tanh(batch["x"] @ params["w"]) @ params["out"] + params["bias"]
  return labels.mask_softmax(logits, batch["y"], PSI), {"seen": model_state["seen"] + 1}


def build(entropy_weight=0.2, decay=1e-2, **options):
  sgd = optax.sgd(0.5)
  label_optimizer = optax.chain(optax.add_decayed_weights(decay), optax.sgd(0.3, momentum=0.9))
  step = train_step(losses_fn, sgd, 2)
  network = meta.maxl(
    losses_fn, generate_fn, sgd, label_optimizer, entropy_weight=entropy_weight, **options
  )
  return step, network, label_optimizer


def start(step, network, seed=0):
  theta1, theta2 = parameters(seed)
  key, fresh = jax.random.key(seed), {"seen": jnp.array(0)}
  return step.init(theta1, key, fresh), network.init(theta2, key, fresh)


def test_update_follows_the_paper():
  step, network, label_optimizer = build()
  state, label_state = start(step, network)
  batch = data()

  @jit
  def by_hand(theta1, theta2, opt_state):
    def made(theta2):
      return generate_fn(theta2, {"seen": 0}, batch, None)[0]

    def both(theta1, theta2):
      labelled = {**batch, "auxiliary": made(theta2)}
      return losses_fn(theta1, {"seen": 0}, labelled, None)[0]

    def ahead(theta2):
      grads = jax.grad(lambda t: both(t, theta2).sum())(theta1)
      moved = jax.tree.map(lambda p, g: p - 0.5 * g, theta1, grads)
      return both(moved, theta2)[0] + 0.2 * losses.label_entropy(made(theta2))

    value, grads = jax.value_and_grad(ahead)(theta2)
    updates, opt_state = label_optimizer.update(grads, opt_state, theta2)
    return value, optax.apply_updates(theta2, updates), opt_state, made(theta2)

  theta2, opt_state = label_state.params, label_state.optimizer
  update, add_labels = jit(network.update), jit(network.add_labels)
  for i in range(2):
    made = add_labels(label_state, batch)["auxiliary"]
    label_state, metrics = update(label_state, state, batch)
    value, theta2, opt_state, want = by_hand(state.params, theta2, opt_state)
    np.testing.assert_allclose(made, want, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["entropy"], losses.label_entropy(want), rtol=1e-5)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
      label_state.params,
      theta2,
    )
    assert int(label_state.step) == int(label_state.model_state["seen"]) == i + 1
  assert int(state.model_state["seen"]) == 0


def epoch_of(step, network):
  """A pass for the network, then another one for its labels."""

  def epoch(states, examples):
    state, label_state = states

    def learn(state, batch):
      return step.update(state, network.add_labels(label_state, batch))

    state, metrics = scan_epoch(learn, 4)(state, examples)

    def teach(label_state, batch):
      return network.update(label_state, state, batch)

    label_state, label_metrics = scan_epoch(teach, 4)(label_state, examples)
    return (state, label_state), metrics | label_metrics

  return epoch


def test_epochs_of_several_seeds_together():
  step, network, _ = build()
  states = jax.tree.map(lambda *s: jnp.stack(s), *(start(step, network, seed) for seed in (0, 1)))
  epoch = epoch_of(step, network)
  together = jit(jax.vmap(epoch, in_axes=(0, None)))
  apart = jit(epoch)
  moved, metrics = together(states, data())
  assert metrics["losses"].shape == (2, 3, 2)
  assert metrics["entropy"].shape == (2, 3)
  for seed in (0, 1):
    want, _ = apart(start(step, network, seed), data())
    for got_state, want_state in zip(moved, want, strict=True):
      jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5),
        jax.tree.map(lambda leaf, seed=seed: leaf[seed], got_state.params),
        want_state.params,
      )


def test_entropy_keeps_labels_in_use():
  """Without it nothing pulls the mean label back from a few classes."""
  used = {}
  for weight in (0.0, 5.0):
    step, network, _ = build(weight, decay=0.0)
    state, label_state = start(step, network)
    # The last class of each block is nearly all that is in use.
    skewed = {"bias": jnp.array([0.0, 6.0, 0.0, 0.0, 6.0])}
    label_state = label_state.replace(params=label_state.params | skewed)
    update = jit(network.update)
    for _ in range(100):
      label_state, metrics = update(label_state, state, data())
    used[weight] = float(metrics["entropy"])
  # Two classes of three and two labels: the mean label cannot be flatter than this.
  shares = np.bincount(np.asarray(data()["y"]), minlength=2) / COUNT
  flattest = sum(s * np.log(s / n) for s, n in zip(shares, PSI, strict=True))
  assert used[5.0] == pytest.approx(flattest, abs=0.05)
  assert used[0.0] > used[5.0] + 0.1


def test_several_primary_tasks():
  def three(params, model_state, batch, key):
    found, aux = losses_fn(params, model_state, batch, key)
    return jnp.stack([found[0], found[1], 2 * found[0]]), aux

  sgd = optax.sgd(0.5)
  network = meta.maxl(three, generate_fn, sgd, sgd, primary=(0, 2), entropy_weight=0.0)
  step = train_step(three, sgd, 3)
  state, label_state = start(step, network)
  _, metrics = jit(network.update)(label_state, state, data())
  batch = network.add_labels(label_state, data())

  def total(params):
    return three(params, {"seen": 0}, batch, None)[0]

  grads = jit(jax.grad(lambda params: total(params).sum()))(state.params)
  ahead = jit(total)(jax.tree.map(lambda p, g: p - 0.5 * g, state.params, grads))
  np.testing.assert_allclose(metrics["loss"], ahead[0] + ahead[2], rtol=1e-5)


def test_bad_input():
  step, network, _ = build()
  state, label_state = start(step, network)
  plain = meta.maxl(losses_fn, lambda p, s, b, k: (b[0], s), optax.sgd(0.1), optax.sgd(0.1))
  with pytest.raises(ValueError, match="batch must be a dict that the labels are added to"):
    plain.add_labels(label_state, (data()["x"],))
  with pytest.raises(ValueError, match=r"primary must name losses by index, 0 to 1, got \(2,\)"):
    jax.eval_shape(build(primary=(2,))[1].update, label_state, state, data())
  with pytest.raises(ValueError, match="entropy_weight must be >= 0, got -1"):
    build(-1)


@functools.cache
def masked(psi):
  """`(logits, primary) -> probabilities` and the gradient of their squares."""

  def found(logits, primary):
    fn = lambda z: labels.mask_softmax(z, primary, psi)  # noqa: E731
    return fn(logits), jax.grad(lambda z: (fn(z) ** 2).sum())(logits)

  return jax.jit(found)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([(1,), (2, 3), (1, 4, 2, 1)]), st.floats(-1e4, 1e4), st.integers(0, 1000))
def test_mask_softmax_is_a_distribution_over_the_block(psi, scale, seed):
  rng = np.random.default_rng(seed)
  primary = rng.integers(len(psi), size=7)
  logits = (rng.normal(size=(7, sum(psi))) * scale).astype(np.float32)
  probabilities, gradient = map(np.asarray, masked(psi)(logits, primary))
  block = np.repeat(np.arange(len(psi)), psi)
  assert np.all(probabilities[primary[:, None] != block] == 0)
  np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
  assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
  ("psi", "shape", "message"),
  [
    ((2, 2), (3, 5), r"psi=\(2, 2\) has 4 auxiliary classes in all"),
    ((2, 0), (3, 2), "psi must hold one integer of at least 1"),
    ((), (3, 0), "psi must hold one integer"),
    ((2.5, 1.5), (3, 4), "psi must hold one integer"),
  ],
)
def test_bad_psi(psi, shape, message):
  with pytest.raises(ValueError, match=message):
    labels.mask_softmax(jnp.zeros(shape), jnp.zeros(3, int), psi)


def test_hierarchies_of_all_widths_run_together():
  psis, primary = [(2, 3), (1, 1), (4, 2)], jnp.array([0, 1, 1])
  logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6)), jnp.float32)
  together = jax.vmap(labels.mask_softmax, in_axes=(None, None, 0))(
    logits, primary, jnp.array(psis)
  )
  for psi, padded in zip(psis, together, strict=True):
    own = sum(psi)
    want = labels.mask_softmax(logits[:, :own], primary, psi)
    np.testing.assert_allclose(padded[:, :own], want, rtol=1e-6)
    assert np.all(padded[:, own:] == 0)
  with pytest.raises(ValueError, match=r"psi must be integers \[P\] .* dtype float32"):
    labels.mask_softmax(logits, primary, jnp.ones(2))


def test_mask_softmax_wants_one_class_an_example():
  with pytest.raises(ValueError, match="primary must hold one class an example"):
    labels.mask_softmax(jnp.zeros((3, 4)), jnp.zeros(2, int), (2, 2))
  with pytest.raises(TypeError, match="primary must be integer classes"):
    labels.mask_softmax(jnp.zeros((3, 4)), jnp.zeros(3), (2, 2))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_is_its_formula(gamma):
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(4, 3)).astype(np.float32)
  soft = rng.dirichlet(np.ones(3), size=4).astype(np.float32)
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  want = -(soft * (1 - p) ** gamma * np.log(p)).sum(1)
  np.testing.assert_allclose(losses.focal(logits, soft, gamma), want, rtol=1e-5)


@pytest.mark.parametrize("size", [0.0, 1e4, -1e4])
def test_focal_has_finite_derivatives_everywhere(size):
  logits, soft = jnp.array([[size, 0.0, -size]]), jnp.array([[0.5, 0.0, 0.5]])
  fn = lambda z: losses.focal(z, soft).sum()  # noqa: E731
  for found in jax.jit(lambda z: (fn(z), jax.grad(fn)(z), jax.hessian(fn)(z)))(logits):
    assert np.all(np.isfinite(found))


def test_entropy_of_an_unused_class_has_a_finite_gradient():
  unused = jnp.array([[1.0, 0.0], [1.0, 0.0]])
  assert float(losses.label_entropy(unused)) == 0.0
  assert np.all(np.isfinite(jax.grad(losses.label_entropy)(unused)))


def test_bad_losses():
  with pytest.raises(ValueError, match=r"gamma must be 0 or at least 1, got 0\.5"):
    losses.focal(jnp.zeros(2), jnp.zeros(2), gamma=0.5)
  with pytest.raises(ValueError, match="soft_labels must have the shape of logits"):
    losses.focal(jnp.zeros((2, 3)), jnp.zeros(2))
  with pytest.raises(ValueError, match=r"labels must have shape \[batch, num_classes\]"):
    losses.label_entropy(jnp.zeros(3))
