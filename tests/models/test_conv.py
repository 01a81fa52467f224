"""The matrix-product form of convolutions equals `lax.conv_general_dilated` in every transform."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmtl.models import Conv, conv2d
from jaxmtl.models._convolution import _has_kernel

_GRID = [
  # height, width, channels, features, kernel, strides, padding, dilation
  (8, 8, 3, 16, (3, 3), 1, "SAME", 1),
  (7, 5, 4, 6, (3, 3), 2, 1, 1),
  (9, 8, 2, 3, (5, 2), (1, 2), ((2, 1), (0, 3)), (1, 2)),
  # What XLA's own kernel serves on CPU: growing maps, strides, and more outputs than inputs.
  (6, 5, 32, 17, (3, 3), 1, ((0, 2), (2, 3)), 1),
  (10, 9, 3, 20, (3, 3), (2, 1), 1, (1, 2)),
]


def _inputs(height, width, channels, features, kernel_size, dtype=jnp.float32, seeds=()):
  rng = np.random.default_rng(0)
  # Enough images for the large maps to have more rows than a kernel.
  batch = 2 if channels < 32 else 12
  x = rng.normal(size=(*seeds, batch, height, width, channels))
  kernel = rng.normal(size=(*seeds, *kernel_size, channels, features)) / max(1, channels / 8)
  return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def _function(form, strides, padding, dilation):
  return lambda x, kernel: conv2d(
    x, kernel, strides=strides, padding=padding, dilation=dilation, form=form
  )


@pytest.mark.parametrize("case", _GRID)
def test_value_gradient_and_second_derivatives_equal_lax(case):
  *shape, strides, padding, dilation = case
  x, kernel = _inputs(*shape)

  def derivatives(form):
    conv = _function(form, strides, padding, dilation)

    def loss(x, kernel):
      return jnp.sum(jnp.sin(conv(x, kernel)))

    def everything(x, kernel):
      grad = jax.grad(loss, argnums=(0, 1))
      tangent = (jnp.cos(x), jnp.cos(kernel))
      return jax.jvp(conv, (x, kernel), tangent), jax.jvp(grad, (x, kernel), tangent)

    return everything

  both = jax.jit(lambda *args: [derivatives(form)(*args) for form in ("cpu", "lax")])
  for ours, theirs in zip(*map(jax.tree.leaves, both(x, kernel)), strict=True):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=3e-4)


def test_grouped_value_and_gradient_equal_lax():
  x, kernel = _inputs(5, 4, 6, 9, (3, 3))
  kernel = np.asarray(kernel)[:, :, :2]

  def derivatives(form):
    def loss(x, kernel):
      y = conv2d(x, kernel, strides=2, padding=1, groups=3, form=form)
      return jnp.sum(jnp.sin(y)), y

    return jax.grad(loss, argnums=(0, 1), has_aux=True)

  both = jax.jit(lambda *args: [derivatives(form)(*args) for form in ("cpu", "lax")])
  for ours, theirs in zip(*map(jax.tree.leaves, both(x, kernel)), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
  with pytest.raises(ValueError, match="groups=2"):
    conv2d(x, kernel, groups=2)
  with pytest.raises(ValueError, match="must divide"):
    conv2d(x, kernel[..., :8], groups=3)


def test_larger_convolutions_are_one_equation_with_fast_derivatives():
  x, kernel = (jnp.zeros(shape) for shape in ((8, 8, 8, 32), (3, 3, 32, 32)))

  def program(x, kernel, g):
    conv = _function("cpu", 1, 1, 1)
    return jax.vjp(conv, x, kernel)[1](g), jax.jvp(conv, (x, kernel), (x, kernel))

  if not _has_kernel():
    pytest.skip("this build of XLA has no convolution kernel")
  text = str(jax.make_jaxpr(program)(x, kernel, x))
  # Reverse mode: the value and the maps' cotangent; forward mode: the value and two tangents.
  assert text.count("cpu_convolution[") == 5
  compiled = jax.jit(lambda *a: jax.lax.map(lambda g: program(*a, g)[0], x[None])).lower(x, kernel)
  assert " convolution(" in (text := compiled.compile().as_text())
  assert all("b01f_01io->b01f" in line for line in text.splitlines() if " convolution(" in line)


def test_larger_convolutions_in_bfloat16_keep_their_type():
  x, kernel = _inputs(6, 6, 32, 20, (3, 3))

  def derivatives(dtype):
    x_low, kernel_low = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    conv = _function("cpu", 1, "SAME", 1)
    y, pullback = jax.vjp(conv, x_low.astype(dtype), kernel_low.astype(dtype))
    return y, *pullback(jnp.cos(y))

  low, high = jax.jit(lambda: [derivatives(dtype) for dtype in (jnp.bfloat16, jnp.float32)])()
  for ours, wide in zip(low, high, strict=True):
    assert ours.dtype == jnp.bfloat16
    wide = np.asarray(wide, np.float32)
    error = np.abs(np.asarray(ours, np.float32) - wide).max()
    assert error < 0.03 * np.abs(wide).max()


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 3)])
def test_vmap_of_gradients_equals_a_loop(axes):
  x, kernel = map(np.asarray, _inputs(6, 6, 32, 20, (3, 3)))
  count, one = 2 if None in axes else 20, np.float32(1)
  x = x if axes[0] is None else np.stack([x * (one + i / 8) for i in range(count)], axes[0])
  kernel = (
    kernel if axes[1] is None else np.stack([kernel * (one - i / 8) for i in range(count)], axes[1])
  )

  def grads(x, kernel):
    return jax.grad(lambda x, k: jnp.mean(jnp.sin(conv2d(x, k, form="cpu"))), (0, 1))(x, kernel)

  ours = jax.jit(jax.vmap(grads, axes))(x, kernel)
  one = jax.jit(grads)
  for i in (0, count - 1):
    alone = one(
      *(a if n is None else np.take(a, i, n) for a, n in zip((x, kernel), axes, strict=True))
    )
    for got, expected in zip(ours, alone, strict=True):
      np.testing.assert_allclose(np.asarray(got)[i], expected, rtol=1e-4, atol=1e-6)


def test_vmap_over_seeds_inside_scan_equals_lax():
  x, kernel = _inputs(4, 4, 3, 3, (3, 3), seeds=(3,))

  def train(form):
    def loss(kernel, x):
      return jnp.mean(jnp.tanh(conv2d(x, kernel, form=form)) ** 2)

    def epoch(kernel, x):
      def step(kernel, shift):
        return kernel - jax.grad(loss)(kernel, x + shift), loss(kernel, x)

      return jax.lax.scan(step, kernel, jnp.arange(3.0))

    return jax.vmap(epoch)(kernel, x)

  both = jax.jit(lambda: [train("cpu"), train("lax")])()
  for ours, theirs in zip(*both, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_sharded_batch_equals_one_device():
  mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  x, kernel = _inputs(4, 4, 3, 5, (3, 3))
  part = jax.sharding.PartitionSpec
  sharded = jax.shard_map(
    conv2d, mesh=mesh, in_specs=(part("data"), part()), out_specs=part("data")
  )
  got, want = jax.jit(lambda *args: (sharded(*args), conv2d(*args)))(x, kernel)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_bfloat16_and_close():
  x, kernel = _inputs(6, 6, 16, 8, (3, 3), jnp.bfloat16)
  both = jax.jit(lambda *args: [_function(f, 1, "SAME", 1)(*args) for f in ("cpu", "lax")])
  ours, theirs = both(x, kernel)
  assert ours.dtype == jnp.bfloat16
  ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs, np.float32)
  np.testing.assert_allclose(ours, theirs, rtol=0.05, atol=0.2)


@settings(max_examples=5, deadline=None)
@given(
  height=st.integers(3, 6),
  width=st.integers(3, 6),
  size=st.integers(1, 3),
  stride=st.integers(1, 3),
  padding=st.sampled_from(["SAME", "VALID", 0, 1, 2, (1, 0), ((0, 2), (1, 0))]),
)
def test_any_geometry_equals_lax(height, width, size, stride, padding):
  x, kernel = _inputs(height, width, 2, 2, (size, size))
  both = jax.jit(lambda *args: [_function(f, stride, padding, 1)(*args) for f in ("cpu", "lax")])
  ours, theirs = both(x, kernel)
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_layer_has_the_parameters_of_linen(bias):
  x = jnp.ones((2, 5, 5, 3))
  ours = Conv(4, (3, 3), strides=2, use_bias=bias)
  theirs = nn.Conv(4, (3, 3), strides=2, use_bias=bias)
  both = jax.jit(lambda key: [layer.init_with_output(key, x) for layer in (ours, theirs)])
  (got, variables), (want, expected) = both(jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal, variables, expected)
  np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"padding": "same"}, "'same'"),
    ({"padding": (1, 2, 3)}, "two entries"),
    ({"strides": 0}, "strides"),
    ({"dilation": (1, 2, 3)}, "dilation"),
    ({"form": "fft"}, "'fft'"),
  ],
)
def test_bad_options_are_named(options, message):
  x, kernel = _inputs(4, 4, 3, 5, (3, 3))
  with pytest.raises(ValueError, match=message):
    conv2d(x, kernel, **options)


def test_channel_mismatch_is_named():
  with pytest.raises(ValueError, match=r"\(3, 3, 2, 4\)"):
    conv2d(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 2, 4)))
