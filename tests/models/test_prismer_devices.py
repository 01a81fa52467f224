"""Prismer on one device and on eight."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxmtl import losses, training
from jaxmtl.models import prismer

CONFIG = prismer.Config.tiny(experts={}, image_size=16, vision_layers=1, text_layers=1)


def step_and_state(batch):
  model = prismer.Prismer(CONFIG)

  def losses_fn(params, model_state, batch, key):
    ids = batch["ids"]
    logits = model.apply(
      {"params": params},
      batch["experts"],
      ids,
      jnp.ones_like(ids),
      train=True,
      rngs={"dropout": key},
    )
    return losses.token_cross_entropy(logits, ids).mean()[None], training.Aux(model_state)

  variables = jax.jit(model.init)(jax.random.key(0), batch["experts"], batch["ids"], batch["ids"])
  trained = prismer.trainable(variables, "freeze_lang_vision")
  optimizer = optax.partition(
    {True: optax.sgd(1e-2, momentum=0.9), False: optax.set_to_zero()}, trained
  )
  step = training.train_step(losses_fn, optimizer, 1)
  return step, step.init(variables["params"], jax.random.key(1))


def test_a_checkpoint_of_one_device_goes_on_with_its_parameters_spread_over_eight(tmp_path):
  rng = np.random.default_rng(0)
  batch = {
    "experts": {"rgb": rng.normal(size=(8, 16, 16, 3)).astype(np.float32)},
    "ids": rng.integers(3, CONFIG.vocab_size, (8, 6)),
  }
  step, fresh = step_and_state(batch)
  update = jax.jit(step.update)
  state, _ = update(fresh, batch)
  with training.Checkpointer(tmp_path) as checkpointer:
    checkpointer.save(1, state)

  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

  def spread(leaf):
    """The last axis that eight devices can share."""
    axes = [None] * np.ndim(leaf)
    for axis in reversed(range(np.ndim(leaf))):
      if leaf.shape[axis] % 8 == 0:
        axes[axis] = "data"
        break
    return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*axes)))

  with training.Checkpointer(tmp_path) as checkpointer:
    _, found = checkpointer.restore(jax.tree.map(spread, fresh))
  kernel = found.params["text_decoder"]["layer_0"]["mlp_in"]["kernel"]
  assert kernel.sharding.shard_shape(kernel.shape) == (32, 8)
  moments = [x for x in jax.tree.leaves(found.optimizer) if np.ndim(x)]
  assert len({x.sharding.num_devices for x in moments}) == 1
  rows = jax.tree.map(
    lambda x: jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))), batch
  )
  for _ in range(2):
    state, want = update(state, batch)
    found, got = update(found, rows)
  np.testing.assert_allclose(got["losses"], want["losses"], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found.params, state.params
  )
