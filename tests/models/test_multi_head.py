"""Multi-head networks: outputs, shared mask, and heads dropped without a trace."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmtl import models


class _NormalizedHead(nn.Module):
  """A head that needs to know whether it trains."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))


def _model(**heads):
  return models.MultiHead(models.create("convnet4", width=4), heads)


@pytest.fixture(scope="module")
def trained():
  model = _model(main=nn.Dense(10), aux=_NormalizedHead())
  images = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
  variables = jax.jit(model.init)(jax.random.key(0), images)
  _, updates = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
    variables, images
  )
  return model, {**variables, **updates}, images


def test_outputs_encode_and_decode_agree(trained):
  model, variables, images = trained
  outputs = jax.jit(model.apply)(variables, images)
  assert {name: output.shape for name, output in outputs.items()} == {
    "main": (6, 10),
    "aux": (6, 3),
  }
  features = jax.jit(lambda v, x: model.apply(v, x, method="encode"))(variables, images)
  decoded = model.apply(variables, features, method="decode")
  for name, output in outputs.items():
    np.testing.assert_allclose(decoded[name], output, rtol=1e-5, atol=1e-6)


def test_training_moves_statistics_of_backbone_and_head(trained):
  _, variables, _ = trained
  assert set(variables["batch_stats"]) == {"backbone", "heads_aux"}
  assert float(jnp.abs(variables["batch_stats"]["heads_aux"]["BatchNorm_0"]["mean"]).max()) > 0


def test_shared_mask_marks_the_backbone(trained):
  _, variables, _ = trained
  mask = models.shared_mask(variables["params"])
  assert jax.tree.structure(mask) == jax.tree.structure(variables["params"])
  assert all(jax.tree.leaves(mask["backbone"]))
  assert not any(jax.tree.leaves((mask["heads_main"], mask["heads_aux"])))
  with pytest.raises(ValueError, match="'backbone' at its top"):
    models.shared_mask(variables)


def test_dropping_a_head_leaves_predictions_bit_for_bit(trained):
  model, variables, images = trained
  small = _model(main=nn.Dense(10))
  kept = models.drop_heads(variables, "aux")
  assert jax.tree.structure(kept["params"]) == jax.tree.structure(
    jax.eval_shape(small.init, jax.random.key(0), images)["params"]
  )
  np.testing.assert_array_equal(
    jax.jit(small.apply)(kept, images)["main"], jax.jit(model.apply)(variables, images)["main"]
  )
  with pytest.raises(ValueError, match=r"\['axu'\].*main"):
    models.drop_heads(variables, "axu")


class _Plain(nn.Module):
  """A backbone that adds a number to each feature."""

  @nn.compact
  def __call__(self, x, train=False):
    return x + self.param("shift", nn.initializers.ones_init(), (2,))


def test_graddrop_keeps_one_sign_of_what_tasks_disagree_about():
  heads = {task: nn.Dense(1) for task in ("one", "other")}
  images = jnp.ones((3, 2))
  params = {
    "backbone": {"shift": jnp.zeros(2)},
    "heads_one": {"kernel": jnp.array([[1.0], [1]]), "bias": jnp.zeros(1)},
    "heads_other": {"kernel": jnp.array([[-2.0], [1]]), "bias": jnp.zeros(1)},
  }

  @jax.jit
  @jax.vmap
  def gradients(key):
    def total(params, graddrop):
      model = models.MultiHead(_Plain(), heads, graddrop=graddrop)
      outputs = model.apply({"params": params}, images, train=True, rngs={"dropout": key})
      return outputs["one"].sum() + outputs["other"].sum()

    return [jax.grad(total)(params, graddrop) for graddrop in (False, True)]

  plain, dropped = gradients(jax.random.split(jax.random.key(0), 20))
  np.testing.assert_allclose(plain["backbone"]["shift"][0], [3 - 6, 3 + 3])
  shifts = dropped["backbone"]["shift"]
  assert set(shifts[:, 0].tolist()) == {3, -6}  # now the one sign, now the other
  np.testing.assert_allclose(shifts[:, 1], 6)  # no dispute
  for head in ("heads_one", "heads_other"):
    np.testing.assert_allclose(dropped[head]["kernel"], plain[head]["kernel"])

  model = models.MultiHead(_Plain(), heads, graddrop=True)
  by_task = dict.fromkeys(heads, images)
  outputs = model.apply({"params": params}, by_task)  # without a random stream outside of training
  np.testing.assert_allclose(outputs["other"], jnp.full((3, 1), -1))
  with pytest.raises(ValueError, match=r"same images for all tasks.* got images of one alone"):
    model.apply({"params": params}, by_task, train=True, rngs={"dropout": jax.random.key(0)})
