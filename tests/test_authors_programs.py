"""Methods in the conventions of their authors' programs, against formulas written out here."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl.training import Aux, train_step

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(3, 8)) * np.array([[1.0], [20.0], [0.1]])
LOSSES = np.array([2.0, 0.5, 8.0])
TRUNK = "trunk"
PARAMS = {
  TRUNK: jnp.asarray(RNG.normal(size=4)),
  **{f"head{t}": jnp.asarray(RNG.normal(size=4)) for t in range(3)},
}


def losses_fn(params, model_state, batch, key):
  found = [
    ((params[TRUNK] * batch[t] + params[f"head{t}"]) ** 2).sum() * (t + 1) + 0.1 for t in range(3)
  ]
  return jnp.stack(found), Aux()


BATCH = jnp.asarray(RNG.normal(size=(3, 4)))


def shared(params):
  return {name: name == TRUNK for name in params}


def train(steps=3, optimizer=None, **options):
  step = train_step(losses_fn, optimizer or optax.sgd(1.0), 3, shared=shared, **options)
  state, update = step.init(PARAMS, jax.random.key(0)), jax.jit(step.update)
  for _ in range(steps):
    state, metrics = update(state, BATCH)
  return state, metrics


@pytest.mark.parametrize("normalization", ["l2", "loss", "loss+"])
def test_mgda_combines_the_normalised_gradients(normalization, x64):
  norms = np.linalg.norm(ROWS, axis=1)
  by = {"l2": norms, "loss": LOSSES, "loss+": LOSSES * norms}[normalization]
  for scale in (1.0, 1e-30):  # lengths outside of what squares keep
    aggregator = jaxmtl.mgda(3, normalization, combine="normalized")
    rows = scale * ROWS
    divided, plain = rows / (by if normalization == "loss" else scale * by)[:, None], jaxmtl.mgda(3)

    @jax.jit
    def both(rows, divided, aggregator=aggregator, plain=plain):
      out, _ = aggregator.update(rows, aggregator.init(rows[0]), losses=LOSSES)
      return out, plain.update(divided, plain.init(rows[0]))[0]

    out, want = both(rows, divided)
    np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-9 * np.abs(np.asarray(want)).max())


def test_two_unit_gradients_are_halved_whatever_their_angle(x64):
  aggregator = jaxmtl.mgda(2, "l2", combine="normalized")
  rows = jnp.asarray(ROWS[:2])
  out, _ = jax.jit(aggregator.update)(rows, aggregator.init(rows[0]))
  unit = ROWS[:2] / np.linalg.norm(ROWS[:2], axis=1, keepdims=True)
  np.testing.assert_allclose(out, unit.sum(0) / 2, rtol=1e-6)


def test_stch_with_a_warm_up(x64):
  """Sum of log-losses, then T mu log sum exp(log(L / nadir) / mu)."""
  weighting = jaxmtl.stch(3, mu=0.7, warm_up_steps=4, steps_per_epoch=2)
  losses = RNG.uniform(0.5, 3, (6, 3))
  state, weigh = weighting.init(None), jax.jit(weighting.weigh)
  nadir = losses[2:4].mean(0)
  smooth = jax.jit(jax.grad(lambda x: 3 * 0.7 * jax.nn.logsumexp(jnp.log(x / nadir) / 0.7)))
  for step, now in enumerate(losses):
    weights, state = weigh(jnp.asarray(now), state)
    np.testing.assert_allclose(weights, 1 / now if step < 4 else smooth(now), rtol=1e-6)
  np.testing.assert_allclose(state.nadir, nadir, rtol=1e-6)


@pytest.mark.parametrize("mask", [(True, True, True), (True, False, True)])
def test_cosmos_and_pbi_are_the_gradients_of_their_formulas(mask, x64):
  p, z, kept = np.array([0.2, 0.3, 0.5]), np.array([0.1, -0.2, 0.0]), np.array(mask)

  def cosmos(x):
    x, q = x[kept], p[kept]
    return q @ x - 0.8 * (q @ x) / (jnp.linalg.norm(q) * jnp.linalg.norm(x))

  def pbi(x):
    x, q = (x - z)[kept], p[kept]
    unit = q / jnp.linalg.norm(q)
    return x @ unit + 2.0 * jnp.linalg.norm(x - (x @ unit) * unit)

  for formula, weighting in (
    (cosmos, jaxmtl.cosmos(3, p, lam=0.8)),
    (pbi, jaxmtl.pbi(3, p, penalty=2.0, reference=z)),
  ):

    @jax.jit
    def both(losses, weighting=weighting, formula=formula):
      weights, _ = weighting.weigh(losses, weighting.init(None), kept)
      return weights, jax.grad(formula)(losses)

    weights, want = both(LOSSES)
    np.testing.assert_allclose(weights, np.where(kept, want, 0), rtol=1e-6)


@pytest.mark.parametrize("name", ["uncertainty", "imtl_l"])
def test_scales_are_moved_as_parameters_of_the_network(name, x64):
  """By its optimiser and schedule, Adam here, as where they are among the network's parameters."""
  optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 20))
  state, _ = train(5, optimizer, weighting=getattr(jaxmtl, name)(3))

  def objective(both):
    losses = losses_fn(both["net"], (), BATCH, None)[0]
    if name == "uncertainty":
      return (losses / (2 * jnp.exp(both["s"])) + both["s"] / 2).sum()
    return (jnp.exp(both["s"]) * losses - both["s"]).sum()

  both = {"net": PARAMS, "s": jnp.full(3, -0.7 if name == "uncertainty" else 0.0, jnp.float32)}
  moments = optimizer.init(both)

  @jax.jit
  def step(both, moments):
    updates, moments = optimizer.update(jax.grad(objective)(both), moments, both)
    return optax.apply_updates(both, updates), moments

  for _ in range(5):
    both, moments = step(both, moments)
  found = state.weighting.log_variances if name == "uncertainty" else state.weighting.log_weights
  np.testing.assert_allclose(found, both["s"], rtol=1e-5)
  for got, want in zip(jax.tree.leaves(state.params), jax.tree.leaves(both["net"]), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_scales_keep_an_optimiser_that_was_chosen():
  weighting = jaxmtl.uncertainty(3, optimizer=optax.sgd(0.0))
  state, _ = train(2, optax.sgd(0.01), weighting=weighting)
  np.testing.assert_allclose(state.weighting.log_variances, -0.7, rtol=1e-6)


@pytest.mark.parametrize("name", ["uncertainty", "imtl_l", "gls"])
def test_a_negative_loss_is_named_or_leaves_the_scales_alone(name):
  weighting = getattr(jaxmtl, name)(2)
  state = weighting.init(None)
  with pytest.raises(ValueError, match=rf"losses\[1\] is -1.0 but must be positive for {name}"):
    weighting.weigh(jnp.array([1.0, -1.0]), state)
  weigh = jax.jit(weighting.weigh)
  for _ in range(200):
    weights, state = weigh(jnp.array([1.0, -3.0]), state)
  assert state.rejected.tolist() == [0, 200]
  assert jnp.all(jnp.abs(weights) < 10)

  def below_zero(params, model_state, batch, key):
    return jnp.stack([params**2 + 1, params - 5]), Aux()

  step = train_step(below_zero, optax.sgd(0.1), 2, weighting=weighting)
  _, metrics = jax.jit(step.update)(step.init(jnp.ones(()), jax.random.key(0)), ())
  assert metrics["rejected_losses"].tolist() == [0, 1]


def test_gradnorm_waits_for_an_epoch_and_learns_by_the_networks_optimiser(x64):
  weighting = jaxmtl.gradnorm(3, learning_rate=None, steps_per_epoch=2, equal_steps=2)
  for steps, moves in ((2, False), (3, True)):
    state, metrics = train(steps, optax.adam(0.05), weighting=weighting)
    assert jnp.all(state.weighting.logits == 0) == (not moves)
    np.testing.assert_allclose(metrics["weights"], 1)
  # Adam's first step is the rate, whatever the gradient.
  np.testing.assert_allclose(np.abs(state.weighting.logits), 0.05, rtol=1e-3)


HEADS = {
  "fairgrad": lambda weights, losses: weights,
  "nash_mtl": lambda weights, losses: weights,
  "excess_mtl": lambda weights, losses: np.full(3, 1 / 3),  # the first step's weights
  "db_mtl": lambda weights, losses: 1 / (losses + 1e-8),
  "cagrad": lambda weights, losses: np.ones(3),
}


@jax.jit
def gradients_of(params):
  losses = lambda p: losses_fn(p, (), BATCH, None)[0]  # noqa: E731
  return jax.grad(lambda p: losses(p).sum())(params), jax.jacrev(losses)(params)


@pytest.mark.parametrize("name", HEADS)
def test_heads_get_what_the_authors_give_them(name, x64):
  make = getattr(jaxmtl, name)
  state, metrics = train(1, aggregator=make(3))
  gradients, task_grads = jax.tree.map(np.asarray, gradients_of(PARAMS))
  start, moved = ({k: np.asarray(v) for k, v in p.items()} for p in (PARAMS, state.params))
  factors = HEADS[name](metrics.get("aggregation_weights"), metrics["losses"])
  for t in range(3):
    head = f"head{t}"
    want = np.asarray(factors[t]) * gradients[head]
    np.testing.assert_allclose(start[head] - moved[head], want, rtol=1e-4)
  # And so in a chain of one's own.
  tx = jaxmtl.heads_apart(make(3), shared)
  own_loop, _ = jax.jit(lambda g, s: tx.update(g, s, PARAMS, losses=metrics["losses"]))(
    task_grads, tx.init(PARAMS)
  )
  for param in PARAMS:
    np.testing.assert_allclose(start[param] - moved[param], own_loop[param], rtol=1e-4)
  if name != "cagrad":
    plain, _ = train(1, aggregator=make(3, weigh_heads=False))
    found = start["head1"] - np.asarray(plain.params["head1"])
    np.testing.assert_allclose(found, gradients["head1"], rtol=1e-4)
    np.testing.assert_allclose(plain.params[TRUNK], state.params[TRUNK], rtol=1e-6)


def test_excess_mtl_compares_with_the_end_of_its_warm_up(x64):
  aggregator = jaxmtl.excess_mtl(3, eta=0.5, warm_up_steps=3)
  state, update = aggregator.init(jnp.zeros(8)), jax.jit(aggregator.update)
  for step in range(4):
    _, state = update(ROWS * np.array([[1.0], [step + 1], [0.5**step]]), state)
    if step < 2:
      np.testing.assert_allclose(np.exp(state.log_weights), 1 / 3, rtol=1e-6)
    if step == 2:
      first = np.asarray(state.first)
  np.testing.assert_array_equal(state.first, first)
  assert np.ptp(np.asarray(state.log_weights)) > 0.01


def test_upgrads_constants(x64):
  rows = np.array([[1.0, 0.0], [-2.0, 0.1]])
  for reg_eps in (1e-6, 1e-2):
    aggregator = jaxmtl.dual_proj(2, reg_eps=reg_eps)
    weights, _ = jax.jit(aggregator.weigh)(rows @ rows.T, aggregator.init(None))
    matrix = rows @ rows.T / np.trace(rows @ rows.T) + reg_eps * np.eye(2)
    # The mean conflicts with one of them, whose weight rises until it does no more.
    np.testing.assert_allclose((matrix @ np.asarray(weights)).min(), 0, atol=1e-9)
  for scale, projected in ((1.0, True), (1e-3, False)):
    aggregator = jaxmtl.upgrad(2, norm_eps=1e-4)
    out, _ = jax.jit(aggregator.update)(scale * rows, aggregator.init(rows[0]))
    assert bool(np.allclose(out, scale * rows.mean(0), rtol=1e-6)) != projected
  with pytest.raises(ValueError, match="reg_eps must be positive, got 0"):
    jaxmtl.upgrad(2, reg_eps=0.0)


def test_rlw_sums_to_what_it_is_told():
  weighting = jaxmtl.rlw(3, total=1.0)
  weights, _ = weighting.weigh(jnp.ones(3), weighting.init(None))
  np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)


