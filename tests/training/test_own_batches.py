"""Tasks with a batch of their own: the same steps as ever, at a fraction of the work."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl.training import Aux, scan_epoch, train_step

TASKS = 4
METHODS = {
  "pcgrad": {"aggregator": jaxmtl.pcgrad},  # from the Gramian
  "metabalance": {"aggregator": jaxmtl.metabalance},  # elementwise
  "modo": {"aggregator": jaxmtl.modo},  # two batches
  "gradnorm": {"weighting": jaxmtl.gradnorm},
  "equal": {},
}


def outputs_of(params, images, heads):
  hidden = jnp.tanh(images @ params["shared"] + params["bias"])
  return jnp.einsum("tbh,th->tb", hidden, heads)


def as_array(params, model_state, batch, key, tasks=None):
  del key
  images, targets = batch["image"].swapaxes(0, 1), batch["target"].T
  heads = params["heads"]
  if tasks is not None:
    images, targets, heads = images[tasks], targets[tasks], heads[tasks]
  values = jnp.mean((outputs_of(params, images, heads) - targets) ** 2, axis=1)
  return values, Aux({"mean": 0.9 * model_state["mean"] + images.mean((0, 1))})


def as_dict(params, model_state, batch, key):
  """Each task's own program, as a loop over data sets would be written."""
  del key
  values = {
    f"task{t}": jnp.mean(
      (
        outputs_of(params, batch["image"][None, :, t], params["heads"][t : t + 1])[0]
        - batch["target"][:, t]
      )
      ** 2
    )
    for t in range(TASKS)
  }
  mean = 0.9 * model_state["mean"] + batch["image"].mean((0, 1))
  return values, Aux({"mean": mean})


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  return {
    "image": rng.normal(size=(64, TASKS, 6)).astype(np.float32),
    "target": rng.normal(size=(64, TASKS)).astype(np.float32),
  }


def build(losses_fn, own_batches, method="pcgrad", **options):
  made = {kind: make(TASKS) for kind, make in METHODS[method].items()}
  return train_step(
    losses_fn,
    optax.sgd(0.1, momentum=0.9),
    TASKS,
    shared=lambda params: {"shared": True, "bias": True, "heads": False},
    own_batches=own_batches,
    **made,
    **options,
  )


def start(step, seed, hidden=8, dtype=jnp.float32):
  rng = np.random.default_rng(seed)
  params = {
    "shared": rng.normal(size=(6, hidden)),
    "bias": np.zeros(hidden),
    "heads": rng.normal(size=(TASKS, hidden)),
  }
  params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
  return step.init(params, jax.random.key(seed), {"mean": jnp.zeros(6, dtype)})


# The losses' form decides how task gradients are found, a method what is made of them: a Gramian or
# the gradients themselves.
@pytest.mark.parametrize(
  ("losses_fn", "method"),
  [*((as_array, method) for method in METHODS), (as_dict, "pcgrad"), (as_dict, "metabalance")],
)
def test_an_epoch_equals_the_one_that_does_not_know(losses_fn, method, data, x64):
  """Scanned, under vmap over seeds."""
  data = jax.tree.map(lambda leaf: leaf.astype(float), data)
  rng = np.random.default_rng(1)
  params = {
    "shared": rng.normal(size=(2, 6, 8)),
    "bias": np.zeros((2, 8)),
    "heads": rng.normal(size=(2, TASKS, 8)),
  }

  def epoch(own_batches):
    step = build(losses_fn, own_batches, method)
    run = scan_epoch(step.update, 16, pairs=step.pairs)

    @jax.jit
    def of_seeds(params, data):
      def one(params, seed):
        return run(step.init(params, jax.random.key(seed), {"mean": jnp.zeros(6)}), data)

      return jax.vmap(one)(params, jnp.arange(2))

    return of_seeds(params, data)

  (got, metrics), (want, want_metrics) = epoch(True), epoch(False)
  assert metrics.keys() == want_metrics.keys()
  metrics.pop("solver_iterations", None)  # may stop one earlier
  chex.assert_trees_all_close(
    (got.params, got.model_state, metrics),
    (want.params, want.model_state, {name: want_metrics[name] for name in metrics}),
    rtol=1e-8,
    atol=1e-10,
  )


def test_chunks_change_nothing(data):
  """All at once, the usual, is what epochs above do."""
  want = build(as_array, False)
  state = start(want, 2)
  want_state, want_metrics = jax.jit(want.update)(state, data)
  for chunk_size in (1, 3):
    got = build(as_array, True, chunk_size=chunk_size)
    got_state, got_metrics = jax.jit(got.update)(state, data)
    chex.assert_trees_all_close(got_state.params, want_state.params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got_metrics["cosine"], want_metrics["cosine"], atol=1e-5)


@pytest.mark.parametrize(("losses_fn", "method"), [(as_array, "metabalance"), (as_dict, "pcgrad")])
def test_eight_devices_equal_one(losses_fn, method, data, mesh):
  spec = jax.sharding.PartitionSpec
  one = build(losses_fn, True, method)
  eight = build(losses_fn, True, method, axis_name="data")
  state = start(one, 3)
  update = jax.shard_map(eight.update, mesh=mesh, in_specs=(spec(), spec("data")), out_specs=spec())
  want, got = jax.jit(one.update)(state, data)[0], jax.jit(update)(state, data)[0]
  chex.assert_trees_all_close(got.params, want.params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("losses_fn", [as_array, as_dict])
def test_it_costs_little_more_than_a_step_without_task_gradients(losses_fn, data):
  """Multiplications of the step's program, with a network where they are what counts."""

  def flops(own_batches, method):
    step = build(losses_fn, own_batches, method, chunk_size=TASKS)
    state = start(step, 4, hidden=256)
    return jax.jit(step.update).lower(state, data).cost_analysis()["flops"]

  plain = flops(False, "equal")
  assert flops(True, "metabalance") < 1.6 * plain
  assert flops(False, "metabalance") > 2 * plain


def test_missing_labels_and_bfloat16(data):
  """A task without labels takes no part, in the parameters' own precision."""

  def masked(params, model_state, batch, key, tasks=None):
    values, aux = as_array(params, model_state, batch, key, tasks)
    return values, aux._replace(mask=jnp.arange(TASKS) != 1)

  half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), data)
  step = build(masked, True)
  state = start(step, 5, dtype=jnp.bfloat16)
  after, metrics = jax.jit(step.update)(state, half)
  assert after.params["shared"].dtype == jnp.bfloat16
  assert metrics["weights"][1] == 0
  moved = np.asarray(after.params["heads"]) != np.asarray(state.params["heads"])
  assert moved[0].all()
  assert not moved[1].any()


def test_tasks_that_cannot_be_told_apart_are_an_error(data):
  def stacked(params, model_state, batch, key):
    return as_array(params, model_state, batch, key)

  def deaf(params, model_state, batch, key, tasks=None):
    return as_array(params, model_state, batch, key)

  for losses_fn, message in ((stacked, "no such parameter"), (deaf, "got 4 losses for one task")):
    step = build(losses_fn, True)
    state = start(step, 6)
    with pytest.raises(ValueError, match=message):
      jax.eval_shape(step.update, state, data)
