"""Transposed convolutions against their definition and against lax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmtl.models import conv_transpose2d

_CASES = [(1, 4, 1, 0), (4, 4, 2, 1), (3, 2, 3, 0), (5, 5, 3, 2)]


def _scatter(x, kernel, stride, padding):
  """The definition, one pixel at a time."""
  batch, height, width, _ = x.shape
  size = kernel.shape[0]
  full = np.zeros(
    (batch, (height - 1) * stride + size, (width - 1) * stride + size, kernel.shape[3])
  )
  for h in range(height):
    for w in range(width):
      patch = np.einsum("bc,ijco->bijo", x[:, h, w], kernel)
      full[:, h * stride : h * stride + size, w * stride : w * stride + size] += patch
  return full[:, padding : full.shape[1] - padding, padding : full.shape[2] - padding]


@pytest.mark.parametrize(("height", "size", "stride", "padding"), _CASES)
@pytest.mark.parametrize("form", ["cpu", "lax"])
def test_equals_the_definition(height, size, stride, padding, form):
  first, second = jax.random.split(jax.random.key(0))
  x = jax.random.normal(first, (2, height, height + 1, 3))
  kernel = jax.random.normal(second, (size, size, 3, 5))
  ours = jax.jit(
    lambda x, kernel: conv_transpose2d(x, kernel, stride=stride, padding=padding, form=form)
  )(x, kernel)
  expected = _scatter(np.asarray(x, np.float64), np.asarray(kernel, np.float64), stride, padding)
  np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_gradients_of_both_forms_are_equal():
  first, second = jax.random.split(jax.random.key(0))
  x, kernel = jax.random.normal(first, (2, 4, 4, 3)), jax.random.normal(second, (4, 4, 3, 5))

  def gradients(form):
    def loss(x, kernel):
      return jnp.sum(jnp.sin(conv_transpose2d(x, kernel, stride=2, padding=1, form=form)))

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)

  for ours, theirs in zip(gradients("cpu"), gradients("lax"), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_padding_that_leaves_nothing_is_named():
  with pytest.raises(ValueError, match="padding=2"):
    conv_transpose2d(jnp.ones((1, 1, 1, 2)), jnp.ones((4, 4, 2, 2)), padding=2)
