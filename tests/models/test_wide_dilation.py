"""Convolutions dilated beyond the map equal `lax.conv_general_dilated`, with fewer products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmtl.models import ASPP, conv2d


def operands(size, taps=(3, 3), channels=4, dtype=jnp.float32):
  rng = np.random.default_rng(0)
  x, kernel = rng.normal(size=(2, *size, channels)), rng.normal(size=(*taps, channels, 3)) / 4
  return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def equations(jaxpr, found=()):
  """Names of all primitives, those inside of calls too."""
  for equation in jaxpr.eqns:
    found = (*found, equation.primitive.name)
    for value in equation.params.values():
      if hasattr(value, "jaxpr"):
        found = equations(value.jaxpr, found)
  return found


@pytest.mark.parametrize(
  ("size", "dilation", "products"),
  [((5, 7), 3, 9), ((5, 7), 4, 9), ((5, 7), 5, 3), ((5, 7), 7, 1), ((5, 7), 30, 1)],
)
def test_values_and_gradients_equal_lax(size, dilation, products):
  x, kernel = operands(size)

  def everything(x, kernel, form):
    conv = lambda x, k: conv2d(x, k, padding=dilation, dilation=dilation, form=form)  # noqa: E731
    y, transposed = jax.vjp(conv, x, kernel)
    return y, transposed(jnp.sin(y))

  run = jax.jit(lambda *args: [everything(*args, form) for form in ("cpu", "lax")])
  for got, want in zip(*map(jax.tree.leaves, run(x, kernel)), strict=True):
    np.testing.assert_allclose(got, want, atol=2e-5)
  made = jax.make_jaxpr(lambda x, k: conv2d(x, k, padding=dilation, dilation=dilation, form="cpu"))(
    x, kernel
  )
  assert equations(made.jaxpr).count("dot_general") == products


@given(
  st.tuples(st.sampled_from([4, 6]), st.sampled_from([3, 6])),
  st.tuples(st.integers(1, 3), st.integers(1, 3)),
  st.tuples(st.integers(1, 2), st.integers(1, 2)),
  st.tuples(st.integers(2, 7), st.integers(1, 7)),
  st.tuples(*[st.integers(0, 8)] * 4),
)
@settings(deadline=None, derandomize=True, max_examples=10)
def test_any_geometry_equals_lax(size, taps, strides, dilation, pads):
  x, kernel = operands(size, taps, 2)
  extent = [d * (k - 1) + 1 for d, k in zip(dilation, taps, strict=True)]
  grown = (size[0] + pads[0] + pads[1], size[1] + pads[2] + pads[3])
  if any(n < e for n, e in zip(grown, extent, strict=True)):
    return
  padding = (pads[:2], pads[2:])

  @jax.jit
  def both(x, kernel):
    options = {"strides": strides, "padding": padding, "dilation": dilation}
    return [conv2d(x, kernel, **options, form=form) for form in ("cpu", "lax")]

  np.testing.assert_allclose(*both(x, kernel), atol=1e-5)


def test_vmap_over_seeds_and_groups_equal_lax():
  x, kernel = operands((5, 7))
  kernels = kernel * np.random.default_rng(1).uniform(size=(3, *kernel.shape)).astype(np.float32)
  halves = np.asarray(kernel)[:, :, :2].repeat(2, axis=3)[..., :4]

  @jax.jit
  def found(kernels, halves):
    return [
      (
        jax.vmap(lambda k, form=form: conv2d(x, k, padding=4, dilation=4, form=form))(kernels),
        conv2d(x, halves, padding=6, dilation=6, groups=2, form=form),
      )
      for form in ("cpu", "lax")
    ]

  for got, want in zip(*found(kernels, halves), strict=True):
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_bfloat16_adds_in_float32():
  x, kernel = operands((5, 7), channels=32, dtype=jnp.bfloat16)

  @jax.jit
  def both(x, kernel):
    exact = (a.astype(jnp.float32) for a in (x, kernel))
    return (
      conv2d(x, kernel, padding=4, dilation=4, form="cpu"),
      conv2d(*exact, padding=4, dilation=4, form="lax"),
    )

  got, want = both(x, kernel)
  assert got.dtype == jnp.bfloat16
  # One rounding, at the end.
  np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=2**-8, atol=2**-8)


def test_a_pyramid_multiplies_less_than_its_kernels_have_taps():
  net, x = ASPP(8, (12, 24, 36)), jnp.ones((1, 16, 20, 32))
  variables = jax.eval_shape(net.init, jax.random.key(0), x)
  cost = jax.jit(net.apply).lower(variables, x).cost_analysis()
  taps = 16 * 20 * 9 * 32 * 8 * 2
  assert cost["flops"] < 0.5 * 3 * taps
