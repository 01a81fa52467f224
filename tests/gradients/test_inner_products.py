"""The Gramian and what is done with it, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmtl
from jaxmtl.gradients.inner_products import row_norms, scaled_gramian

ROWS = np.random.default_rng(0).normal(size=(3, 10))


def tree(rows, dtype=None):
  rows = jnp.asarray(rows, dtype)
  return {"w": rows[:, :6].reshape(3, 2, 3), "v": rows[:, 6:9], "s": rows[:, 9]}


def test_gramian_sums_over_all_leaves(x64):
  np.testing.assert_allclose(jaxmtl.gramian(tree(ROWS)), ROWS @ ROWS.T, rtol=1e-12)


def test_bfloat16_accumulates_in_float32():
  ones = jnp.ones((2, 1000), jnp.bfloat16)  # bfloat16 alone cannot count to 1000 by ones
  found = jaxmtl.gramian({"a": ones, "b": jnp.ones((2, 1), jnp.bfloat16)})
  assert found.dtype == jnp.float32
  np.testing.assert_array_equal(found, 1001)


@pytest.mark.parametrize("factor", [1e-25, 1e-20, 1.0, 1e15, 1e25])
def test_scaled_gramian_keeps_all_ratios(factor):
  mask = jnp.ones(3, bool)
  found = np.asarray(scaled_gramian(tree(factor * ROWS, jnp.float32), mask)[0])
  want = ROWS @ ROWS.T
  np.testing.assert_allclose(found / found[0, 0], want / want[0, 0], rtol=1e-4)


@pytest.mark.parametrize("factor", [1e-30, 1e-20, 1.0, 1e25])
def test_accelerators_scale_by_a_power_of_two_before_they_multiply(factor):
  mask, rows = jnp.ones(3, bool), tree(factor * ROWS, jnp.float32)
  with jaxmtl.forms_for("tpu"):
    found, scale = (np.asarray(x, float) for x in jax.jit(scaled_gramian)(rows, mask))
    text = jax.jit(lambda rows: scaled_gramian(rows, mask)).lower(rows).as_text()
  want = ROWS @ ROWS.T * factor**2
  np.testing.assert_allclose(found * scale**2, want, rtol=1e-5, atol=1e-5 * want[0, 0])
  assert np.frexp(scale)[0] == 0.5  # exact to divide by
  # Callers that look at ratios alone leave the scale; others get none in the usual range.
  assert (scale == 1) == (factor == 1)
  assert "case" not in text
  with jaxmtl.forms_for("gpu"):
    for value, one in ((0.0, 1.0), (np.inf, 1.0)):
      assert float(scaled_gramian(tree(np.full((3, 10), value)), mask)[1]) == one


def test_a_tpu_multiplies_few_rows_pair_by_pair():
  rows = np.random.default_rng(1).normal(size=(8, 4, 3)).astype(np.float32)
  flat = rows.reshape(8, -1).astype(float)
  other = rows[::-1]
  with jaxmtl.forms_for("tpu"):
    np.testing.assert_allclose(jaxmtl.gramian(rows), flat @ flat.T, atol=1e-5)
    found = jaxmtl.gramian(rows, other)
    assert "dot_general" not in str(jax.make_jaxpr(lambda g: jaxmtl.gramian(g))(rows))
  np.testing.assert_allclose(found, flat @ flat[::-1].T, atol=1e-5)


def test_cosines():
  rows = np.array([[1.0, 0, 0], [1e-15, 1e-15, 0], [0, 0, 0]])
  found = jaxmtl.cosine_matrix(jnp.asarray(rows @ rows.T, jnp.float32))
  half = 2**-0.5
  np.testing.assert_allclose(found, [[1, half, 0], [half, 1, 0], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1e-20, 1.0, 1e15, 1e30])
def test_row_norms_over_all_leaves_at_any_scale(factor):
  rows = factor * ROWS * np.array([[1], [1e-3], [0]])
  want = np.linalg.norm(rows, axis=1)
  np.testing.assert_allclose(row_norms(tree(rows, jnp.float32)), want, rtol=1e-5)
  rows[1, 9] = np.nan
  found = np.asarray(row_norms(tree(rows, jnp.float32)))
  assert np.isnan(found[1])
  np.testing.assert_allclose(found[[0, 2]], want[[0, 2]], rtol=1e-5)


def test_combine(x64):
  weights = jnp.array([1.0, -2.0, 0.5])
  got = jaxmtl.combine(tree(ROWS), weights)
  flat = np.concatenate([got["w"].ravel(), got["v"], got["s"][None]])
  np.testing.assert_allclose(flat, np.asarray(weights) @ ROWS, rtol=1e-12)


def test_combine_keeps_each_leaf_dtype():
  grads = {"a": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones((2, 3), jnp.float32)}
  got = jaxmtl.combine(grads, jnp.array([1.0, 2.0]))
  assert {k: g.dtype for k, g in got.items()} == {"a": jnp.bfloat16, "b": jnp.float32}
  assert all(np.all(np.asarray(g, np.float32) == 3) for g in got.values())


def test_wrong_task_axes_raise():
  for wrong in ({"a": jnp.ones((2, 3)), "b": jnp.ones((3, 3))}, jnp.ones(()), {}):
    with pytest.raises(ValueError, match="same leading task axis"):
      jaxmtl.gramian(wrong)
  with pytest.raises(ValueError, match="weights has length 2, the task gradients have 3 tasks"):
    jaxmtl.combine(tree(ROWS), jnp.ones(2))


def test_gramian_under_vmap_and_grad(x64):
  rows = jnp.asarray(np.stack([ROWS, 2 * ROWS]))
  found = jax.vmap(jaxmtl.gramian)(rows)
  np.testing.assert_allclose(found[1], 4 * ROWS @ ROWS.T, rtol=1e-12)
  slope = jax.grad(lambda r: jnp.trace(jaxmtl.gramian(r)))(rows[0])
  np.testing.assert_allclose(slope, 2 * ROWS, rtol=1e-12)