def test_graddrop_drops_as_often_as_f_says():
  grads = np.float32([[3.0], [-1.0]]) * np.ones((2, 4000), np.float32)  # P = 3/4
  always = lambda p: jnp.where(p > 0.5, 1.0, 0.0)  # noqa: E731
  for f, share in ((None, 0.75), (always, 1.0), (jnp.square, 0.5625)):
    aggregator = jaxmtl.graddrop(2, f=f)
    out, _ = jax.jit(aggregator.update)(grads, aggregator.init(grads[0]))
    assert np.mean(np.asarray(out) == 3) == pytest.approx(share, abs=0.03)


def test_graddrop_at_a_representation():
  """One mask a feature for the whole batch, from gradients with the representation's signs."""
  z = jnp.asarray(RNG.normal(size=(5, 2000)), jnp.float32)
  directions = jnp.asarray(RNG.normal(size=(2, 5, 2000)), jnp.float32)

  def total(z, leak=None):
    copies = jaxmtl.graddrop_layer(z, 2, jax.random.key(0), leak=leak)
    return (copies * directions).sum()

  signed = (np.asarray(directions) * np.sign(z)).sum(1)
  p = 0.5 * (1 + signed.sum(0) / np.abs(signed).sum(0))
  found = np.asarray(jax.jit(jax.grad(total))(z))
  each = np.asarray(directions)
  kept_up = (np.where(signed > 0, 1, 0)[:, None] * each).sum(0)
  kept_down = (np.where(signed < 0, 1, 0)[:, None] * each).sum(0)
  up = np.isclose(found, kept_up, atol=1e-5).all(0)
  down = np.isclose(found, kept_down, atol=1e-5).all(0)
  assert np.all(up | down)
  assert np.all(up[p >= 1])
  mixed = (p > 0) & (p < 1)
  assert up[mixed].mean() == pytest.approx(p[mixed].mean(), abs=0.05)
  through = jax.jit(jax.grad(lambda x: total(x, [1.0, 1.0])))(z)
  np.testing.assert_allclose(through, each.sum(0), rtol=1e-5)


@pytest.mark.parametrize(
  "optimizer",
  [
    optax.lbfgs(),
    optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10)),
    optax.polyak_sgd(),
    optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau(patience=1)),
  ],
)
def test_optimisers_that_look_at_the_loss(optimizer):
  _, before = train(1, optax.sgd(0.0), weighting=jaxmtl.constant(3, (1.0, 0.5, 0.25)))
  _, after = train(6, optimizer, weighting=jaxmtl.constant(3, (1.0, 0.5, 0.25)))
  weights = np.array([1.0, 0.5, 0.25])
  assert np.asarray(after["losses"]) @ weights < 0.7 * (np.asarray(before["losses"]) @ weights)
