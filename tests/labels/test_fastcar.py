"""Hybrid labels of class and property, and the one-epoch test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmtl.labels import FastCAR, mean_magnitude, one_epoch_test

STEEL = ((179, 240), (403, 446), (538, 572), (677, 794), (818, 961), (887, 1146))
encode = jax.jit(FastCAR.encode)
decode = jax.jit(FastCAR.decode)


def steel(order=range(6)):
  values = np.array([STEEL[c] for c in order], float).ravel()
  return values, np.repeat(list(order), 2)


def test_the_steels_of_the_paper():
  labels = FastCAR.fit(*steel(), gap=50)
  assert labels.offsets.tolist() == [0, 0, 0, 0, 26, 150]
  assert float(labels.centre) == 737.5
  targets = labels.encode(*steel())
  np.testing.assert_array_equal(targets[-3:], [961 + 26 - 737.5, 887 + 150 - 737.5, 558.5])
  assert (labels.low.tolist()[4], labels.high.tolist()[4]) == (844, 987)
  # Between two intervals the nearer one counts, beyond the ends the first and the last.
  found, values = labels.decode(jnp.array([150.0, 300.0, 340.0, 1000.0, 1400.0]) - 737.5)
  assert found.tolist() == [0, 0, 1, 4, 5]
  assert values.tolist() == [150, 300, 340, 974, 1250]


def test_classes_come_in_the_order_of_their_lowest_value():
  numbers = [5, 3, 40, 1, 0, 7]  # not in order, with numbers left out
  values, classes = steel()
  labels = FastCAR.fit(values, np.array(numbers)[classes])
  assert labels.classes.tolist() == numbers
  found, back = labels.decode(labels.encode(values, np.array(numbers)[classes]))
  np.testing.assert_array_equal(found, np.array(numbers)[classes])
  np.testing.assert_array_equal(back, values)


@st.composite
def labelled(draw):
  """Twelve examples of four classes, whose ranges may lie anywhere, in any unit."""
  unit = draw(st.sampled_from([1e-3, 1.0, 1e6]))
  grid = st.integers(-1000, 1000)
  values = np.array(draw(st.lists(grid, min_size=12, max_size=12))) * unit
  numbers = draw(st.lists(st.integers(0, 99), min_size=4, max_size=4, unique=True))
  gap = draw(st.sampled_from([0.5, 7.0, 300.0])) * unit
  scale = draw(st.sampled_from([1.0, 0.3, 370.0])) * unit
  return values, np.repeat(numbers, 3), gap, scale, draw(st.permutations(range(12)))


@given(labelled())
@settings(max_examples=60, deadline=None)
def test_decoding_gives_back_what_was_encoded(case):
  values, classes, gap, scale, order = case
  labels = FastCAR.fit(values, classes, gap=gap, scale=scale)
  size = np.abs(values).max() + float(labels.high[-1] - labels.low[0])
  targets = encode(labels, values, classes)
  found, back = decode(labels, targets)
  np.testing.assert_array_equal(found, classes)
  np.testing.assert_allclose(back, values, atol=2e-6 * size, rtol=0)
  # Intervals are apart by the gap and around zero; no class moves down, the first one not at all.
  assert np.all(labels.low[1:] - labels.high[:-1] >= gap - 1e-6 * size)
  np.testing.assert_allclose(targets.min(), -targets.max(), atol=2e-6 * size / scale)
  assert float(labels.offsets[0]) == 0 <= float(labels.offsets.min())
  # A prediction that is off by less than half the gap keeps its class.
  moved, _ = decode(labels, targets + jnp.float32(0.45 * gap / scale))
  np.testing.assert_array_equal(moved, classes)
  # The order of the examples does not matter.
  again = FastCAR.fit(values[order], classes[order], gap=gap, scale=scale)
  jax.tree.map(np.testing.assert_array_equal, again, labels)


def test_jit_gives_what_eager_calls_give():
  values, classes = steel()
  labels = FastCAR.fit(values, classes, scale=100.0)
  targets = labels.encode(values, classes)
  np.testing.assert_array_equal(encode(labels, values, classes), targets)
  jax.tree.map(np.testing.assert_array_equal, decode(labels, targets), labels.decode(targets))
  # Nothing can be raised there: what has no class is marked.
  assert np.isnan(encode(labels, values, classes + 1)[-1])
  found, back = decode(labels, targets.at[0].set(jnp.nan).at[1].set(jnp.inf))
  assert found.tolist()[:3] == [-1, -1, 1]
  assert np.isnan(back).tolist()[:3] == [True, True, False]


def test_one_class_and_single_values():
  labels = FastCAR.fit([7.0], [3])
  assert labels.encode(jnp.array([7.0, 9.0]), jnp.array([3, 3])).tolist() == [0, 2]
  found, values = labels.decode(jnp.array([[-100.0], [1e6]]))
  assert (found.tolist(), values[0].tolist()) == ([[3], [3]], [-93.0])
  # Equal values in two classes are told apart by the gap alone.
  labels = FastCAR.fit([5.0, 5.0], [1, 0], gap=2.0)
  assert labels.classes.tolist() == [0, 1]
  assert labels.encode(jnp.array([5.0, 5.0]), jnp.array([0, 1])).tolist() == [-1, 1]


@pytest.mark.parametrize(
  ("values", "classes", "options", "error", "message"),
  [
    ([1.0, np.nan], [0, 1], {}, ValueError, r"values must be finite, got nan at \(1,\)"),
    ([1.0, np.inf], [0, 1], {}, ValueError, "got inf"),
    ([1.0], [0, 1], {}, ValueError, "one shape"),
    ([], np.array([], int), {}, ValueError, "non-empty vector"),
    ([[1.0]], [[0]], {}, ValueError, "vector, got shape"),
    ([1.0], [0.0], {}, TypeError, "integers, got dtype float"),
    ([1.0], [-1], {}, ValueError, "got -1"),
    ([1.0], [0], {"gap": 0.0}, ValueError, "gap must be positive"),
    ([1.0], [0], {"scale": -1.0}, ValueError, "scale must be positive"),
    ([1e9, 1e9], [0, 1], {"gap": 50.0}, ValueError, "gap=50 is lost in float32"),
    ([1e38, 0.0], [0, 1], {}, ValueError, "too large for float32"),
  ],
)
def test_bad_labels_raise(values, classes, options, error, message):
  with pytest.raises(error, match=message):
    FastCAR.fit(values, classes, **options)


def test_what_was_not_fitted_raises():
  labels = FastCAR.fit(*steel())
  with pytest.raises(ValueError, match=r"classes \[6, 9\] did not occur"):
    labels.encode(jnp.zeros(3), jnp.array([9, 6, 0]))
  with pytest.raises(ValueError, match="values must be finite"):
    labels.encode(jnp.array([jnp.nan]), jnp.array([0]))
  with pytest.raises(ValueError, match="targets must be finite, got nan"):
    labels.decode(jnp.array([0.0, jnp.nan]))


def test_the_one_epoch_test_draws_classes_together():
  seen = []

  def measure(labels, trial):
    seen.append((float(labels.offsets[-1]), trial.gap, trial.scale))
    return {150: 3.0, 100: 1.9}[float(labels.offsets[-1])] / trial.scale

  labels, trials = one_epoch_test(measure, *steel(), gap=50)
  # At gap 25 the class at 818 needs an offset of 1, and the last one 961 + 1 + 25 - 887.
  assert seen == [(150, 50, 1), (100, 25, 1)]
  assert [trial.gap for trial in trials] == [50, 25]
  assert [trial.gradient for trial in trials] == [3, 1.9]
  assert float(labels.low[-1] - labels.high[-2]) == 25
  _, trials = one_epoch_test(measure, *steel(), gap=50, adjust="scale")
  assert [(trial.gap, trial.scale) for trial in trials] == [(50, 1), (50, 2)]
  with pytest.raises(ValueError, match=r"limit=0\.1 is exceeded .* gap 25, scale 1: 1\.9"):
    one_epoch_test(measure, *steel(), limit=0.1, max_trials=2)
  with pytest.raises(ValueError, match="adjust must be"):
    one_epoch_test(measure, *steel(), adjust="both")


def test_the_mean_magnitude_is_over_elements_not_leaves():
  gradient = {"a": jnp.array([3.0]), "b": jnp.array([[-1.0, 1.0], [0.0, 0.0]])}
  assert float(mean_magnitude(gradient)) == 1.0
