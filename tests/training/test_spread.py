"""Task gradients in slices over the devices that share a batch: equal, and less is sent."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxmtl
from jaxmtl.gradients.spread import shard_alike
from jaxmtl.training import Aux, train_step

T = 3
SHAPES = {"first": (24, 16), "second": (16, 8), "bias": (3,), "head": (8, T)}
METHODS = {
  "graddrop": jaxmtl.graddrop,
  "moco": jaxmtl.moco,
  "pcgrad": lambda n: jaxmtl.pcgrad(n).changed(weigh=None),
  "cagrad": jaxmtl.cagrad,
}


@pytest.fixture(scope="module")
def arrays():
  rng = np.random.default_rng(0)
  params = {n: rng.normal(size=s).astype(np.float32) / 3 for n, s in SHAPES.items()}
  return params, rng.normal(size=(32, 24)).astype(np.float32)


def losses_fn(params, model_state, batch, key):
  x = jnp.tanh(jnp.tanh(batch @ params["first"]) @ params["second"])
  return ((x @ params["head"] + params["bias"] - 1) ** 2).mean(0), Aux()


def shared(params):
  return {name: name != "head" for name in params}


def three_steps(method, params, batch):
  """In the forms of accelerators; with the program's text, and how many the third step adds."""
  step = train_step(losses_fn, optax.sgd(0.1, 0.9), T, aggregator=METHODS[method](T), shared=shared)
  batch = (batch, batch) if step.pairs else batch
  with jaxmtl.forms_for("tpu"):
    update = jax.jit(lambda state, batch: step.update(state, batch))
    state = step.init(params, jax.random.key(1))
    state, _ = update(state, batch)  # of counters that lie on one device yet
    state, _ = update(state, batch)
    programs = update._cache_size()
    state, metrics = update(state, batch)
    text = update.lower(state, batch).compile().as_text()
  return state, metrics, text, update._cache_size() - programs


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sharded", [False, True])
def test_a_step_is_that_of_one_device_and_leaves_parameters_where_they_are(arrays, method, sharded):
  params, batch = arrays
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  specs = {n: PartitionSpec("data" if sharded and n == "first" else None) for n in params}
  places = {n: NamedSharding(mesh, spec) for n, spec in specs.items()}
  rows = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
  want, told, _, _ = three_steps(method, params, batch)
  got, metrics, text, more = three_steps(method, jax.device_put(params, places), rows)
  for name, value in got.params.items():
    assert value.sharding.is_equivalent_to(places[name], value.ndim), name
    np.testing.assert_allclose(value, want.params[name], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(metrics["cosine"], told["cosine"], atol=1e-5)
  assert more == 0
  moments = got.optimizer[0].trace
  assert all(moments[n].sharding.is_equivalent_to(places[n], moments[n].ndim) for n in places)
  if shard_alike is None:  # of a JAX without it
    return
  # One gradient is gathered of slices, and nowhere all tasks'.
  gathered = re.findall(r"= f32\[([\d,]*)\]\S* all-gather\(", text)
  assert {"16,8"} | (set() if sharded else {"24,16"}) <= set(gathered)
  assert not any(shape.startswith(f"{T},") for shape in gathered)


def test_on_a_mesh_of_several_axes_the_compiler_chooses(arrays):
  params, batch = arrays
  mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
  spec = {n: PartitionSpec(None, "model" if n == "first" else None) for n in ("first", "second")}
  places = {n: NamedSharding(mesh, spec.get(n, PartitionSpec())) for n in params}
  rows = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
  want = three_steps("graddrop", params, batch)[0].params
  got = three_steps("graddrop", jax.device_put(params, places), rows)[0].params
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)
