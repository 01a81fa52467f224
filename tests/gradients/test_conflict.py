"""Measures of conflict against their definitions on the gradients themselves."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxmtl

ROWS = np.random.default_rng(0).normal(size=(4, 6)) * np.array([[1.0], [0.01], [30.0], [0.0]])


def pairs(measure):
  """The measure of every pair of rows by its definition; 0 where a gradient is zero."""
  out = np.zeros((4, 4))
  for i, a in enumerate(ROWS[:3]):
    for j, b in enumerate(ROWS[:3]):
      out[i, j] = measure(a, b)
  return out


def cosine(a, b):
  return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def similarity(a, b):
  return 2 * np.linalg.norm(a) * np.linalg.norm(b) / (a @ a + b @ b)


def bound(a, b):
  return (1 - cosine(a, b) ** 2) * np.sum((a - b) ** 2) / np.sum((a + b) ** 2)


MEASURES = {
  jaxmtl.cosine_matrix: cosine,
  jaxmtl.magnitude_similarity: similarity,
  jaxmtl.curvature_bound: bound,
}


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.__name__)
@pytest.mark.parametrize("factor", [1e-15, 1.0, 1e15])
def test_definition(measure, factor, x64):
  """Whatever the factor of the Gramian."""
  got = measure(jnp.asarray(factor * ROWS @ ROWS.T))
  np.testing.assert_allclose(got, pairs(MEASURES[measure]), atol=1e-12)


def test_curvature_bound_of_opposite_gradients():
  """0 / 0 has a limit: 4 for equal norms, and 0 for parallel gradients of other norms."""
  angle = np.pi - 1e-2
  near = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
  np.testing.assert_allclose(jaxmtl.curvature_bound(jnp.asarray(near @ near.T))[0, 1], 4, rtol=1e-2)
  for scale, want in ((-1.0, 4.0), (-2.0, 0.0), (1.0, 0.0)):
    rows = np.array([[1.0, 2.0], [scale, 2 * scale]], np.float32)
    np.testing.assert_allclose(
      jaxmtl.curvature_bound(jnp.asarray(rows @ rows.T))[0, 1], want, atol=1e-5
    )


def test_zero_gradients_conflict_with_nothing():
  for measure in MEASURES:
    np.testing.assert_array_equal(measure(jnp.zeros((3, 3))), 0)
