"""Programs take the forms of the platform that they are for, on whatever host."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

import jaxmtl
from jaxmtl import models
from jaxmtl._platform import on_cpu
from jaxmtl.training import Aux, train_step

T = 3


def abstract_mesh(platform):
  """Of eight chips that are not there."""
  device = type(jax.make_mesh((1,), ("d",)).abstract_mesh.abstract_device)
  kind = {"tpu": "TPU v5 lite", "cuda": "NVIDIA H100"}[platform]
  auto = (jax.sharding.AxisType.Auto,)
  return AbstractMesh((8,), ("data",), auto, abstract_device=device(kind, 1, platform))


def step_of(method="pcgrad"):
  """Of a convolution, its state and a batch."""

  def losses_fn(params, model_state, batch, key):
    maps = jnp.tanh(models.conv2d(batch["x"], params["kernel"]))
    out = maps.mean((1, 2)) @ params["shared"]
    return jnp.stack([((out @ head - batch["y"]) ** 2).mean() for head in params["heads"]]), Aux()

  aggregator = getattr(jaxmtl, method)(T)
  step = train_step(
    losses_fn,
    optax.sgd(0.1),
    T,
    aggregator=aggregator,
    shared=lambda params: {name: name != "heads" for name in params},
  )
  rng = np.random.default_rng(0)
  shapes = {"kernel": (3, 3, 2, 4), "shared": (4, 4), "heads": (T, 4)}
  params = {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in shapes.items()}
  batch = {"x": rng.normal(size=(8, 6, 6, 2)), "y": rng.normal(size=8)}
  return step, step.init(params, jax.random.key(0)), jax.tree.map(jnp.float32, batch)


def text_for(platform, shardings=None):
  """The program of a step, lowered on this host."""
  step, state, batch = step_of()
  if shardings is not None:
    state, batch = (
      jax.tree.map(
        lambda x, s=spec: jax.ShapeDtypeStruct(
          x.shape, x.dtype, sharding=NamedSharding(shardings, s)
        ),
        tree,
      )
      for tree, spec in ((state, PartitionSpec()), (batch, PartitionSpec("data")))
    )
  traced = jax.jit(lambda state, batch: step.update(state, batch)).trace(state, batch)
  return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_forms_follow_the_mesh_that_arguments_are_on(platform):
  text = text_for(platform, abstract_mesh(platform))
  assert "stablehlo.convolution" in text
  assert text.count("stablehlo.while") == 1  # PCGrad's projections: tasks go back all at once
  own = text_for("cpu")
  assert "stablehlo.convolution" not in own
  assert own.count("stablehlo.while") > 1


def test_forms_follow_what_is_said_and_end_with_it():
  with jaxmtl.forms_for("cuda"):
    text = text_for("cuda")
    assert not on_cpu(jnp.ones(2))
  assert "stablehlo.convolution" in text
  assert on_cpu(jnp.ones(2))
  with pytest.raises(ValueError, match="platform must be cpu, gpu, cuda, rocm or tpu, got 'TPU'"):
    jaxmtl.forms_for("TPU").__enter__()


def test_a_computation_put_on_the_cpu_takes_its_forms(monkeypatch):
  put = jax.device_put(jnp.ones(2), jax.devices("cpu")[0])
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  sharded = jax.device_put(jnp.ones(8), NamedSharding(mesh, PartitionSpec("data")))
  monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(platform="gpu")])
  assert not on_cpu(jnp.ones(2))
  assert on_cpu(put)
  assert on_cpu(sharded)
  seen = []
  jax.jit(lambda x: seen.append(on_cpu(x * 2)))(sharded)  # of what follows from it, too
  with jax.set_mesh(mesh):
    jax.jit(lambda x: seen.append(on_cpu(x)))(np.ones(3))
  assert seen == [True, True]


def test_one_program_for_several_platforms():
  _, state, batch = step_of()

  def gradients(params, batch):
    def losses_fn(params):
      maps = jnp.tanh(models.conv2d(batch["x"], params["kernel"]))
      out = maps.mean((1, 2)) @ params["shared"]
      return jnp.mean((out @ params["heads"].T - batch["y"][:, None]) ** 2, 0)

    return jaxmtl.task_value_and_grad(losses_fn)(params)

  exported = jax.export.export(
    jax.jit(jaxmtl.portable(gradients)), platforms=["cpu", "tpu", "cuda"]
  )(state.params, batch)
  assert "stablehlo.convolution" in exported.mlir_module()
  want = jax.jit(gradients)(state.params, batch)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    exported.call(state.params, batch),
    want,
  )
  with pytest.raises(TypeError, match=r"by position, got \['batch'\] by name"):
    jaxmtl.portable(gradients)(state.params, batch=batch)
