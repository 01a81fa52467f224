"""A task without any label in a batch takes no part, though nobody says which task that is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl import losses
from jaxmtl.training import Aux, train_step

RNG = np.random.default_rng(0)
PARAMS = {"w": jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)}
X = RNG.normal(size=(6, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, (6, 3))


def without(rows, columns):
  """Labels without some."""
  labels = LABELS.copy()
  labels[rows, columns] = -1
  return labels


def losses_fn(params, model_state, batch, key):
  x, labels = batch
  logits = x @ params["w"]
  found = [
    losses.cross_entropy(logits * s, labels[:, t], ignore=-1) for t, s in enumerate((1, 2, 3))
  ]
  return jnp.stack(found), Aux()


def told(params, model_state, batch, key):
  found, _ = losses_fn(params, model_state, batch, key)
  return found, Aux(mask=jnp.any(batch[1] >= 0, axis=0))


# One of each form of a step: without task gradients, with a second pass, with the Gramian, stacked,
# with a second batch. All methods of a form are told the same.
WEIGHTINGS = ("uncertainty", "famo", "gradnorm")
AGGREGATORS = ("nash_mtl", "excess_mtl", "modo")


@pytest.mark.parametrize("name", [*WEIGHTINGS, *AGGREGATORS])
def test_the_losses_tell_the_step_what_a_mask_would(name):
  make = getattr(jaxmtl, name)
  kind = "weighting" if name in WEIGHTINGS else "aggregator"
  steps = [train_step(f, optax.sgd(0.1), 3, **{kind: make(3)}) for f in (losses_fn, told)]
  labels = without(slice(None), 1)
  batches = [(X, LABELS), (X, labels), (X, LABELS)]

  def train(step):
    state = step.init(PARAMS, jax.random.key(0))
    update = jax.jit(step.update)
    for batch in batches:
      state, metrics = update(state, (batch, batch) if step.pairs else batch)
    return state, metrics

  (found, _), (want, _) = map(train, steps)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
    if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_mgda_goes_on_with_the_other_tasks():
  step = train_step(losses_fn, optax.sgd(1.0), 3, aggregator=jaxmtl.mgda(3))
  state = step.init(PARAMS, jax.random.key(0))
  _, metrics = jax.jit(step.update)(state, (X, without(slice(None), slice(1, None))))
  alone = jax.jit(jax.grad(lambda p: losses.cross_entropy(X @ p["w"], LABELS[:, 0])))(PARAMS)
  np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(alone["w"]), rtol=1e-5)


@pytest.mark.parametrize(
  "options", [{}, {"aggregator": jaxmtl.mgda(2)}, {"weighting": jaxmtl.dwa(2)}]
)
def test_a_loss_of_zero_that_has_a_gradient_is_learned_from(options):
  """Of a linear loss that starts at zero, as a critic's with zero weights."""

  def linear(params, model_state, batch, key):
    return jnp.stack([jnp.mean(batch @ params["head"]), jnp.mean((params["w"] - 1) ** 2)]), Aux()

  params = {"w": jnp.zeros(3), "head": jnp.zeros(4)}
  step = train_step(linear, optax.sgd(0.1), 2, **options)
  state, _ = jax.jit(step.update)(step.init(params, jax.random.key(0)), X)
  assert np.any(np.asarray(state.params["head"]) != 0)


def test_parts_of_a_batch_without_labels_do_not_count():
  labels, key = without(slice(3), 1), jax.random.key(0)
  want = jax.jit(lambda p: losses.cross_entropy(X[3:] @ p["w"] * 2, labels[3:, 1]))(PARAMS)
  for accumulate in (1, 2):
    step = train_step(losses_fn, optax.sgd(0.1), 3, accumulate=accumulate)
    # Micro-batches take every second example.
    order = np.array([0, 3, 1, 4, 2, 5])
    _, metrics = jax.jit(step.update)(step.init(PARAMS, key), (X[order], labels[order]))
    np.testing.assert_allclose(metrics["losses"][1], want, rtol=1e-5)
