"""Task gradients of convolutions on a mesh: equal, and each device's part of the work alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxmtl
from jaxmtl import models
from jaxmtl.gradients.task_vmap import task_vmap

T, SHAPES = 3, {"first": (3, 3, 2, 4), "second": (3, 3, 4, 4), "heads": (4, 3)}


@pytest.fixture(scope="module")
def arrays():
  rng = np.random.default_rng(0)
  params = {n: rng.normal(size=s).astype(np.float32) / 3 for n, s in SHAPES.items()}
  return params, rng.normal(size=(16, 6, 6, 2)).astype(np.float32)


def losses_fn(params, images):
  x = jnp.tanh(models.conv2d(images, params["first"], form="lax"))
  x = jax.jit(jnp.tanh)(models.conv2d(x, params["second"], strides=2, form="lax"))
  return ((x.mean((1, 2)) @ params["heads"] - 1) ** 2).mean(0)


def compiled(params, images, form):
  """In the forms of accelerators."""

  def step(params, images):  # a new function: what is traced depends on the platform
    losses, found = form(losses_fn)(params, images)
    if isinstance(found, tuple):  # the Gramian, and what combines the gradients
      found = found[0], found[1](jnp.arange(1.0, 1 + T))
    return losses, found

  with jaxmtl.forms_for("gpu"):
    return jax.jit(step).lower(params, images).compile()


@pytest.mark.parametrize("form", [jaxmtl.task_value_and_grad, jaxmtl.task_gramian])
def test_work_of_a_device_does_not_grow_with_their_number(arrays, form):
  params, images = arrays
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  everywhere = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
  spread = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
  one, eight = compiled(params, images, form), compiled(everywhere, spread, form)
  assert 8 * eight.cost_analysis()["flops"] < 1.1 * one.cost_analysis()["flops"]
  want, got = (jax.tree.leaves(f(*x)) for f, x in ((one, arrays), (eight, (everywhere, spread))))
  for a, b in zip(got, want, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_it_is_vmap():
  """Also for outputs that no task changes, for groups, and for loops that it does not look into."""
  kernel = jnp.arange(2.0 * 2 * 4).reshape(2, 2, 1, 4)

  def fn(x):
    grouped = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), "SAME", dimension_numbers=("HWCN", "HWIO", "HWNC"), feature_group_count=2
    )
    return {"a": grouped, "b": kernel, "c": jax.lax.fori_loop(0, 2, lambda i, y: y * 2 + i, x)}

  tasks = jnp.arange(3.0 * 4 * 5 * 2 * 6).reshape(3, 4, 5, 2, 6)
  got, want = jax.jit(lambda x: (task_vmap(fn, x), jax.vmap(fn)(x)))(tasks)
  jax.tree.map(np.testing.assert_array_equal, got, want)
